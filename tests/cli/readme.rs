//! The README's commands print what it says.

use std::path::Path;

use crate::harness::Place;

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let (source, name) = entry.map(|e| (e.path(), e.file_name())).expect("an entry");
        if source.is_dir() {
            copy(&source, &to.join(name));
        } else {
            std::fs::copy(&source, to.join(name)).expect("copied");
        }
    }
}

/// The fenced blocks of a language, without their fences.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let fence = format!("```{language}\n");
    let bodies = text.split(fence.as_str()).skip(1);
    bodies.filter_map(|rest| rest.split("```").next()).collect()
}

/// Generation ids depend on the day: they are compared by length only.
fn masked(text: &str) -> String {
    let id = |word: &str| word.len() == 32 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    words
        .map(|word| {
            let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            if id(bare) {
                word.replace(bare, "GENERATION")
            } else {
                word.to_owned()
            }
        })
        .collect()
}

#[test]
fn its_commands_print_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).expect("the README");
    let place = Place::new(&[]);
    copy(&root.join("policies"), &place.path().join("policies"));
    let wrong = blocks(&readme, "pol,error=POL016");
    place.write("web.pol", wrong.first().expect("the wrong policy"));
    let mut ran = 0;
    for block in blocks(&readme, "console") {
        let Some((command, expected)) = block
            .strip_prefix("$ polc ")
            .and_then(|b| b.split_once('\n'))
        else {
            continue;
        };
        let arguments: Vec<&str> = command.split_whitespace().collect();
        let run = place.polc(&arguments);
        let printed = format!("{}{}", run.out, run.err);
        assert_eq!(
            masked(printed.trim_end()),
            masked(expected.trim_end()),
            "polc {command}"
        );
        ran += 1;
    }
    assert!(ran >= 4, "{ran} commands of the README were run");
}
