//! What the compiler says about mistakes.
//!
//! Each `errors/CODE-what.pol` holds one mistake (a few hold several, to see that all are found).
//! Its snapshot shows every diagnostic as the user sees it. A line `# param NAME=VALUE` gives a
//! value to a parameter.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its cases fails"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use polc_compiler::diagnostic::Code;
use polc_compiler::diagnostic::human::{self, Style};
use polc_compiler::inline;
use polc_compiler::target::{self, Nftables, Target as _};
use polc_compiler::{Compilation, Files, Options, compile};

/// Codes that compiling a policy does not bring about: a defect of the compiler, and what inline
/// tests and proofs find.
const NOT_HERE: [Code; 6] = [
    Code::Internal,
    Code::TestFailed,
    Code::ClaimFails,
    Code::ClaimUnknown,
    Code::VacuousClaim,
    Code::FamilyScope,
];

struct Disk(PathBuf);

impl Files for Disk {
    fn read(&self, path: &str) -> std::io::Result<String> {
        fs::read_to_string(self.0.join(path))
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/errors")
}

/// The names of the policies, without the ending, in order.
fn cases() -> Vec<String> {
    let entries = fs::read_dir(folder()).unwrap();
    let names: BTreeSet<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".pol").map(str::to_owned))
        .collect();
    names.into_iter().collect()
}

fn compiled(case: &str) -> Compilation {
    let name = format!("{case}.pol");
    let text = fs::read_to_string(folder().join(&name)).unwrap();
    let params = text
        .lines()
        .filter_map(|line| line.strip_prefix("# param ")?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let options = Options {
        params: params.collect(),
        as_of: "2026-11-21".to_owned(),
        ..Options::default()
    };
    let mut result = compile(&name, &text, &Disk(folder()), &options);
    if let Some(ir) = &result.ir
        && let Err(found) = Nftables.emit(ir, &result.sources, &target::Options::default())
    {
        result.diagnostics.extend(found);
        result.ir = None;
    }
    let tested = result
        .ir
        .as_ref()
        .map(|ir| inline::check(&result.policy, ir, &result.sources, &options));
    if let Some(failed) = tested.filter(|failed| !failed.is_empty()) {
        result.diagnostics.extend(failed);
        result.ir = None;
    }
    result
}

#[test]
fn mistakes_are_shown_as_recorded() {
    let style = Style {
        colour: false,
        width: 100,
    };
    for case in cases() {
        let result = compiled(&case);
        let shown: Vec<String> = result
            .diagnostics
            .iter()
            .map(|d| human::render(d, &result.sources, style))
            .collect();
        insta::assert_snapshot!(case, shown.join("\n"));
    }
}

#[test]
fn each_mistake_has_the_code_of_its_name() {
    for case in cases() {
        let (id, _) = case.split_once('-').unwrap();
        let result = compiled(&case);
        let found: Vec<&str> = result.diagnostics.iter().map(|d| d.code.id()).collect();
        assert!(found.contains(&id), "{case}: {found:?}");
        let errors = result.ir.is_none();
        let only_warns = result
            .diagnostics
            .iter()
            .all(|d| d.severity < polc_compiler::diagnostic::Severity::Error);
        assert_ne!(
            errors, only_warns,
            "{case}: the IR is there just when nothing is an error"
        );
    }
}

#[test]
fn each_code_has_a_mistake() {
    let cases = cases();
    for code in Code::ALL.iter().filter(|code| !NOT_HERE.contains(code)) {
        let prefix = format!("{}-", code.id());
        assert!(cases.iter().any(|c| c.starts_with(&prefix)), "{prefix}");
    }
}

#[test]
fn each_message_says_what_is_wrong_where_and_what_to_do() {
    for case in cases() {
        let result = compiled(&case);
        for diagnostic in &result.diagnostics {
            let title = &diagnostic.title;
            assert!(
                !title.is_empty() && !title.ends_with('.'),
                "{case}: {title}"
            );
            let first = title.chars().next().unwrap();
            let proper = ["IPv4", "IPv6", "TCP"].iter().any(|n| title.starts_with(n));
            assert!(!first.is_uppercase() || proper, "{case}: {title}");
            let ticks = title.matches('`').count();
            assert_eq!(ticks % 2, 0, "{case}: {title}");
            let ours = diagnostic.code != Code::Syntax;
            // These titles say themselves what is right.
            let plain = matches!(diagnostic.code, Code::WrongClause | Code::OutOfRange);
            let labelled = diagnostic.labels.iter().any(|l| !l.text.is_empty());
            let helps = diagnostic.help.is_some() || labelled || plain;
            assert!(helps || !ours, "{case}: no help: {title}");
            // What is wrong on the command line stands in no file.
            let placed = !diagnostic.labels.is_empty();
            assert!(
                placed || diagnostic.code == Code::UnboundParam,
                "{case}: {title}"
            );
        }
    }
}
