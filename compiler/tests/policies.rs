//! The model policies compile without a word.

#![expect(
    clippy::unwrap_used,
    reason = "without its policies the test must fail"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use polc_compiler::diagnostic::human::{self, Style};
use polc_compiler::ir::Stage;
use polc_compiler::{Compilation, Files, Options, compile};

struct Disk(PathBuf);

impl Files for Disk {
    fn read(&self, path: &str) -> std::io::Result<String> {
        fs::read_to_string(self.0.join(path))
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies")
}

/// Every policy and library, relative to the folder.
fn all() -> Vec<String> {
    let below = |dir: &str| {
        let entries = fs::read_dir(folder().join(dir)).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        let stems = names.filter_map(|n| n.strip_suffix(".pol").map(str::to_owned));
        stems.map(|n| format!("{dir}{n}.pol")).collect::<Vec<_>>()
    };
    let mut all = below("");
    all.extend(below("lib/"));
    all.sort();
    all
}

fn compiled(name: &str) -> Compilation {
    let text = fs::read_to_string(folder().join(name)).unwrap();
    let users = [("postfix", 101), ("proxybox", 812), ("sidecar", 1337)];
    let options = Options {
        users: BTreeMap::from(users.map(|(name, number)| (name.to_owned(), number))),
        as_of: "2026-11-21".to_owned(),
        ..Options::default()
    };
    compile(name, &text, &Disk(folder()), &options)
}

#[test]
fn every_policy_compiles_without_a_word() {
    let style = Style {
        colour: false,
        width: 100,
    };
    let all = all();
    assert!(all.len() >= 8, "{all:?}");
    for name in all {
        let result = compiled(&name);
        let shown: String = result
            .diagnostics
            .iter()
            .map(|d| human::render(d, &result.sources, style))
            .collect();
        assert!(shown.is_empty(), "{name}:\n{shown}");
        let ir = result.ir.unwrap();
        let is_library = name.starts_with("lib/");
        assert_eq!(ir.rules().next().is_none(), is_library, "{name}");
    }
}

#[test]
fn templates_of_the_library_become_rules() {
    let ir = compiled("home-router.pol").ir.unwrap();
    let named = |stage, name: &str| ir.stage(stage).iter().any(|r| *r.name == *name);
    assert!(named(Stage::Steer, "games"));
    assert!(named(Stage::Filter, "ssh"));
    assert_eq!(ir.egress.len(), 2);
}

#[test]
fn parameters_reach_what_uses_them() {
    let text = fs::read_to_string(folder().join("sidecar.pol")).unwrap();
    let with = |uid: &str| {
        let options = Options {
            params: BTreeMap::from([("proxy_uid".to_owned(), uid.to_owned())]),
            as_of: "2026-11-21".to_owned(),
            ..Options::default()
        };
        let result = compile("sidecar.pol", &text, &Disk(folder()), &options);
        result.ir.unwrap().steer
    };
    assert_eq!(with("1337"), compiled("sidecar.pol").ir.unwrap().steer);
    assert_ne!(with("1338"), with("1337"));
}

#[test]
fn every_policy_is_formatted() {
    for name in all() {
        let text = fs::read_to_string(folder().join(&name)).unwrap();
        assert_eq!(polc_grammar::format(&text).unwrap(), text, "{name}");
    }
}
