//! Builds policies, and asks both variants of the tools what they think of them.

use std::fmt::Write as _;
use std::io;
use std::io::Write as _;
use std::process::{Command, Stdio};

use polc_bundle::Bundle;

use crate::diagnostic::Diagnostic;
use crate::ir::Ir;
use crate::source::SourceMap;
use crate::target::{Iptables, Options, Target};
use crate::{Files, compile};

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &str) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// A policy whose head names the zones `lan` (eth1 and wg*) and `wan` (eth0).
pub(super) fn policy(blocks: &str) -> Ir {
    let text = format!("policy p\nzone lan = eth1, wg*\nzone wan = eth0\n{blocks}\n");
    let compilation = compile("p.pol", &text, &NoFiles, &crate::Options::default());
    let found = format!("{:#?}", compilation.diagnostics);
    compilation
        .ir
        .unwrap_or_else(|| panic!("{blocks}: {found}"))
}

/// Builds with the usual options.
pub(super) fn emit(blocks: &str) -> Result<Bundle, Vec<Diagnostic>> {
    Iptables.emit(&policy(blocks), &SourceMap::default(), &Options::default())
}

/// A file of the bundle without what every such file has, and without the sections that hold.
fn body(bundle: &Bundle, name: &str) -> String {
    let text = bundle.file(name).unwrap();
    let mut sections: Vec<&str> = text.split("\n\n*").skip(1).collect();
    let last = |s: &&str, rest: &[&str]| {
        let table = s.lines().next();
        rest.iter().all(|other| other.lines().next() != table)
    };
    let held: Vec<bool> = sections
        .iter()
        .enumerate()
        .map(|(i, s)| !last(s, &sections[i + 1..]))
        .collect();
    let mut held = held.into_iter();
    sections.retain(|_| !held.next().unwrap_or(false));
    let lines = sections.iter().flat_map(|s| s.lines());
    let shown = lines.filter(|l| !l.contains("POLC-GENERATION") && !l.starts_with(':'));
    let shown: Vec<&str> = shown.filter(|l| *l != "COMMIT").collect();
    shown.join(
        "
",
    ) + "
"
}

/// The rules of both families and the sets, after both variants of the tools have taken them.
pub(super) fn text(blocks: &str) -> String {
    let bundle = match emit(blocks) {
        Ok(bundle) => bundle,
        Err(errors) => panic!("{blocks}: {errors:#?}"),
    };
    accepted(&bundle);
    let sets = bundle.file("sets.ipset").unwrap().lines().skip(2);
    let sets = sets.collect::<Vec<_>>().join("\n");
    format!(
        "== v4\n{}== v6\n{}== sets\n{sets}",
        body(&bundle, "policy.v4"),
        body(&bundle, "policy.v6")
    )
}

/// The lines of IPv4 that speak of `rule`, without what all rules have.
pub(super) fn lines(blocks: &str, rule: &str) -> Vec<String> {
    let bundle = match emit(blocks) {
        Ok(bundle) => bundle,
        Err(errors) => panic!("{blocks}: {errors:#?}"),
    };
    accepted(&bundle);
    let comment = format!(" -m comment --comment \"{rule}\"");
    let text = body(&bundle, "policy.v4");
    let own = text.lines().filter(|l| l.contains(&comment));
    let bare = |l: &str| {
        let line = l.replace(&comment, "");
        line.splitn(3, ' ').nth(2).unwrap_or_default().to_owned()
    };
    own.map(bare).collect()
}

/// The titles of the errors of a policy that cannot be built.
pub(super) fn errors(blocks: &str) -> Vec<String> {
    let found = emit(blocks).expect_err(blocks);
    found.into_iter().map(|d| d.title).collect()
}

/// Asserts that both variants of the tools load the files, in network namespaces of their own, with
/// the jumps of the kernel's chains: these make the kernel check where each rule may stand.
fn accepted(bundle: &Bundle) {
    let is_root = std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|s| s.lines().any(|l| l.starts_with("Uid:\t0\t")));
    if !is_root && std::env::var_os("CI").is_none() {
        eprintln!("SKIPPED: iptables needs root to load rules");
        return;
    }
    let mut jumps = String::new();
    for jump in &bundle.manifest().jumps {
        let tool = match jump.family {
            polc_bundle::Family::V4 => "iptables",
            polc_bundle::Family::V6 => "ip6tables",
        };
        let place = format!("-t {} -I {} -j {}", jump.table, jump.builtin, jump.chain);
        writeln!(jumps, "{tool}-$variant -w {place}").unwrap();
    }
    for variant in ["legacy", "nft"] {
        let file = |name: &str| bundle.file(name).unwrap();
        let script = format!(
            "set -e\nvariant={variant}\nipset restore -exist <<'POLC_END'\n{}POLC_END\n\
             iptables-$variant-restore --noflush <<'POLC_END'\n{}POLC_END\n\
             ip6tables-$variant-restore --noflush <<'POLC_END'\n{}POLC_END\n{jumps}",
            file("sets.ipset"),
            file("policy.v4"),
            file("policy.v6"),
        );
        let mut child = Command::new("unshare")
            .args(["-n", "sh", "-s"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(script.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{variant}: {message}\n{script}");
    }
}
