//! Every model policy at every stage, as snapshots under `golden/`. Read each diff as a reviewer.

#![expect(
    clippy::expect_used,
    reason = "a test stops at the first thing that is wrong"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use polc_bundle::Bundle;
use polc_compiler::diagnostic::Diagnostic;
use polc_compiler::diagnostic::human::{self, Style};
use polc_compiler::ir::print::print;
use polc_compiler::target::ebpf::{self, Hook};
use polc_compiler::{Compilation, Files, Options, compile, target};

/// The model policies that stand alone.
const POLICIES: [&str; 5] = ["ddos", "edge-router", "host", "sidecar", "tproxy-gateway"];

/// Policies of guards alone, which every target can express.
const GUARDS: [&str; 3] = ["front-line", "learning", "two-sides"];

struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> std::io::Result<String> {
        std::fs::read_to_string(root().join(path))
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Where a policy is.
fn path(name: &str) -> String {
    if GUARDS.contains(&name) {
        format!("compiler/tests/ebpf/policies/{name}.pol")
    } else {
        format!("policies/{name}.pol")
    }
}

fn compiled(name: &str) -> Compilation {
    let path = path(name);
    let text = Disk.read(&path).expect("a policy");
    let users = [("postfix", 101), ("proxybox", 812)].map(|(n, id)| (n.to_owned(), id));
    let options = Options {
        as_of: "2026-01-01".into(),
        users: users.into_iter().collect(),
        ..Options::default()
    };
    compile(&path, &text, &Disk, &options)
}

fn snapshot(policy: &str, stage: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => root().join("golden").join(policy),
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(stage, text);
    });
}

#[test]
fn every_policy_at_every_stage() {
    for name in POLICIES.into_iter().chain(GUARDS) {
        let path = path(name);
        let text = Disk.read(&path).expect("a policy");
        let formatted = polc_grammar::format(&text).expect("a right policy");
        assert_eq!(formatted, text, "`{path}` is formatted");

        let compilation = compiled(name);
        let findings = format!("{:#?}", compilation.diagnostics);
        assert_eq!(findings, "[]", "`{path}` is clean");
        let ir = compilation.ir.as_ref().expect("it compiles");
        snapshot(name, "ir", &print(ir));

        for target in target::all() {
            let options = target::Options::default();
            let bundle = match target.emit(ir, &compilation.sources, &options) {
                Ok(bundle) => bundle,
                Err(refused) => {
                    assert_eq!(target.name(), "iptables", "`{path}`: {refused:#?}");
                    snapshot(name, target.name(), &shown(&refused, &compilation));
                    continue;
                }
            };
            let text = match target.name() {
                "nftables" => file(&bundle, "policy.nft"),
                "iptables" => {
                    let remarks = target.remarks(ir, &options);
                    let files = ["sets.ipset", "policy.v4", "policy.v6"];
                    let text: Vec<String> = files.map(|name| file(&bundle, name)).into();
                    shown(&remarks, &compilation) + &text.join("\n")
                }
                _ => listing(&compilation),
            };
            snapshot(name, target.name(), &text);
            snapshot(
                name,
                &format!("{}-manifest", target.name()),
                &bundle.manifest_yaml().expect("YAML"),
            );
        }
    }
}

fn file(bundle: &Bundle, name: &str) -> String {
    bundle.file(name).expect("a file").to_owned()
}

/// Findings as the user sees them.
fn shown(findings: &[Diagnostic], compilation: &Compilation) -> String {
    let style = Style {
        colour: false,
        width: 100,
    };
    let draw = |finding| human::render(finding, &compilation.sources, style);
    findings.iter().map(draw).collect()
}

/// The programs of a policy, disassembled: those of its guard, and the others.
fn listing(compilation: &Compilation) -> String {
    let ir = compilation.ir.as_ref().expect("it compiles");
    let (sources, options) = (&compilation.sources, target::Options::default());
    let guard = ebpf::guard(ir, sources, Hook::Xdp, &options).expect("it is expressible");
    let filter = ebpf::filter(ir, sources, &options).expect("it is expressible");
    guard.listing + &abridged(&filter.listing)
}

/// A listing in which programs of several classes of interfaces show only how they classify, but for the
/// first: they differ in nothing else.
fn abridged(listing: &str) -> String {
    let mut known = BTreeSet::new();
    let (mut whole, mut shown) = (true, true);
    let mut out = String::new();
    for line in listing.lines() {
        if let Some(name) = line.strip_suffix("():") {
            let class = |c: char| c.is_ascii_digit();
            whole = known.insert(name.replace(class, ""));
            shown = whole;
            out.push_str(line);
            out.push('\n');
            continue;
        }
        if let Some(part) = line.strip_suffix(':').filter(|l| !l.starts_with(' ')) {
            shown = whole || part == "classify";
        }
        if shown {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// The tree of the smallest policy: the other stages show the rest.
#[test]
fn the_tree_of_a_policy() {
    let text = Disk.read("policies/host.pol").expect("a policy");
    let parsed = polc_grammar::parse(&text);
    assert_eq!(parsed.errors, []);
    snapshot("host", "ast", &format!("{:#?}", parsed.file));
}

#[test]
fn no_golden_is_left_over() {
    for entry in std::fs::read_dir(root().join("golden")).expect("goldens") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .and_then(|n| n.to_str())
            .expect("a name")
            .to_owned();
        let known = GUARDS.contains(&name.as_str())
            || POLICIES.contains(&name.as_str())
            || ["cli", "diagnostics"].contains(&name.as_str());
        assert!(
            known || !Path::new(&path).is_dir(),
            "`golden/{name}` belongs to nothing"
        );
    }
}
