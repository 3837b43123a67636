//! Guards as programs at interfaces.

use std::net::IpAddr;
use std::time::Duration;

use polc_bundle::Bundle;
use polc_runtime_loader::lab::{EchoServer, Outcome, Topology};
use polc_runtime_loader::{ApplyError, ApplyOptions, Changes, Undo, apply};

use crate::flood::while_flooded;
use crate::harness::{Bench, build, build_for, possible};

/// A router whose policy is programs.
struct Guarded(Bench);

impl Guarded {
    fn new(body: &str) -> Self {
        let guarded = Self(Bench::bare(Topology::new().expect("a topology")).built_for("ebpf"));
        guarded.0.apply_bundle(&programs(body));
        guarded
    }

    /// Whether a datagram to a port comes back.
    fn answers(&self, server: IpAddr, port: u16) -> bool {
        self.0.client().udp(server, port).is_connected()
    }

    /// What `ip link` says of an interface.
    fn link(&self, interface: &str) -> String {
        let arguments = ["link", "show", "dev", interface];
        let shown = self.0.router().output("ip", &arguments);
        shown.expect("an interface")
    }
}

fn programs(body: &str) -> Bundle {
    build_for("ebpf", body)
}

const GUARD: &str = "
guard on lan0 {
  deny udp/81                            as port       count
  deny udp when udp.sport in { 19, 1900 } as reflection count
  default allow
}
";

#[test]
fn a_guard_is_applied_read_back_and_removed() {
    if !possible() {
        return;
    }
    let guarded = Guarded::new(GUARD);
    let bench = &guarded.0;
    let (_open, _closed) = (bench.serve("open", 80), bench.serve("closed", 81));
    for server in bench.server() {
        assert!(guarded.answers(server, 80));
        assert!(!guarded.answers(server, 81));
    }
    assert!(bench.packets("port") >= 2, "{:?}", bench.status());
    assert_eq!(bench.packets("reflection"), 0);
    assert!(guarded.link("lan0").contains("xdp"));
    assert!(!guarded.link("wan0").contains("xdp"), "no rule is about it");

    let status = bench.status();
    assert!(status.in_step, "{status:?}");
    let [program] = status.programs.as_slice() else {
        panic!("{status:?}")
    };
    assert_eq!(program.interface, "lan0");
    assert_eq!(program.mode.as_deref(), Some("native"));
    let shown = guarded.link("lan0");
    let tag = program.tag.as_deref().expect("a tag");
    assert!(shown.contains(tag), "{tag} in {shown}");

    let again = bench.apply_bundle(&programs(GUARD));
    assert_eq!(again.changes, Changes::default());
    assert_eq!(bench.status().programs, status.programs);

    let removed = bench.remove().expect("removed");
    assert_eq!(removed.programs, ["lan0 (xdp)"]);
    assert!(!guarded.link("lan0").contains("xdp"));
    for server in bench.server() {
        assert!(guarded.answers(server, 81));
    }
    assert!(bench.remove().expect("nothing to remove").is_empty());
}

#[test]
fn another_policy_moves_programs_and_keeps_counters() {
    if !possible() {
        return;
    }
    let guarded = Guarded::new(GUARD);
    let bench = &guarded.0;
    let (_open, _closed) = (bench.serve("open", 80), bench.serve("closed", 81));
    let [server, _] = bench.server();
    assert!(!guarded.answers(server, 81));
    let counted = bench.packets("port");
    assert!(counted > 0);

    // The rule `port` has another place among other rules.
    let both = "guard {
        deny tcp/82 as other count
        deny udp/81 as port count
        default allow
    }";
    let options = ApplyOptions {
        dry_run: true,
        ..bench.options()
    };
    let would = apply(&programs(both), &options, &mut |_| {}).expect("it could");
    assert_eq!(would.changes.attached.len(), 2, "{would:?}");
    assert!(!guarded.link("wan0").contains("xdp"), "nothing was changed");
    bench.apply_bundle(&programs(both));
    assert_eq!(bench.packets("port"), counted);
    assert_eq!(bench.packets("other"), 0);
    assert!(!guarded.answers(server, 81));
    assert!(bench.packets("port") > counted);
    assert!(guarded.link("wan0").contains("xdp"));
    assert!(!guarded.link("lo").contains("xdp"));

    let applied = bench.apply_bundle(&programs("guard on wan0 { deny udp/83  default allow }"));
    assert_eq!(applied.changes.detached, ["program guard_1 at lan0 (xdp)"]);
    assert!(!guarded.link("lan0").contains("xdp"));
    assert!(guarded.answers(server, 81));
    assert!(bench.status().in_step);
}

#[test]
fn an_interface_that_comes_later_is_missed() {
    if !possible() {
        return;
    }
    let guarded = Guarded::new("guard { deny udp/81  default allow }");
    let bench = &guarded.0;
    assert!(bench.status().in_step);
    let ip = |line: &str| {
        let arguments: Vec<&str> = line.split(' ').collect();
        bench.router().output("ip", &arguments).expect("done")
    };
    ip("link add late0 type veth peer name late1");
    let status = bench.status();
    assert!(!status.in_step);
    let missing = status.programs.iter().filter(|p| p.mode.is_none());
    assert_eq!(missing.count(), 2);
    bench.apply_bundle(&programs("guard { deny udp/81  default allow }"));
    assert!(bench.status().in_step);
    ip("link delete late0");
    bench.apply_bundle(&programs("guard { deny udp/82  default allow }"));
    assert!(bench.status().in_step, "{:?}", bench.status());
}

#[test]
fn packets_that_no_program_reads_are_not_guarded_in_silence() {
    if !possible() {
        return;
    }
    let guarded = Guarded::new(GUARD);
    let bench = &guarded.0;
    let ip = |line: &str| {
        let arguments: Vec<&str> = line.split(' ').collect();
        bench.router().output("ip", &arguments).expect("done")
    };
    let all = programs("guard { deny udp/81  default allow }");
    let mut manifest = all.manifest().clone();
    for program in &mut manifest.programs {
        program.bare = None;
    }
    let object = all.bytes("policy.o").expect("an object").to_vec();
    let all = Bundle::new(manifest, [("policy.o".to_owned(), object)].into()).expect("a bundle");
    ip("tuntap add mode tun name tun9");
    ip("link set tun9 up");
    let refused = bench.try_apply(&all).expect_err("it cannot be guarded");
    assert!(refused.to_string().contains("`tun9`"), "{refused}");
    assert!(bench.status().in_step, "nothing was changed");
    ip("link set tun9 down");
    bench.apply_bundle(&all);
    assert!(bench.status().in_step);
    ip("link set tun9 up");
    assert!(!bench.status().in_step, "what comes by it is not judged");
}

#[test]
fn where_frames_do_not_fit_a_page_the_driver_is_bypassed() {
    if !possible() {
        return;
    }
    let guarded = Guarded(Bench::bare(Topology::new().expect("a topology")).built_for("ebpf"));
    let bench = &guarded.0;
    for (namespace, interface) in [
        (bench.router(), "lan0"),
        (
            &bench.topology.client().namespace,
            &*bench.topology.client().interface,
        ),
    ] {
        let arguments = ["link", "set", "dev", interface, "mtu", "9000"];
        namespace.output("ip", &arguments).expect("a larger MTU");
    }
    bench.apply_bundle(&programs(GUARD));
    let _closed = bench.serve("closed", 81);
    let status = bench.status();
    assert_eq!(
        status.programs[0].mode.as_deref(),
        Some("generic"),
        "{status:?}"
    );
    for server in bench.server() {
        assert!(!guarded.answers(server, 81));
    }
}

#[test]
fn policies_of_two_targets_are_not_mixed() {
    if !possible() {
        return;
    }
    let guarded = Guarded::new(GUARD);
    let script = build(GUARD);
    let refused = guarded.0.try_apply(&script);
    assert!(
        matches!(&refused, Err(ApplyError::OtherTarget { other }) if other == "ebpf"),
        "{refused:?}"
    );
    assert!(guarded.0.status().in_step);
    guarded.0.remove().expect("removed");
    guarded.0.apply_bundle(&script);
    let refused = guarded.0.try_apply(&programs(GUARD));
    assert!(matches!(refused, Err(ApplyError::OtherTarget { .. })));
}

/// A later interface has somebody else's program: those before it get their old ones back.
#[test]
fn a_failure_in_the_middle_is_undone() {
    if !possible() {
        return;
    }
    let guarded = Guarded::new("guard on lan0 { deny udp/81 as port count  default allow }");
    let bench = &guarded.0;
    let _closed = bench.serve("closed", 81);
    let foreign = tempfile::NamedTempFile::new().expect("a file");
    let other = programs("guard on wan0 { deny udp/99  default allow }");
    let object = other.bytes("policy.o").expect("an object");
    std::fs::write(foreign.path(), object).expect("written");
    let path = foreign.path().to_str().expect("a path");
    let arguments = [
        "link", "set", "dev", "wan0", "xdp", "obj", path, "sec", "xdp",
    ];
    bench.router().output("ip", &arguments).expect("attached");

    let before = (bench.status(), guarded.link("wan0"));
    let refused = bench.try_apply(&programs(
        "guard { deny udp/82 as port count  default allow }",
    ));
    let Err(ApplyError::Undone { cause, undo }) = refused else {
        panic!("{refused:?}")
    };
    assert!(cause.to_string().contains("wan0"), "{cause}");
    assert!(matches!(undo, Undo::Restored { .. }), "{undo:?}");
    assert_eq!((bench.status(), guarded.link("wan0")), before);
    for server in bench.server() {
        assert!(!guarded.answers(server, 81));
    }
}

/// Two policies that both deny what the flood carries are put in force in turn while it goes on.
#[test]
fn nothing_leaks_while_programs_are_replaced() {
    if !possible() {
        return;
    }
    let policy = |n: u32| {
        programs(&format!(
            "guard on lan0 {{ deny from 192.0.2.{n}  deny udp/7777 as flood count  default allow }}"
        ))
    };
    let bundles = [policy(1), policy(2)];
    let guarded = Guarded(Bench::bare(Topology::new().expect("a topology")).built_for("ebpf"));
    let bench = &guarded.0;
    bench.apply_bundle(&bundles[0]);
    let sent = while_flooded(bench, Duration::from_secs(60), || {
        for round in 0..30 {
            bench.apply_bundle(&bundles[(round + 1) % 2]);
        }
    });
    assert!(sent > 1_000, "the flood was one: {sent}");
    let counted = bench.packets("flood");
    println!("{sent} denied packets during 30 applies, {counted} counted, 0 leaked");
    assert!(counted > sent / 2, "{counted} of {sent} were counted");
}

/// As on kernels without tcx links.
#[test]
fn filters_at_clsact_judge_as_links_do() {
    if !possible() {
        return;
    }
    let bench = Bench::bare(Topology::new().expect("a topology")).built_for("ebpf");
    let _server = EchoServer::start(bench.router(), "router", 80).expect("a server");
    let policy = programs(
        "guard { match udp/80 mark 0x1  default allow }
        to host {
            allow udp/80 when meta.mark == 0x1
            reject tcp
            default deny
        }",
    );
    let options = ApplyOptions {
        clsact: true,
        ..bench.options()
    };
    apply(&policy, &options, &mut |_| {}).expect("it applies");
    let status = bench.status();
    assert!(status.in_step, "{status:?}");
    let mut modes = status.programs.iter().map(|p| p.mode.as_deref());
    assert!(modes.all(|mode| mode == Some("clsact")), "{status:?}");
    let zone = bench.topology.client();
    for host in [zone.router_v4, zone.router_v6] {
        assert!(bench.client().udp(host, 80).is_connected());
        assert_eq!(bench.client().tcp(host, 80), Outcome::Refused);
    }
    bench.remove().expect("removed");
    assert!(bench.client().tcp(zone.router_v4, 80).is_connected());
}
