//! Builds policies, and asks nft what it thinks of them.

use polc_bundle::Bundle;

use crate::diagnostic::Diagnostic;
use crate::ir::Ir;
use crate::source::SourceMap;
pub(super) use crate::target::netfilter::build::*;
use crate::target::{Nftables, Options, Target};

/// Builds with the usual options.
pub(super) fn emit(ir: &Ir) -> Result<Bundle, Vec<Diagnostic>> {
    Nftables.emit(ir, &SourceMap::default(), &Options::default())
}

/// The chains, sets and limits of the script, without what every script has.
pub(super) fn text(ir: &Ir) -> String {
    let bundle = emit(ir).unwrap();
    let script = bundle.file("policy.nft").unwrap();
    accepted(script);
    let body = script.split_once("\"\n\t}\n\n").unwrap().1;
    body.trim_end().trim_end_matches('}').trim_end().to_owned()
}

/// The titles of the errors of a policy that cannot be built.
pub(super) fn errors(ir: &Ir) -> Vec<String> {
    emit(ir).unwrap_err().into_iter().map(|d| d.title).collect()
}

/// Asserts that nft takes the script, in a network namespace of its own.
pub(super) fn accepted(script: &str) {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let is_root = std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|s| s.lines().any(|l| l.starts_with("Uid:\t0\t")));
    if !is_root && std::env::var_os("CI").is_none() {
        eprintln!("SKIPPED: nft needs root to check a script");
        return;
    }
    let mut child = Command::new("unshare")
        .args(["-n", "nft", "-c", "-f", "-"])
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
    assert!(output.status.success(), "{message}\n{script}");
}
