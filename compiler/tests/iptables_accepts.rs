//! The iptables target against the kernel: policies made up by machine are loaded by both variants of the
//! tools, in network namespaces of their own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use polc_bundle::{Bundle, Family};
use polc_compiler::target::{self, Iptables, Target as _};
use polc_compiler::{Compilation, Files, Options, compile};
use polc_generator::{Feature, Shape, valid_policy};

/// How many policies.
const POLICIES: u64 = 200;

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &str) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

fn compiled(text: &str) -> Compilation {
    let options = Options {
        as_of: "2026-01-01".to_owned(),
        ..Options::default()
    };
    compile("random.pol", text, &NoFiles, &options)
}

/// Whether there is a kernel to ask. Without root it can be left out, but not silently, and not
/// where tests must be complete.
fn can_load() -> bool {
    let is_root = std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|s| s.lines().any(|l| l.starts_with("Uid:\t0\t")));
    if !is_root && std::env::var_os("CI").is_none() {
        eprintln!("SKIPPED: loading rules needs root");
        return false;
    }
    true
}

/// Loads the files twice over, and puts in the jumps, which make the kernel check where each rule
/// may stand. What the tools say when they fail.
fn load(bundle: &Bundle, variant: &str) -> Result<(), String> {
    let mut script = String::from("set -e\n");
    let mut feed = |tool: &str, file: &str| {
        let text = bundle.file(file).unwrap();
        writeln!(script, "{tool} <<'POLC_END'\n{text}\nPOLC_END").unwrap();
    };
    for _ in 0..2 {
        feed("ipset restore -exist", "sets.ipset");
        feed(
            &format!("iptables-{variant}-restore --noflush"),
            "policy.v4",
        );
        feed(
            &format!("ip6tables-{variant}-restore --noflush"),
            "policy.v6",
        );
    }
    for jump in &bundle.manifest().jumps {
        let tool = match jump.family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        };
        let place = format!("-t {} -I {} -j {}", jump.table, jump.builtin, jump.chain);
        writeln!(script, "{tool}-{variant} {place}").unwrap();
    }
    let mut child = Command::new("unshare")
        .args(["-n", "sh", "-s"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    // A tool that fails early closes its input.
    let _ = input.write_all(script.as_bytes());
    drop(input);
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn both_variants_take_whatever_is_built() {
    if !can_load() {
        return;
    }
    // The machine has no users and groups of these names.
    let shapes = [
        Shape::default().without(Feature::Senders),
        Shape {
            guard: 2,
            steer: 2,
            filter: 3,
            sections: 2,
            egress: 2,
            ..Shape::default().without(Feature::Senders)
        },
    ];
    let mut built = 0;
    for seed in 0..POLICIES {
        let shape = &shapes[usize::try_from(seed).unwrap() % shapes.len()];
        let draw = valid_policy(seed, shape, |text| compiled(text).ir.is_some()).unwrap();
        let compilation = compiled(&draw.text);
        let ir = compilation.ir.as_ref().unwrap();
        let options = target::Options::default();
        let Ok(bundle) = Iptables.emit(ir, &compilation.sources, &options) else {
            continue;
        };
        // Names that nobody has here stop the load, as they must.
        if !bundle.manifest().unresolved.is_empty() {
            continue;
        }
        built += 1;
        for variant in ["legacy", "nft"] {
            if let Err(error) = load(&bundle, variant) {
                panic!("seed {seed}, {variant}: {error}\n{}", draw.text);
            }
        }
    }
    // Else nothing would have been tested.
    assert!(
        built > POLICIES / 20,
        "{built} of {POLICIES} can be expressed"
    );
    println!("{built} of {POLICIES} policies loaded");
}
