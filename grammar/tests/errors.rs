//! Messages for the files in `bad/`: each mistake, underlined, with its message and help.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use polc_grammar::ast::{Item, Stmt};
use polc_grammar::{SyntaxError, SyntaxErrorKind, parse};

/// The lines an error is about, underlined, and what it says.
fn render(text: &str, error: &SyntaxError) -> String {
    let (start, end) = (error.span.start as usize, error.span.end as usize);
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let number = text[..start].matches('\n').count() + 1;
    let before = text[line_start..start].chars().count();
    let under = text[start..end.min(line_end)].chars().count().max(1);
    let mut out = String::new();
    writeln!(out, "{number:3} | {}", &text[line_start..line_end]).unwrap();
    writeln!(out, "    | {}{}", " ".repeat(before), "^".repeat(under)).unwrap();
    writeln!(out, "    {}: {}", error.kind.code(), error.message).unwrap();
    if let Some(help) = &error.help {
        writeln!(out, "    help: {help}").unwrap();
    }
    out
}

#[test]
fn bad_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() > 15);
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let errors = parse(&text).errors;
        assert!(!errors.is_empty(), "{}", path.display());
        let rendered: Vec<String> = errors.iter().map(|error| render(&text, error)).collect();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        insta::assert_snapshot!(name, rendered.join("\n"));
    }
}

#[test]
fn style_of_messages() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for error in parse(&text).errors {
            let said = [Some(&error.message), error.help.as_ref()];
            for words in said.into_iter().flatten() {
                assert!(!words.ends_with('.'), "no full stop: {words}");
                assert!(
                    !words.contains("kw_") && !words.contains('_'),
                    "no rule names: {words}"
                );
            }
            assert!(error.span.end <= u32::try_from(text.len()).unwrap());
            assert!(
                !text[error.span.range()].contains('\n'),
                "one line: {}",
                error.message
            );
        }
    }
}

#[test]
fn seven_mistakes_are_seven_errors_and_the_rest_is_in_the_tree() {
    let text = include_str!("bad/seven_mistakes.pol");
    let parsed = parse(text);
    let kinds: Vec<_> = parsed.errors.iter().map(|error| error.kind).collect();
    assert_eq!(
        kinds,
        [
            SyntaxErrorKind::Address,
            SyntaxErrorKind::Misspelt,
            SyntaxErrorKind::Misspelt,
            SyntaxErrorKind::MissingComma,
            SyntaxErrorKind::Address,
            SyntaxErrorKind::Unexpected,
            SyntaxErrorKind::Misspelt,
        ]
    );
    let [
        ..,
        Item::Set(set),
        Item::Zone(_),
        Item::Section(broken),
        Item::Section(whole),
    ] = &parsed
        .file
        .items
        .iter()
        .map(|item| item.node.clone())
        .collect::<Vec<_>>()[..]
    else {
        panic!("items are missing: {:?}", parsed.file.items);
    };
    assert!(matches!(
        &set.expr.first.node,
        polc_grammar::ast::SetTerm::Body(body) if body.elements.len() == 1
    ));
    assert!(broken.body.is_empty());
    assert!(matches!(whole.body[0].node, Stmt::Default(_)));
}

#[test]
fn what_surrounds_a_mistake_is_kept() {
    let parsed = parse("to host {\n  allow ssh\n  alow dns\n  deny icmp\n}\nzone lan = eth0\n");
    assert_eq!(parsed.errors.len(), 1);
    assert_eq!(parsed.file.items.len(), 2);
    let Item::Section(section) = &parsed.file.items[0].node else {
        panic!("a section")
    };
    assert_eq!(section.body.len(), 2);
    assert_eq!(section.clauses.len(), 1);
}

#[test]
fn an_unclosed_brace_costs_nothing_else() {
    let text = include_str!("bad/unclosed_brace.pol");
    let parsed = parse(text);
    assert_eq!(parsed.errors.len(), 1);
    assert_eq!(&text[parsed.errors[0].span.range()], "{");
    assert_eq!(parsed.file.items.len(), 4);
    let Item::Section(section) = &parsed.file.items[1].node else {
        panic!("a section")
    };
    assert_eq!(section.body.len(), 2);
}
