//! Commands that make network namespaces take them back when they are told to end.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::possible;

/// Long enough for a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many named namespaces are a process's.
fn namespaces(child: &Child) -> usize {
    let own = format!("polc-{}-", child.id());
    let Ok(all) = std::fs::read_dir("/run/netns") else {
        return 0;
    };
    let names = all.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.starts_with(&own)).count()
}

/// Tells a command to end once it has made namespaces, and says what it printed then.
fn stopped(arguments: &[&str], signal: Signal) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_polc"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("polc starts");
    let end = Instant::now() + PATIENCE;
    while namespaces(&child) == 0 {
        assert!(Instant::now() < end, "it makes no namespace");
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = Pid::from_raw(child.id().try_into().expect("a process"));
    kill(pid, signal).expect("it is there");
    while child.try_wait().expect("a status").is_none() {
        assert!(Instant::now() < end, "it goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(namespaces(&child), 0, "namespaces are left");
    let output = child.wait_with_output().expect("what it printed");
    assert_eq!(output.status.code(), Some(4));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn random_policies() {
    if !possible() {
        return;
    }
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let said = stopped(&["verify", "--policies", "1000", "--jobs", "2"], signal);
        assert!(said.contains("polc: it was told to end"), "{said}");
    }
}

#[test]
fn given_policies() {
    if !possible() {
        return;
    }
    let said = stopped(
        &["verify", "--packets", "10000000", "policies/host.pol"],
        Signal::SIGINT,
    );
    assert!(said.contains("polc: it was told to end"), "{said}");
}

#[test]
fn live_tests() {
    if !possible() {
        return;
    }
    let said = stopped(&["test", "--live", "policies"], Signal::SIGINT);
    assert!(said.contains("polc: it was told to end"), "{said}");
}
