//! Other loaders than ours, and what tools show of programs.

use std::process::Command;

use polc_compiler::target::Options;
use polc_compiler::target::ebpf::{self, Hook, Programs};

use super::guard::compiled;
use super::kernel::possible;

const POLICY: &str = "set noisy = {} dynamic idle 1h
bucket each = 5/s burst 10 per source/32,/64 max 1k
guard on wan0 {
  deny tcp/25
  deny udp/19 as chargen count
  deny udp from @noisy
  deny udp over each add @noisy log at 1/s
  allow tcp/443
  default deny
}
";

fn guard(text: &str) -> Programs {
    let made = compiled(text);
    let ir = made.ir.unwrap();
    ebpf::guard(&ir, &made.sources, Hook::Xdp, &Options::default()).unwrap()
}

/// Runs a script in namespaces of its own: what it mounts, pins and attaches goes with it. `$OBJECT`
/// is the file of an object.
fn run(object: &[u8], script: &str) -> String {
    let directory = tempfile::TempDir::with_prefix("polc-tools-").unwrap();
    let file = directory.path().join("policy.o");
    std::fs::write(&file, object).unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "--net", "sh", "-ec", script])
        .env("OBJECT", &file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complaint}");
    said
}

#[test]
fn bpftool_loads_programs_and_quotes_their_rules() {
    if !possible() {
        return;
    }
    let script = "mount -t bpf none /sys/fs/bpf
                  bpftool prog loadall $OBJECT /sys/fs/bpf/programs pinmaps /sys/fs/bpf/maps
                  bpftool prog dump xlated pinned /sys/fs/bpf/programs/guard_0 linum
                  ls /sys/fs/bpf/maps";
    let guard = guard(POLICY);
    let said = run(&guard.object, script);
    for (number, text) in (1..).zip(POLICY.lines()) {
        let place = format!("[file:random.pol line_num:{number} ");
        let quotes = said
            .lines()
            .filter(|line| line.starts_with("; ") && line.contains(&place))
            .collect::<Vec<_>>();
        assert_eq!(quotes.is_empty(), !(3..=9).contains(&number), "{said}");
        assert!(quotes.iter().all(|q| q.contains(text.trim())), "{quotes:?}");
    }
    assert!(said.contains("guard_0_forget("), "{said}");
    for map in guard.state {
        assert!(said.lines().any(|line| line == map), "{map}: {said}");
    }
}

#[test]
fn iproute2_attaches_programs() {
    if !possible() {
        return;
    }
    let script = "mount -t bpf none /sys/fs/bpf
                  ip link add left type veth peer name right
                  ip link set dev left xdp obj $OBJECT sec xdp
                  ip link show dev left";
    let said = run(&guard(POLICY).object, script);
    assert!(said.contains("prog/xdp"), "{said}");
}
