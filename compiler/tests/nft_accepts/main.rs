//! The nftables target against the kernel: scripts are loaded, and packets sent, in network
//! namespaces that each test makes for itself.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod live;
mod load;
mod policies;

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Whether there is a kernel to ask. Without root it can be left out, but not silently, and not
/// where tests must be complete.
fn can_load() -> bool {
    let is_root = std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|s| s.lines().any(|l| l.starts_with("Uid:\t0\t")));
    if !is_root && std::env::var_os("CI").is_none() {
        eprintln!("SKIPPED: loading a script needs root");
        return false;
    }
    true
}

/// Runs a shell script in a network namespace of its own, with `input` as its standard input, and
/// returns what it prints.
fn in_namespace(script: &str, input: &str) -> String {
    let mut child = Command::new("unshare")
        .args(["-n", "sh", "-euc", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
