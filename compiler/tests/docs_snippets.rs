//! The documentation is right: every policy in it compiles, and its tables hold what the compiler
//! knows.
//!
//! A fenced block marked `pol` must compile, for nftables too, and its tests pass, without a word; one
//! marked `pol,error=POLnnn` must
//! give diagnostics of that code and of no other.

#![expect(
    clippy::unwrap_used,
    reason = "without the documents the test must fail"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use polc_compiler::diagnostic::Code;
use polc_compiler::diagnostic::human::{self, Style};
use polc_compiler::target::{self, Nftables, Target as _};
use polc_compiler::{Files, Options, compile, field, inline, ir::Stage};

/// The files that examples may name.
struct Examples;

impl Files for Examples {
    fn read(&self, path: &str) -> io::Result<String> {
        let text = match path {
            "lists/blocked.txt" => "# a list\n203.0.113.0/24 ; SBL1\n198.51.100.7\t9\n",
            "lists/more.csv" => "network,country\n192.0.2.0/24,ad\n",
            "lib/base.pol" => {
                "service updates = dns, ntp, web\nset office = { 192.0.2.0/24 }\n\
                 template ping() { allow icmp within 10/s per source as ping }\n"
            }
            _ => return Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        Ok(text.to_owned())
    }
}

struct Snippet {
    place: String,
    text: String,
    error: Option<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn documents() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("docs")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "md"));
    paths.extend(["README.md", "policies/README.md"].map(|p| root().join(p)));
    paths.sort();
    paths
}

fn snippets(path: &Path) -> Vec<Snippet> {
    let text = fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_string_lossy();
    let mut out = Vec::new();
    let mut open: Option<Snippet> = None;
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(mut snippet) = open.take() {
            if line == "```" {
                out.push(snippet);
            } else {
                snippet.text.push_str(line);
                snippet.text.push('\n');
                open = Some(snippet);
            }
            continue;
        }
        let Some(info) = line.strip_prefix("```pol") else {
            continue;
        };
        let error = info.strip_prefix(",error=").map(str::to_owned);
        assert!(
            info.is_empty() || error.is_some(),
            "{name}:{number}: {line}"
        );
        open = Some(Snippet {
            place: format!("{name}:{number}"),
            text: String::new(),
            error,
        });
    }
    assert!(open.is_none(), "{name}: a block is never closed");
    out
}

#[test]
fn every_policy_in_the_documents_does_what_it_says() {
    let style = Style {
        colour: false,
        width: 100,
    };
    let options = Options {
        as_of: "2026-11-21".to_owned(),
        ..Options::default()
    };
    let all: Vec<Snippet> = documents().iter().flat_map(|p| snippets(p)).collect();
    assert!(all.len() >= 30, "only {} snippets were found", all.len());
    let mut wrong = String::new();
    for snippet in &all {
        let mut result = compile("example.pol", &snippet.text, &Examples, &options);
        if let Some(ir) = &result.ir {
            let built = Nftables.emit(ir, &result.sources, &target::Options::default());
            result.diagnostics.extend(built.err().unwrap_or_default());
            let failed = inline::check(&result.policy, ir, &result.sources, &options);
            result.diagnostics.extend(failed);
        }
        let codes: BTreeSet<&str> = result.diagnostics.iter().map(|d| d.code.id()).collect();
        let expected: BTreeSet<&str> = snippet.error.as_deref().into_iter().collect();
        if codes != expected {
            let shown: String = result
                .diagnostics
                .iter()
                .map(|d| human::render(d, &result.sources, style))
                .collect();
            writeln!(wrong, "{}: expected {expected:?}\n{shown}", snippet.place).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_field_is_documented_with_its_stages() {
    let text = fs::read_to_string(root().join("docs/language.md")).unwrap();
    for name in field::names() {
        let row = text
            .lines()
            .find(|l| l.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("`{name}` is not in the table of fields"));
        let stages = field::find(name).unwrap().stages;
        let words: Vec<&str> = stages.iter().map(|s| s.name()).collect();
        let words = if stages == Stage::ALL {
            "all".to_owned()
        } else {
            words.join(", ")
        };
        assert!(row.ends_with(&format!("| {words} |")), "{row}");
    }
}

#[test]
fn every_type_of_icmp_is_documented() {
    let text = fs::read_to_string(root().join("docs/language.md")).unwrap();
    for name in field::type_names() {
        assert!(text.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn the_prelude_is_documented_as_it_is() {
    let text = fs::read_to_string(root().join("docs/language.md")).unwrap();
    let prelude = root().join("compiler/src/resolve/prelude.pol");
    let prelude = fs::read_to_string(prelude).unwrap();
    let mut services = 0;
    for line in prelude.lines() {
        let line = line.split('#').next().unwrap();
        let Some((name, value)) = line
            .strip_prefix("service ")
            .and_then(|rest| rest.split_once('='))
        else {
            continue;
        };
        let row = format!("| `{}` | `{}` |\n", name.trim(), value.trim());
        assert!(text.contains(&row), "missing: {row}");
        services += 1;
    }
    assert!(services > 80, "{services}");
    let mut set = None;
    for line in prelude.lines().filter(|l| !l.starts_with('#')) {
        if let Some(rest) = line.strip_prefix("set ") {
            let name = rest.split_whitespace().next().unwrap();
            let row = format!("| `@{name}` |");
            set = text.lines().find(|l| l.starts_with(&row));
            assert!(set.is_some(), "missing: {row}");
        }
        if let Some(row) = set {
            for word in line.split([' ', ',']).filter(|w| w.contains(['.', ':'])) {
                assert!(row.contains(&format!("`{word}`")), "{word} in {row}");
            }
        }
    }
}

/// `docs/errors.md` is written by this test when `POLC_BLESS` is set.
#[test]
fn the_table_of_codes_is_up_to_date() {
    let mut table = String::from(
        "# Diagnostics\n\nA code never changes its meaning and is never used again. This page is \
         written by a test:\n`POLC_BLESS=1 cargo nextest run -p polc-compiler \
         the_table_of_codes`.\n\n| code | name | meaning |\n|---|---|---|\n",
    );
    for code in Code::ALL {
        let summary = code.summary();
        writeln!(table, "| {} | {} | {summary} |", code.id(), code.name()).unwrap();
    }
    let path = root().join("docs/errors.md");
    if std::env::var_os("POLC_BLESS").is_some() {
        fs::write(&path, &table).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), table);
}
