//! What rules have logged.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};

use polc_bpf::asm::{Assembler, Isa};
use polc_bpf::insn::Helper;
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4};
use polc_bpf::map::{Map, MapType, Shape};
use polc_bpf::object::{Object, Section};
use polc_bundle::{
    Bundle, Manifest, ProgramEntry, ProgramHook, ProgramStage, RoutingPlan, RuleEntry, SCHEMA,
};
use polc_runtime_loader::lab::{Namespace, Wire, running_as_root};

use crate::ebpf::AtEnd;
use crate::harness::Place;

/// One second after the machine started, rule 7 has denied a TCP packet from `[2001:db8::1]:4000` to
/// `[2001:db8::2]:22` that came in by interface 1, of 74 bytes.
fn entry() -> Vec<u8> {
    let mut bytes = 1_000_000_000_u64.to_ne_bytes().to_vec();
    for number in [7_u32, 1, 74] {
        bytes.extend(number.to_ne_bytes());
    }
    bytes.extend([1, 6, 6, 2]);
    for last in [1, 2] {
        bytes.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    for port in [4000_u16, 22] {
        bytes.extend(port.to_ne_bytes());
    }
    bytes.extend([0; 4]);
    bytes
}

/// A bundle whose program writes that entry for each packet that leaves by `wan0`.
fn bundle() -> Bundle {
    let mut asm = Assembler::new("filter");
    asm.load_map(R1, "log");
    asm.load_data(R2, "entry", 0);
    asm.mov(R3, 64);
    asm.mov(R4, 0);
    asm.call(Helper::RingbufOutput);
    asm.mov(R0, -1);
    asm.exit();
    let mut object = Object::new();
    object.map(Map::new("log", Shape::ring(4096)));
    object.map(Map::new(
        "log_lost",
        Shape::new(MapType::PercpuArray, 4, 8, 1),
    ));
    object.data("entry", entry());
    let program = asm.finish(Isa::V4).expect("a program");
    object.program(Section::Classifier, program);
    let rule = RuleEntry {
        name: "ssh".to_owned(),
        stage: "filter".to_owned(),
        verdict: "deny".to_owned(),
        source: "edge.pol:3".to_owned(),
        comment: "ssh".to_owned(),
        counter: None,
        log_prefix: Some("no entry".to_owned()),
        log_id: Some(7),
    };
    let program = ProgramEntry {
        bare: None,
        name: Some("filter".to_owned()),
        hook: ProgramHook::Egress,
        stage: ProgramStage::Filter,
        pattern: "wan0".to_owned(),
    };
    let manifest = Manifest {
        schema: SCHEMA,
        policy: "edge".to_owned(),
        target: "ebpf".to_owned(),
        generation: String::new(),
        as_of: "2026-11-21".to_owned(),
        kernel_floor: "6.6".to_owned(),
        features: Vec::new(),
        governs: Vec::new(),
        rules: vec![rule],
        objects: Vec::new(),
        sets: Vec::new(),
        programs: vec![program],
        state: vec!["log".to_owned(), "log_lost".to_owned()],
        classes: Vec::new(),
        chains: Vec::new(),
        jumps: Vec::new(),
        unresolved: Vec::new(),
        routing: RoutingPlan::default(),
        sysctls: Vec::new(),
        files: Vec::new(),
    };
    let object = object.write().expect("an object");
    Bundle::new(manifest, BTreeMap::from([("policy.o".to_owned(), object)])).expect("a bundle")
}

#[test]
fn entries_are_shown_for_people_and_programs() {
    if !running_as_root() {
        assert!(std::env::var_os("CI").is_none(), "kernel tests need root");
        eprintln!("SKIPPED: kernel tests need root");
        return;
    }
    let place = Place::new(&[]);
    let namespace = Namespace::new().expect("a namespace");
    for which in ["all", "default"] {
        let key = format!("net/ipv6/conf/{which}/disable_ipv6");
        namespace.sysctl(&key, "1").expect("a setting");
    }
    let ip = |line: &str| {
        let arguments: Vec<&str> = line.split(' ').collect();
        namespace.output("ip", &arguments).expect("done")
    };
    ip("link add wan0 type veth peer name far0");
    for end in ["wan0", "far0"] {
        ip(&format!("link set {end} up"));
    }
    let _applied = AtEnd(&place, namespace.name());
    let polc = |arguments: &[&str]| {
        let at = ["--netns", namespace.name(), "--state-dir", "state"];
        place.polc(&[arguments, &at].concat())
    };
    let none = polc(&["log"]);
    assert_eq!(
        (none.code, none.err.as_str()),
        (4, "polc: no policy is in force here\n")
    );

    bundle().write(&place.path().join("out")).expect("written");
    assert_eq!(polc(&["apply", "out"]).code, 0);
    let wire = Wire::open(&namespace, "wan0").expect("a wire");
    let send = |frames| {
        for _ in 0..frames {
            wire.send(&[0xff; 60]).expect("sent");
        }
    };
    send(1);
    let shown = polc(&["log"]);
    assert_eq!((shown.code, shown.err.as_str()), (0, ""), "{shown:?}");
    let (time, rest) = shown.out.split_once("Z ").expect("a time");
    assert_eq!(time.len(), "2026-11-21T12:00:00.000000".len(), "{time}");
    let expected =
        "ssh: \"no entry\" deny in lo tcp [2001:db8::1]:4000 -> [2001:db8::2]:22 74 bytes\n";
    assert_eq!(rest, expected);
    assert_eq!(polc(&["log"]).out, "", "an entry is shown once");

    send(1);
    let shown = polc(&["log", "--format", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown.out).expect("JSON");
    for (key, value) in [
        ("rule", "ssh"),
        ("hook", "ingress"),
        ("destination", "2001:db8::2"),
    ] {
        assert_eq!(shown[key], value);
    }
    assert_eq!(shown["destination_port"], 22);

    let at = ["--netns", namespace.name(), "--state-dir", "state"];
    let mut child = place.start(&[&["log", "-f"], &at[..]].concat());
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    for _ in 0..2 {
        send(1);
        let line = lines.next().expect("a line").expect("text");
        assert!(line.contains(" ssh: "), "{line}");
    }
    child.kill().expect("it goes on until it is told");
    child.wait().expect("it has ended");
}

#[test]
fn entries_of_nftables_are_elsewhere() {
    if !running_as_root() {
        assert!(std::env::var_os("CI").is_none(), "kernel tests need root");
        eprintln!("SKIPPED: kernel tests need root");
        return;
    }
    let policy = "policy edge
to host { deny tcp/22 as ssh log \"no entry\"  default allow }
default allow
";
    let place = Place::new(&[("edge.pol", policy), ("polc.yaml", "log_group: 9\n")]);
    let namespace = Namespace::new().expect("a namespace");
    let _applied = AtEnd(&place, namespace.name());
    let polc = |arguments: &[&str]| {
        let at = ["--netns", namespace.name(), "--state-dir", "state"];
        place.polc(&[arguments, &at].concat())
    };
    let applied = polc(&["apply", "edge.pol"]);
    assert_eq!(applied.code, 0, "{applied:?}");
    let shown = polc(&["log"]);
    assert_eq!(shown.code, 4, "{shown:?}");
    for expected in [
        "`edge` logs to the netlink group 9",
        "tcpdump -n -i nflog:9",
    ] {
        assert!(shown.err.contains(expected), "{expected}: {shown:?}");
    }
}
