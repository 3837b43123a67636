//! `polc test --live`: tests of policies as real packets.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use polc_compiler::inline::live::{Report, Sender, Where};
use polc_compiler::{Options, compile, inline};
use polc_runtime_loader::lab::{Origin, Site, SiteSpec, Throw, Way};
use polc_runtime_loader::{ApplyOptions, apply, remove};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{NoFiles, build_for, has_program, possible};

/// The targets that are played.
const TARGETS: [&str; 3] = ["nftables", "iptables", "ebpf"];

/// What a run printed, and its exit code.
struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

fn live(policy: &str, format: &str) -> Run {
    let place = TempDir::new().expect("a directory");
    std::fs::write(place.path().join("p.pol"), policy).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_polc"))
        .args(["test", "--live", "--format", format, "p.pol"])
        .args(["--target", &TARGETS.join(",")])
        .current_dir(place.path())
        .output()
        .expect("polc runs");
    Run {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The result of each step of the first test on each target.
fn results(policy: &str) -> (Option<i32>, Vec<Vec<(String, String)>>) {
    let run = live(policy, "json");
    let report: Value = serde_json::from_str(&run.out)
        .unwrap_or_else(|error| panic!("{error}\n{}\n{}", run.out, run.err));
    let steps = report["tests"][0]["steps"].as_array().expect("steps");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let cells = |step: &Value| {
        let cell = |target: &&str| {
            let cell = &step["live"][target];
            (text(&cell["result"]), text(&cell["reason"]))
        };
        TARGETS.iter().map(cell).collect()
    };
    (run.code, steps.iter().map(cells).collect())
}

/// Every kind of outcome, in and out and through.
const ROUTER: &str = r#"
policy router
zone wan = wan0
zone lan = lan0, wg*
zone dmz = dmz0 net { 10.1.0.0/24, fd00:1::/64 }
proxy box {
  listen tcp, udp at 127.0.0.1:12345, [::1]:12345
  mark 0x1/0xfff  table 100
}
guard on wan0 { deny from 10.0.0.0/8 as spoofed  default allow }
steer {
  dnat tcp/80 from wan to { 192.0.2.80, 2001:db8:1::80 } => 10.1.0.80:8080, [fd00:1::80]:8080 and allow as web
  redirect tcp/3128 to host in lan0 => :8118 and allow as squid
  proxy tcp/443, udp/443 from lan via box as caught
  proxy tcp/443 from host via box as own
  route udp/4000 from lan via table 200 mark 0x200/0xfff and allow as other-isp
  default direct
}
egress {
  masquerade from lan to wan only v4
  snat from 10.1.0.0/24 to wan => 192.0.2.81
}
to host {
  allow ssh from lan within 10/min burst 3 per source as ssh
  allow icmp from lan as ping
  reject from lan
  default deny
}
from lan to wan { reject tcp/25 with admin-prohibited as no-spam  default allow }
from dmz to wan { allow https as uplink  default reject }
from host {
  allow dns by user resolver as names
  deny udp/123 as no-time
  default reject
}
default deny

test "everything" {
  allow    tcp 192.168.1.5 -> host:22 in lan0 rule ssh
  allow    tcp [fd00:9::5] -> host:22 in wg*  rule ssh
  allow    icmp 192.168.1.5 -> host in lan0 rule ping
  allow    icmpv6 fd00:9::5 -> host in lan0 rule ping
  reject   tcp 192.168.1.5 -> host:23 in lan0
  reject   udp [fd00:9::5] -> host:23 in lan0
  deny     tcp 198.51.100.4 -> host:22 in wan0
  deny     tcp 10.9.9.9 -> host:22 in wan0 rule spoofed
  dnat     tcp 198.51.100.4 -> 192.0.2.80:80 in wan0 => 10.1.0.80:8080 rule web
  dnat     tcp [2001:db8:9::4] -> [2001:db8:1::80]:80 in wan0 => [fd00:1::80]:8080
  redirect tcp 192.168.1.5 -> host:3128 in lan0 => :8118 rule squid
  proxy    tcp 192.168.1.5 -> 203.0.113.9:443 in lan0 via box rule caught
  proxy    udp [fd00:9::5] -> [2001:db8:5::9]:443 in lan0 via box
  proxy    tcp host -> 203.0.113.9:443 via box rule own
  route    udp 192.168.1.5 -> 203.0.113.9:4000 in lan0 out wan0 rule other-isp
  masquerade tcp 192.168.1.5 -> 203.0.113.9:80 in lan0 out wan0
  allow    tcp [fd00:9::5] -> [2001:db8:5::9]:80 in lan0 out wan0
  reject   tcp 192.168.1.5 -> 203.0.113.9:25 in lan0 out wan0 rule no-spam
  snat     tcp 10.1.0.9 -> 203.0.113.9:443 in dmz0 out wan0 => 192.0.2.81 rule uplink
  reject   udp 10.1.0.9 -> 203.0.113.9:53 in dmz0 out wan0
  deny     tcp 203.0.113.9 -> 10.1.0.9:443 in wan0
  allow    udp host -> 203.0.113.9:53 by user resolver rule names
  reject   udp host -> 203.0.113.9:53
  deny     udp host -> 203.0.113.9:123 rule no-time
  allow    tcp reply host:22 -> 192.168.1.5 out lan0
  allow    udp reply 203.0.113.9:53 -> host:50000 in wan0 by user resolver
  send 5 in 200ms tcp 192.168.1.5 -> host:22 in lan0 => allow 3, reject 2
}
"#;

#[test]
fn the_kernel_does_what_tests_say() {
    if !possible() {
        return;
    }
    let (code, steps) = results(ROUTER);
    for (number, step) in steps.iter().enumerate() {
        for (target, (result, reason)) in TARGETS.iter().zip(step) {
            assert_eq!(result, "passed", "step {number} on {target}: {reason}");
        }
    }
    assert_eq!(steps.len(), 27);
    assert_eq!(code, Some(0));
}

#[test]
fn a_wrong_test_fails_everywhere() {
    if !possible() {
        return;
    }
    let policy = r#"
policy wrong
to host { allow ssh as ssh  allow https as site  default deny }
from host { default allow }
test "wrong" {
  deny  tcp 192.0.2.5 -> host:22 in eth0
  allow tcp 192.0.2.5 -> host:23 in eth0
  allow tcp 192.0.2.5 -> host:22 in eth0 rule site
  send 3 in 10ms tcp 192.0.2.5 -> host:22 in eth0 => allow 1, deny 2
  allow tcp 192.0.2.5 -> host:22 in eth0 rule ssh
}
"#;
    let (code, steps) = results(policy);
    let (right, wrong) = steps.split_last().expect("steps");
    for step in wrong {
        for (result, reason) in step {
            assert_eq!(result, "failed", "{reason}");
        }
    }
    for (result, reason) in right {
        assert_eq!(result, "passed", "{reason}");
    }
    assert_eq!(code, Some(1));
    let run = live(policy, "human");
    assert_eq!(run.code, Some(1));
    let row = run
        .out
        .lines()
        .find(|l| l.contains("deny  tcp") || l.contains("deny tcp"));
    let row = row.unwrap_or_else(|| panic!("{}", run.out));
    assert_eq!(
        row.matches("FAILED").count(),
        TARGETS.len() + 1,
        "{}",
        run.out
    );
}

#[test]
fn what_cannot_be_played_is_said() {
    if !possible() {
        return;
    }
    let policy = r#"
policy slow
to host { allow ssh within 20/h burst 20 per source  default deny }
from host { default allow }
test "slow" {
  send 21 in 1h tcp 192.0.2.5 -> host:22 in eth0 => allow 21
  allow tcp 192.0.2.5 -> host:22 in eth0
}
"#;
    let (code, steps) = results(policy);
    for (result, reason) in &steps[0] {
        assert_eq!(result, "untried");
        assert_eq!(reason, "it takes 3600 s, and at most 5 s are waited");
    }
    for (result, reason) in &steps[1] {
        assert_eq!(result, "passed", "{reason}");
    }
    assert_eq!(code, Some(0));
    let run = live(policy, "human");
    let told = "[1] not played: it takes 3600 s, and at most 5 s are waited";
    assert_eq!(run.out.matches(told).count(), 1, "{}", run.out);
    assert_eq!(
        run.out.matches("- [1]").count(),
        TARGETS.len(),
        "{}",
        run.out
    );
    let junit = live(policy, "junit");
    assert!(junit.out.contains("<skipped"), "{}", junit.out);
}

/// What is seen when a policy is in force whose rules are others than those that are played: for
/// each play of each step, whether that is noticed.
fn noticed(target: &str, played: &str, in_force: &str) -> Vec<bool> {
    let options = Options {
        as_of: "2026-01-01".into(),
        ..Options::default()
    };
    let compilation = compile("p.pol", played, &NoFiles, &options);
    let ir = compilation.ir.as_ref().expect("a policy");
    let bench = inline::Bench::new(&compilation.policy, ir, &options);
    let bundle = build_for(target, in_force);
    let spec = SiteSpec {
        interfaces: ["lan0", "wan0"].map(str::to_owned).into(),
        home: vec![bench.home(false), bench.home(true)],
        listeners: vec![],
        protocols: [(false, 6), (false, 17), (false, 1)].into(),
        settings: vec![],
    };
    let site = Site::new(&spec).expect("a machine");
    let state = TempDir::new().expect("a directory");
    let name = site.machine.name();
    let apply_options = ApplyOptions {
        netns: Some(name.to_owned()),
        state_dir: Some(state.path().to_owned()),
        ..ApplyOptions::default()
    };
    apply(&bundle, &apply_options, &mut |_| {}).expect("applied");
    let steps = &compilation.policy.tests[0].test.steps;
    let plays = steps
        .iter()
        .flat_map(|s| bench.plays(&s.node, inline::NOON).expect("plays"));
    let noticed = plays.map(|play| {
        let ways: Vec<Way> = play
            .routes
            .iter()
            .map(|r| Way {
                table: r.table,
                to: r.dest,
                interface: r.iface.to_string(),
            })
            .collect();
        let volley = &play.volleys[0];
        let throws: Vec<Throw> = volley
            .shots
            .iter()
            .map(|shot| Throw {
                after: Duration::from_millis(shot.after),
                from: match &shot.sender {
                    Sender::Iface(name) => Origin::Interface(name.to_string()),
                    Sender::Host { uid, gid } => Origin::Machine(*uid, *gid),
                },
                packet: shot.bytes.clone(),
            })
            .collect();
        let observed = site
            .throw(&throws, (&ways, &play.ports), Duration::ZERO, |_| true)
            .expect("thrown");
        let place = |at: Option<String>| at.map_or(Where::Host, Where::Iface);
        let packets = observed.packets.into_iter();
        let millis = |d: &Duration| u64::try_from(d.as_millis()).expect("soon");
        let report = Report {
            sent: observed.sent.iter().map(millis).collect(),
            packets: packets.map(|(at, bytes)| (place(at), bytes)).collect(),
            taken: observed.taken,
        };
        bench.disagreement(volley, &report).is_some()
    });
    let noticed = noticed.collect();
    remove(Some(name), Some(state.path())).expect("removed");
    noticed
}

/// Every way in which a kernel could treat a packet otherwise than the interpreter has it.
#[test]
fn what_a_kernel_does_otherwise_is_noticed() {
    if !possible() {
        return;
    }
    let test = "
        test \"t\" {
          allow    tcp 192.168.1.5 -> host:22 in lan0
          allow    tcp 192.168.1.5 -> host:23 in lan0
          deny     tcp 192.168.1.5 -> host:24 in lan0
          reject   tcp 192.168.1.5 -> host:25 in lan0
          reject   udp 192.168.1.5 -> host:26 in lan0
          allow    tcp 192.168.1.5 -> 203.0.113.9:80 in lan0 out wan0
          snat     tcp 192.168.1.5 -> 203.0.113.9:81 in lan0 out wan0
          redirect tcp 192.168.1.5 -> host:82 in lan0
          deny     udp host -> 203.0.113.9:53 out wan0
          allow    udp host -> 203.0.113.9:54 out wan0
          send 9 in 10ms udp 192.168.1.5 -> host:27 in lan0 => allow 5, deny 4
        }";
    let zones = "policy bench\nzone lan = lan0\nzone wan = wan0\n";
    let right = "
        steer { redirect tcp/82 to host in lan0 => :8082 and allow }
        egress { snat tcp/81 from lan to wan => 192.0.2.7 only v4 }
        to host {
          allow tcp/22-23  reject tcp/25, udp/26
          allow udp/27 within 1/min burst 5
          default deny
        }
        from lan { default allow }
        from host { deny udp/53  default allow }
        default deny";
    let wrong = "
        steer { redirect tcp/82 to host in lan0 => :8083 and allow }
        egress { snat tcp/81 from lan to wan => 192.0.2.8 only v4 }
        to host {
          deny tcp/22  reject tcp/23 with admin-prohibited  allow tcp/24  deny tcp/25
          reject udp/26 with admin-prohibited
          allow udp/27 within 1/min burst 6
          default deny
        }
        from lan { reject tcp/80  default allow }
        from host { reject udp/54  default allow }
        default deny";
    let played = format!("{zones}{right}{test}");
    for target in TARGETS {
        assert_eq!(noticed(target, &played, right), [false; 11], "{target}");
        assert_eq!(noticed(target, &played, wrong), [true; 11], "{target}");
    }
}

#[test]
fn a_target_that_cannot_express_a_policy_says_why() {
    if !possible() {
        return;
    }
    let policy = r#"
policy tagged
guard on eth0 { deny when vlan.id == 7 as tagged  default allow }
to host { default allow }
from host { default allow }
test "plain" { allow tcp 192.0.2.5 -> host:22 in eth0 }
"#;
    let (code, steps) = results(policy);
    let of = |target| {
        let mut cells = TARGETS.iter().zip(&steps[0]);
        let (_, cell) = cells.find(|(name, _)| **name == target).expect("a column");
        (cell.0.as_str(), cell.1.as_str())
    };
    let (result, reason) = of("iptables");
    assert_eq!(result, "untried");
    assert!(reason.contains("cannot express"), "{reason}");
    let (result, reason) = of("ebpf");
    assert_eq!(result, "passed", "{reason}");
    assert_eq!(code, Some(0));
}

/// Somebody who is not root has a user namespace, and is told what that is not enough for.
#[test]
fn who_is_not_root_plays_what_can_be_played() {
    if !possible() || !has_program("setpriv") {
        return;
    }
    let place = TempDir::new().expect("a directory");
    let everybody = |path: &Path| {
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, mode).expect("permissions");
    };
    everybody(place.path());
    let polc = place.path().join("polc");
    std::fs::copy(env!("CARGO_BIN_EXE_polc"), &polc).expect("copied");
    everybody(&polc);
    let policy = r#"
policy plain
to host { allow ssh  default deny }
from host { allow dns by uid 812  default deny }
test "plain" {
  allow tcp 192.0.2.5 -> host:22 in eth0
  deny  tcp 192.0.2.5 -> host:23 in eth0
  allow udp host -> 192.0.2.5:53 by uid 812
}
"#;
    std::fs::write(place.path().join("p.pol"), policy).expect("written");
    let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let output = Command::new("setpriv")
        .args(nobody)
        .arg(&polc)
        .args(["test", "--live", "--target", "nftables,ebpf", "p.pol"])
        .current_dir(place.path())
        .env("TMPDIR", "/tmp")
        .output()
        .expect("it runs");
    let [out, err] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    if output.status.code() == Some(4) && err.contains("cannot make a user namespace") {
        eprintln!("SKIPPED: this machine lets nobody make a user namespace");
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{out}\n{err}");
    assert_eq!(
        out.matches(" ok           ok        - [1]").count(),
        2,
        "{out}"
    );
    assert_eq!(
        out.matches(" ok           - [2]     - [1]").count(),
        1,
        "{out}"
    );
    for reason in [
        "[1] not played: programs of target `ebpf` can only be loaded by root",
        "[2] not played: only root can send as another user or group",
    ] {
        assert_eq!(out.matches(reason).count(), 1, "{out}");
    }
}
