//! bpftool and iproute2 read objects, and quote the policy.

use polc_bpf::asm::{Assembler, Isa};
use polc_bpf::insn::Reg::R0;
use polc_bpf::object::{Object, Section};

use crate::sample::{self, POLICY};
use crate::support::{BpfFs, Netns, ObjectFile, possible, run};

#[test]
fn bpftool_quotes_the_policy() {
    if !possible() {
        return;
    }
    let fs = BpfFs::new();
    let file = ObjectFile::new(&sample::object().write().unwrap());
    let (programs, maps) = (fs.at("programs"), fs.at("maps"));
    run(
        "bpftool",
        &["prog", "loadall", &file.path(), &programs, "pinmaps", &maps],
    );
    let dump = |name: &str| {
        let pinned = format!("{programs}/{name}");
        run(
            "bpftool",
            &["prog", "dump", "xlated", "pinned", &pinned, "linum"],
        )
    };
    let xdp = dump("edge_xdp");
    for number in 2..=5 {
        let text = POLICY[number - 1].trim();
        let place = format!("[file:policies/edge.pol line_num:{number} line_col:3]");
        let quoted = |line: &str| line.starts_with(';') && line.contains(text);
        assert!(
            xdp.lines()
                .any(|line| quoted(line) && line.contains(&place)),
            "line {number} in:\n{xdp}"
        );
    }
    // Before the first mark there is only the name of the function.
    assert!(xdp.contains("; edge_xdp "), "{xdp}");
    assert!(xdp.contains("int edge_xdp(void * ctx):"), "{xdp}");
    assert!(xdp.contains("int edge_xdp_count("), "{xdp}");
    assert!(dump("edge_tc").contains("policy edge {"));

    for map in ["blocked", "learned", "dropped", "of_sockets"] {
        let pinned = fs.at(&format!("maps/{map}"));
        let shown = run("bpftool", &["map", "show", "pinned", &pinned]);
        assert!(shown.contains(&format!("name {map}")), "{shown}");
    }
}

#[test]
fn the_verifier_quotes_the_policy() {
    if !possible() {
        return;
    }
    // R0 is not set where the program returns it.
    let mut asm = Assembler::new("wrong");
    asm.at(&polc_bpf::asm::SourceLine {
        file: "wrong.pol".into(),
        line: 7,
        column: 1,
        text: "deny what cannot be".into(),
    });
    asm.exit();
    let mut object = Object::new();
    object.program(Section::Xdp, asm.finish(Isa::V4).unwrap());
    let mut loaded = aya::Ebpf::load(&object.write().unwrap()).unwrap();
    let program = loaded.program_mut("wrong").unwrap();
    let program: &mut aya::programs::Xdp = program.try_into().unwrap();
    let refusal = format!("{:?}", program.load().unwrap_err());
    assert!(refusal.contains("deny what cannot be"), "{refusal}");
    assert!(refusal.contains("wrong.pol:7"), "{refusal}");
}

#[test]
fn iproute2_attaches_programs() {
    if !possible() {
        return;
    }
    let netns = Netns::new();
    let file = ObjectFile::new(&sample::object().write().unwrap());
    let path = file.path();
    netns.ip(&format!("link set dev left xdp obj {path} sec xdp"));
    let shown = netns.ip("link show dev left");
    assert!(shown.contains("prog/xdp"), "{shown}");
    netns.tc("qdisc add dev right clsact");
    netns.tc(&format!(
        "filter add dev right ingress bpf direct-action obj {path} sec classifier"
    ));
    let shown = netns.tc("filter show dev right ingress");
    assert!(shown.contains("direct-action"), "{shown}");
}

#[test]
fn the_same_object_gives_the_same_bytes() {
    let first = sample::object().write().unwrap();
    assert_eq!(first, sample::object().write().unwrap());
    let mut asm = Assembler::new("other");
    asm.mov(R0, 1);
    asm.exit();
    let mut other = sample::object();
    other.program(Section::Xdp, asm.finish(Isa::V4).unwrap());
    assert_ne!(first, other.write().unwrap());
}
