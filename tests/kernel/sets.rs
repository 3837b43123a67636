//! Large sets in programs: other contents need no other program.

use std::fmt::Write as _;
use std::time::Duration;

use polc_runtime_loader::lab::Topology;
use polc_runtime_loader::{ApplyError, Changes, Undo};

use crate::flood::while_flooded;
use crate::harness::{Bench, build_for, possible};

/// 5,000 hosts of each family, none next to another, and some more.
fn set(name: &str, more: &[&str]) -> String {
    let mut text = format!("set {name} = {{ ");
    for number in 0..5_000u32 {
        let [high, low] = [number / 128, number % 128 * 2];
        let _ = write!(
            text,
            "10.200.{high}.{low}, 2001:db8:bad:{high:x}::{low:x}, "
        );
    }
    text + &more.join(", ") + " }\n"
}

fn ids(bench: &Bench) -> Vec<Option<u32>> {
    bench.status().programs.iter().map(|p| p.id).collect()
}

#[test]
fn a_set_gets_other_contents_while_the_programs_stay() {
    if !possible() {
        return;
    }
    let rules = "from lan to wan { deny from @bad  allow udp/80  default deny }
                 guard { deny udp/81 from not @good  default allow }
                 default deny";
    let client = Topology::new().expect("a topology");
    let [v4, v6] = client
        .client()
        .addresses()
        .map(|address| address.to_string());
    let bench = Bench::bare(client).built_for("ebpf");
    let policy = |bad: &[&str], good: &[&str]| {
        format!(
            "{}{}{rules}",
            set("bad", bad),
            set("good", &[&["192.0.2.1", "2001:db8::1"], good].concat())
        )
    };
    let own = [v4.as_str(), v6.as_str()];
    bench.apply(&policy(&[], &[]));
    let (_open, _guarded) = (bench.serve("open", 80), bench.serve("guarded", 81));
    let reaches = || {
        bench
            .server()
            .map(|to| bench.client().udp(to, 80).is_connected())
    };
    let before = ids(&bench);
    assert_eq!(reaches(), [true, true]);
    for (bad, expected) in [
        (&own[..1], [false, true]),
        (&own[1..], [true, false]),
        (&own[..], [false, false]),
        (&[], [true, true]),
    ] {
        let applied = bench.apply(&policy(bad, &[]));
        assert!(applied.changes.attached.is_empty(), "{applied:?}");
        let refilled = applied.changes.refilled;
        assert!(
            refilled.iter().all(|set| set.starts_with("set bad: 500")),
            "{refilled:?}"
        );
        assert!((1..=2).contains(&refilled.len()), "{refilled:?}");
        assert_eq!(reaches(), expected);
        assert_eq!(ids(&bench), before);
        assert!(bench.status().in_step);
    }
    let again = bench.apply(&policy(&[], &[]));
    assert_eq!(again.changes, Changes::default());
}

#[test]
fn a_set_that_outgrows_its_table_gets_another_program() {
    if !possible() {
        return;
    }
    let rules = "from lan to wan { deny from @bad  allow udp/80  default deny }\ndefault deny";
    let bench = Bench::on("ebpf", &format!("{}{rules}", set("bad", &[])));
    let _open = bench.serve("open", 80);
    let [server, _] = bench.server();
    assert!(bench.client().udp(server, 80).is_connected());
    let own = bench.topology.client().addresses()[0];
    // Networks with unlike hosts: equal ones share a block of the table.
    let many: Vec<String> = (0..10_000u32)
        .flat_map(|n| {
            let net = format!("11.{}.{}", n >> 8, n & 255);
            [n & 127, 128 + (n >> 7 & 127)].map(|host| format!("{net}.{host}"))
        })
        .chain([own.to_string()])
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let applied = bench.apply(&format!("{}{rules}", set("bad", &many)));
    assert!(!applied.changes.attached.is_empty(), "{applied:?}");
    assert!(!bench.client().udp(server, 80).is_connected());
}

#[test]
fn nothing_leaks_while_sets_are_replaced() {
    if !possible() {
        return;
    }
    let topology = Topology::new().expect("a topology");
    let own = topology
        .client()
        .addresses()
        .map(|address| address.to_string());
    let bench = Bench::bare(topology).built_for("ebpf");
    let bundles = [0, 1].map(|n| {
        let more = [
            own[0].as_str(),
            own[1].as_str(),
            ["192.0.2.1", "192.0.2.3"][n],
        ];
        let rules = "guard { deny udp/7777 from @bad  default allow }";
        build_for("ebpf", &format!("{}{rules}", set("bad", &more)))
    });
    bench.apply_bundle(&bundles[0]);
    let sent = while_flooded(&bench, Duration::from_secs(60), || {
        for round in 1..=30 {
            let applied = bench.apply_bundle(&bundles[round % 2]);
            assert_eq!(applied.changes.refilled.len(), 1, "{applied:?}");
        }
    });
    println!("{sent} denied packets during 30 replacements, 0 leaked");
    assert!(sent > 1_000, "the flood was one: {sent}");
}

/// An interface that has come since has somebody else's program: the set gets its old contents back.
#[test]
fn a_failure_behind_a_replacement_is_undone() {
    if !possible() {
        return;
    }
    let policy = |more: &[&str]| {
        let rules = "guard { deny udp/81 from @bad  default allow }";
        build_for("ebpf", &format!("{}{rules}", set("bad", more)))
    };
    let bench = Bench::bare(Topology::new().expect("a topology")).built_for("ebpf");
    bench.apply_bundle(&policy(&[]));
    let _server = bench.serve("server", 81);
    let [server, _] = bench.server();
    let before = bench.status();

    let foreign = tempfile::NamedTempFile::new().expect("a file");
    let other = build_for("ebpf", "guard on wan9 { deny udp/99  default allow }");
    std::fs::write(foreign.path(), other.bytes("policy.o").unwrap()).expect("written");
    let path = foreign.path().to_str().expect("a path");
    let ip = |arguments: &[&str]| bench.router().output("ip", arguments).expect("it works");
    ip(&[
        "link", "add", "wan9", "type", "veth", "peer", "name", "wan8",
    ]);
    ip(&[
        "link", "set", "dev", "wan9", "xdp", "obj", path, "sec", "xdp",
    ]);
    let own = bench.topology.client().addresses()[0].to_string();
    let refused = bench.try_apply(&policy(&[&own]));
    let Err(ApplyError::Undone { undo, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(matches!(undo, Undo::Restored { .. }), "{undo:?}");
    assert_eq!(bench.status().generation, before.generation);
    assert!(bench.client().udp(server, 81).is_connected());

    ip(&["link", "del", "wan9"]);
    let applied = bench.apply_bundle(&policy(&[&own]));
    assert_eq!(applied.changes.refilled.len(), 1, "{applied:?}");
    assert!(!bench.client().udp(server, 81).is_connected());
}
