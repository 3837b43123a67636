//! The corpus: valid policies that use every production of the grammar.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

use std::fs;
use std::path::{Path, PathBuf};

use polc_grammar::{format, parse};

fn files(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(folder);
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

#[test]
fn parses_without_errors() {
    for (path, text) in files("corpus") {
        let parsed = parse(&text);
        assert_eq!(parsed.errors, [], "{}", path.display());
        assert!(!parsed.file.items.is_empty());
    }
}

#[test]
fn formatting_keeps_the_tree_and_settles_at_once() {
    for (path, text) in files("corpus") {
        let once = format(&text).unwrap();
        let twice = format(&once).unwrap();
        assert_eq!(once, twice, "{}", path.display());
        assert_eq!(
            parse(&text).file.items,
            parse(&once).file.items,
            "{}",
            path.display()
        );
        assert_eq!(
            parse(&text).file.comments.len(),
            parse(&once).file.comments.len(),
            "{}",
            path.display()
        );
    }
}

#[test]
fn formatted_corpus() {
    for (path, text) in files("corpus") {
        let name = format!("formatted_{}", path.file_stem().unwrap().to_str().unwrap());
        insta::assert_snapshot!(name, format(&text).unwrap());
    }
}

#[test]
fn spans_cover_the_text_of_their_nodes() {
    for (_, text) in files("corpus") {
        let parsed = parse(&text);
        for item in &parsed.file.items {
            let source = &text[item.span.range()];
            assert_eq!(source, source.trim(), "a span without blanks around");
            assert!(!source.starts_with('#'));
            // What a span covers is the item, all of it and nothing else.
            let again = parse(source);
            assert_eq!(again.errors, [], "{source}");
            assert_eq!(
                again.file.items.as_slice(),
                std::slice::from_ref(item),
                "{source}"
            );
        }
        for comment in &parsed.file.comments {
            assert_eq!(&text[comment.text.span.range()], comment.text.node);
        }
    }
}
