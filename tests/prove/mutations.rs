//! What the model policies' own claims and tests notice when a verdict is turned around. A snapshot
//! for each policy says which rule is covered by which claim or test, and which by none.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use polc_compiler::analyse::prove::{Effort, Proof, prove_with};
use polc_compiler::inline;
use polc_compiler::ir::{Ir, Rule, Stage, Verdict};
use polc_compiler::{Compilation, Files, Options, compile};

const POLICIES: [&str; 5] = ["ddos", "edge-router", "host", "sidecar", "tproxy-gateway"];

struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> std::io::Result<String> {
        std::fs::read_to_string(root().join(path))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn options() -> Options {
    let users = [("postfix", 101), ("proxybox", 812)].map(|(n, id)| (n.to_owned(), id));
    Options {
        as_of: "2026-01-01".into(),
        users: users.into_iter().collect(),
        ..Options::default()
    }
}

/// The opposite of a verdict, as its stage permits; `None` for a rule without one.
fn opposite(stage: Stage, rule: &Rule) -> Option<Verdict> {
    Some(match (stage, rule.verdict.as_ref()?) {
        (Stage::Guard | Stage::Filter, Verdict::Deny | Verdict::Reject(_)) => Verdict::Allow,
        (Stage::Egress, Verdict::Direct) => Verdict::Masquerade,
        (Stage::Steer, Verdict::Deny) | (Stage::Egress, _) => Verdict::Direct,
        _ => Verdict::Deny,
    })
}

/// The claims and tests that do not hold, by kind and line.
fn complaints(compilation: &Compilation, ir: &Ir) -> Vec<String> {
    let line = |span| compilation.sources.position(span).0;
    let effort = Effort {
        samples: 0,
        ..Effort::default()
    };
    let results = prove_with(&compilation.policy, ir, effort);
    let mut found = Vec::new();
    for result in results {
        let span = compilation.policy.claims[result.claim].span;
        match result.proof {
            Proof::Proven | Proof::Vacuous | Proof::Unknown(_) => {}
            Proof::Fails(_) => found.push(format!("claim at line {}", line(span))),
            Proof::Defect(shown) => panic!("{shown:#?}"),
        }
    }
    let options = options();
    for test in inline::run(&compilation.policy, ir, &options) {
        let failed = test.steps.iter().filter(|s| s.failure.is_some());
        found.extend(failed.map(|s| format!("test at line {}", line(s.span))));
    }
    found
}

fn table(name: &str) -> String {
    let path = format!("policies/{name}.pol");
    let text = Disk.read(&path).expect("a policy");
    let compilation = compile(&path, &text, &Disk, &options());
    let ir = compilation.ir.as_ref().expect("it compiles");
    let before = complaints(&compilation, ir);
    let mut out = String::new();
    for complaint in &before {
        let _ = writeln!(out, "without a mutation: {complaint}");
    }
    for stage in Stage::ALL {
        for (at, rule) in ir.stage(stage).iter().enumerate() {
            let Some(verdict) = opposite(stage, rule) else {
                continue;
            };
            let was = rule.verdict.as_ref().map_or("", Verdict::verb);
            let mut mutant = ir.clone();
            let mutated = &mut mutant.stage_mut(stage)[at];
            let is = verdict.verb();
            mutated.verdict = Some(verdict);
            mutated.admit = false;
            let mut caught = complaints(&compilation, &mutant);
            caught.retain(|c| !before.contains(c));
            let by = if caught.is_empty() {
                "not covered".to_owned()
            } else {
                caught.join(", ")
            };
            let _ = writeln!(out, "{} {}: {was} -> {is}: {by}", stage.name(), rule.name);
        }
    }
    out
}

#[test]
fn what_claims_and_tests_notice() {
    for name in POLICIES {
        insta::with_settings!({
            snapshot_path => root().join("golden").join(name),
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, {
            insta::assert_snapshot!("mutations", table(name));
        });
    }
}
