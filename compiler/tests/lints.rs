//! Every page of a lint keeps its word.
//!
//! What stands under `## Bad` gives the page's code and no other, with every lint on that the page's
//! persona has; what stands under `## Good` gives none. A safe fix clears the code, and what it
//! leaves compiles and is formatted. A fenced block marked `yaml` holds settings of lint for both.
//! `docs/lints/` is written from the pages by `POLC_BLESS=1 cargo nextest run -p polc-compiler
//! the_pages_are_up_to_date`.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a page that cannot be read must fail the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use polc_compiler::analyse::lint::{self, Meta, Settings};
use polc_compiler::analyse::prove;
use polc_compiler::diagnostic::human::{self, Style};
use polc_compiler::diagnostic::{self, Diagnostic, fix};
use polc_compiler::target::{self, Iptables, Nftables, Target as _};
use polc_compiler::{Compilation, Files, Options, compile};

/// Files that examples may name.
struct Examples;

impl Files for Examples {
    fn read(&self, path: &str) -> io::Result<String> {
        match path {
            "lists/blocked.txt" => Ok("203.0.113.0/24\n198.51.100.7\n".to_owned()),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }
}

/// The part of a page below a heading.
fn section<'p>(page: &'p str, heading: &str) -> Option<&'p str> {
    let (_, rest) = page.split_once(&format!("\n## {heading}\n"))?;
    Some(rest.split("\n## ").next().unwrap_or(rest))
}

/// The first fenced block of a language.
fn block(text: &str, language: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("```{language}\n"))?;
    let (body, _) = rest.split_once("```")?;
    Some(body.to_owned())
}

fn snippet(meta: &Meta, heading: &str) -> String {
    let page = meta.page();
    let part = section(&page, heading);
    let part = part.unwrap_or_else(|| panic!("{} has no section `{heading}`", meta.id));
    block(part, "pol").unwrap_or_else(|| panic!("{}: no policy below `{heading}`", meta.id))
}

fn settings(meta: &Meta) -> Settings {
    let given = block(&meta.page(), "yaml").unwrap_or_else(|| "{}".to_owned());
    let given: Settings = serde_yaml::from_str(&given)
        .unwrap_or_else(|error| panic!("{}: its settings: {error}", meta.id));
    Settings {
        persona: meta.persona,
        ..given
    }
}

fn linted(meta: &Meta, text: &str) -> (Compilation, Vec<Diagnostic>) {
    let options = Options {
        as_of: "2026-11-21".to_owned(),
        ..Options::default()
    };
    let result = compile("example.pol", text, &Examples, &options);
    let mut found = lint::lint(&result, &settings(meta)).findings;
    if let Some(ir) = &result.ir {
        let built = Nftables.emit(ir, &result.sources, &target::Options::default());
        found.extend(built.err().unwrap_or_default());
        if meta.id == diagnostic::Code::FamilyScope.id() {
            found.extend(Iptables.remarks(ir, &target::Options::default()));
        }
        let claims = prove::prove(&result.policy, ir);
        let claims = claims.iter();
        found.extend(
            claims.filter_map(|c| prove::diagnostic(c, &result.policy, ir, &result.sources)),
        );
    }
    (result, found)
}

fn codes(found: &[Diagnostic]) -> BTreeSet<&'static str> {
    found.iter().map(|d| d.code.id()).collect()
}

fn shown(result: &Compilation, found: &[Diagnostic]) -> String {
    let style = Style {
        colour: false,
        width: 100,
    };
    let texts = found
        .iter()
        .map(|d| human::render(d, &result.sources, style));
    texts.collect()
}

#[test]
fn what_is_bad_is_found_and_what_is_good_is_not() {
    let mut wrong = String::new();
    for meta in lint::all() {
        for (heading, expected) in [("Bad", Some(meta.id)), ("Good", None)] {
            let (result, found) = linted(meta, &snippet(meta, heading));
            if codes(&found) != expected.into_iter().collect() {
                let shown = shown(&result, &found);
                writeln!(wrong, "{} {heading}:\n{shown}", meta.id).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_fix_mends_what_is_bad() {
    for meta in lint::all() {
        let bad = snippet(meta, "Bad");
        let (result, found) = linted(meta, &bad);
        let fixes = || {
            let fixes = found.iter().filter(|d| d.code.id() == meta.id);
            fixes.filter_map(|d| d.fix.as_ref()).filter(|fix| fix.safe)
        };
        assert_eq!(fixes().next().is_some(), meta.fix, "{}: its fix", meta.id);
        if !meta.fix {
            continue;
        }
        let edits = fix::compatible(fixes(), result.policy.file);
        let mended = fix::apply(&bad, &edits);
        let (after, left) = linted(meta, &mended);
        assert!(
            !diagnostic::has_errors(&left),
            "{mended}\n{}",
            shown(&after, &left)
        );
        assert!(
            !codes(&left).contains(meta.id),
            "{mended}\n{}",
            shown(&after, &left)
        );
        assert_eq!(
            polc_grammar::format(&mended).unwrap(),
            mended,
            "{}",
            meta.id
        );
    }
}

#[test]
fn every_page_is_whole() {
    let mut names = BTreeMap::new();
    for meta in lint::all() {
        let (id, page) = (meta.id, meta.page());
        assert!(id.len() == 6 && id.starts_with("POL"), "{id}");
        for word in [id, meta.name] {
            assert_eq!(names.insert(word, id), None, "{word} is taken");
        }
        assert!(meta.summary.ends_with('.'), "{id}: {}", meta.summary);
        let opening = page.split("\n## ").next().unwrap();
        assert!(opening.trim().len() > 80, "{id} says nothing: {opening}");
        for heading in ["Bad", "Good"] {
            let text = snippet(meta, heading);
            if let Ok(formatted) = polc_grammar::format(&text) {
                assert_eq!(formatted, text, "{id} {heading} is not formatted");
            }
        }
        assert_eq!(
            section(&page, "Fix").is_some(),
            meta.fix,
            "{id}: its section `Fix`"
        );
    }
    for code in diagnostic::Code::ALL
        .iter()
        .filter(|c| c.id() >= "POL100" || c.id() == "POL021")
    {
        assert!(names.contains_key(code.id()), "{} has no page", code.id());
    }
}

#[test]
fn every_message_is_in_style() {
    for meta in lint::all() {
        let (_, found) = linted(meta, &snippet(meta, "Bad"));
        for finding in found.iter().filter(|d| d.code.id() == meta.id) {
            let title = &finding.title;
            assert!(
                !title.is_empty() && !title.ends_with('.'),
                "{}: {title}",
                meta.id
            );
            assert_eq!(title.matches('`').count() % 2, 0, "{}: {title}", meta.id);
            assert!(finding.place().is_some(), "{}: {title}", meta.id);
            let labels = finding.labels.iter().chain(&finding.related);
            let helps = finding.help.is_some() || labels.map(|l| &l.text).any(|t| !t.is_empty());
            assert!(helps, "{}: no help: {title}", meta.id);
        }
    }
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/lints")
}

fn index() -> String {
    let mut table = String::from(
        "# Lints\n\nHow to use them: [lint.md](../lint.md). These pages are written by a test from \
         the lints themselves:\n`POLC_BLESS=1 cargo nextest run -p polc-compiler \
         the_pages_are_up_to_date`.\n\n| code | name | severity | persona | precision | fix | finds \
         |\n|---|---|---|---|---|---|---|\n",
    );
    for meta in lint::all() {
        writeln!(
            table,
            "| [{0}]({0}.md) | {1} | {2} | {3} | {4} | {5} | {6} |",
            meta.id,
            meta.name,
            meta.severity.name(),
            meta.persona.name(),
            meta.precision.name(),
            if meta.fix { "safe" } else { "" },
            meta.summary
        )
        .unwrap();
    }
    table
}

#[test]
fn the_pages_are_up_to_date() {
    let mut pages = BTreeMap::from([("README.md".to_owned(), index())]);
    pages.extend(lint::all().map(|meta| (format!("{}.md", meta.id), meta.document())));
    if std::env::var_os("POLC_BLESS").is_some() {
        fs::create_dir_all(docs()).unwrap();
        for entry in fs::read_dir(docs()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        for (name, text) in &pages {
            fs::write(docs().join(name), text).unwrap();
        }
    }
    let entries = fs::read_dir(docs()).unwrap();
    let names: BTreeSet<String> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, pages.keys().cloned().collect());
    for (name, text) in &pages {
        assert_eq!(
            &fs::read_to_string(docs().join(name)).unwrap(),
            text,
            "{name}"
        );
    }
}
