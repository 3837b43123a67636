//! Bundles of programs, written by hand.

#![expect(
    clippy::unwrap_used,
    reason = "test support: what fails here is a broken test"
)]

use std::collections::BTreeMap;

use polc_bpf::asm::{Assembler, Isa, Program, SourceLine};
use polc_bpf::insn::Cond::{Eq, Lt};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R6, R7, R9, R10};
use polc_bpf::insn::Width::{B, DW, H, W};
use polc_bpf::insn::{AluOp, AtomicOp, Bits, Helper};
use polc_bpf::map::{Map, MapType, Shape};
use polc_bpf::object::{Object, Section};
use polc_bundle::{
    Bundle, ClassEntry, Hook, ProgramEntry, ProgramHook, ProgramStage, RoutingPlan, RuleEntry,
    Sysctl,
};

use crate::support::manifest;

/// What a filter program returns to let the packet go on.
const NEXT: i32 = -1;

/// What it returns to drop the packet.
const DROP: i32 = 2;

/// The number of the rule `logged` in entries of the ring.
pub(crate) const LOG_ID: u32 = 7;

/// A bundle of programs in the making. Its programs `count_in` and `count_out` count packets in the
/// entries 0 and 1 of the map `seen`, which is kept. Each of its [`TRAIL`] writes a digit behind what is in
/// the map `trail`.
pub(crate) struct Filter {
    pub(crate) programs: Vec<ProgramEntry>,
    pub(crate) state: Vec<String>,
    pub(crate) classes: Vec<ClassEntry>,
    /// The entries of `seen`.
    pub(crate) entries: u32,
    /// As how many each packet counts.
    pub(crate) step: i32,
    pub(crate) routing: RoutingPlan,
    pub(crate) sysctls: Vec<Sysctl>,
}

/// The programs that write 1, 2, 3 and 4.
pub(crate) const TRAIL: [&str; 4] = ["one", "two", "three", "four"];

impl Filter {
    /// Both programs at the interfaces of a pattern.
    pub(crate) fn at(pattern: &str) -> Self {
        Self {
            programs: vec![
                program("count_in", ProgramHook::Ingress, pattern),
                program("count_out", ProgramHook::Egress, pattern),
            ],
            state: vec!["seen".to_owned()],
            classes: Vec::new(),
            entries: 2,
            step: 1,
            routing: RoutingPlan::default(),
            sysctls: Vec::new(),
        }
    }

    /// The bundle.
    pub(crate) fn bundle(&self) -> Bundle {
        let mut object = Object::new();
        let seen = Shape::new(MapType::Array, 4, 8, self.entries);
        object.map(Map::new("seen", seen));
        object.map(Map::new("other", seen));
        object.map(Map::new("trail", Shape::new(MapType::Array, 4, 8, 1)));
        object.map(Map::new("addresses", Shape::new(MapType::Hash, 4, 32, 64)));
        object.map(Map::new("ifaces", Shape::new(MapType::Hash, 4, 4, 64)));
        object.map(Map::new("log", Shape::ring(4096)));
        object.map(Map::new(
            "log_lost",
            Shape::new(MapType::PercpuArray, 4, 8, 1),
        ));
        object.program(Section::Classifier, count("count_in", 0, self.step));
        object.program(Section::Classifier, count("count_out", 1, self.step));
        for (name, digit) in TRAIL.into_iter().zip(1..) {
            object.program(Section::Classifier, trail(name, digit));
        }
        object.program(Section::Classifier, log());
        object.program(Section::Classifier, wrong());
        object.program(Section::Classifier, drop_all());
        object.program(Section::Classifier, slow());
        object.program(Section::Xdp, pass());
        let mut manifest = manifest("ebpf");
        manifest.governs = vec![Hook::Input];
        manifest.rules = vec![RuleEntry {
            name: "logged".to_owned(),
            stage: "filter".to_owned(),
            verdict: "deny".to_owned(),
            source: "p.pol:3".to_owned(),
            comment: "logged".to_owned(),
            counter: None,
            log_prefix: Some("seen it".to_owned()),
            log_id: Some(LOG_ID),
        }];
        manifest.programs.clone_from(&self.programs);
        manifest.state.clone_from(&self.state);
        manifest.classes.clone_from(&self.classes);
        manifest.routing.clone_from(&self.routing);
        manifest.sysctls.clone_from(&self.sysctls);
        let files = BTreeMap::from([("policy.o".to_owned(), object.write().unwrap())]);
        Bundle::new(manifest, files).unwrap()
    }
}

/// An entry of a manifest.
pub(crate) fn program(name: &str, hook: ProgramHook, pattern: &str) -> ProgramEntry {
    ProgramEntry {
        stage: match hook {
            ProgramHook::Xdp => ProgramStage::Guard,
            _ => ProgramStage::Filter,
        },
        bare: None,
        name: Some(name.to_owned()),
        hook,
        pattern: pattern.to_owned(),
    }
}

/// Counts in an entry of `seen`.
fn count(name: &str, entry: i32, step: i32) -> Program {
    let mut asm = Assembler::new(name);
    let out = asm.label("out");
    asm.store(W, R10, -4, entry);
    asm.load_map(R1, "seen");
    asm.mov(R2, R10);
    asm.add(R2, -4);
    asm.call(Helper::MapLookupElem);
    asm.jump_if(Eq, R0, 0, out);
    asm.mov(R1, step);
    asm.atomic(AtomicOp::Add, Bits::B64, R0, 0, R1);
    asm.bind(out);
    asm.mov(R0, NEXT);
    asm.exit();
    asm.finish(Isa::V4).unwrap()
}

/// Writes a digit behind the number in `trail`.
fn trail(name: &str, digit: i32) -> Program {
    let mut asm = Assembler::new(name);
    let out = asm.label("out");
    asm.store(W, R10, -4, 0);
    asm.load_map(R1, "trail");
    asm.mov(R2, R10);
    asm.add(R2, -4);
    asm.call(Helper::MapLookupElem);
    asm.jump_if(Eq, R0, 0, out);
    asm.load(DW, R1, R0, 0);
    asm.alu(AluOp::Mul, R1, 10);
    asm.add(R1, digit);
    asm.store(DW, R0, 0, R1);
    asm.bind(out);
    asm.mov(R0, NEXT);
    asm.exit();
    asm.finish(Isa::V4).unwrap()
}

/// Writes an entry about a denied UDP datagram from 192.0.2.1:4000 to 192.0.2.2:53 for each packet;
/// counts those that do not fit the ring.
fn log() -> Program {
    let mut asm = Assembler::new("log_out");
    let (lost, out) = (asm.label("lost"), asm.label("out"));
    asm.mov(R6, R1);
    asm.load_map(R1, "log");
    asm.mov(R2, 64);
    asm.mov(R3, 0);
    asm.call(Helper::RingbufReserve);
    asm.jump_if(Eq, R0, 0, lost);
    asm.mov(R7, R0);
    asm.call(Helper::KtimeGetNs);
    asm.store(DW, R7, 0, R0);
    asm.store(W, R7, 8, LOG_ID.cast_signed());
    asm.load(W, R4, R6, 40);
    asm.store(W, R7, 12, R4);
    asm.load(W, R4, R6, 0);
    asm.store(W, R7, 16, R4);
    for (at, byte) in [(20, 2), (21, 4), (22, 17), (23, 2)] {
        asm.store(B, R7, at, byte);
    }
    for at in (24..64).step_by(8) {
        asm.store(DW, R7, at, 0);
    }
    for (at, last) in [(24, 1), (40, 2)] {
        for (byte, value) in (0..).zip([192, 0, 2, last]) {
            asm.store(B, R7, at + byte, value);
        }
    }
    asm.store(H, R7, 56, 4000);
    asm.store(H, R7, 58, 53);
    asm.mov(R1, R7);
    asm.mov(R2, 0);
    asm.call(Helper::RingbufSubmit);
    asm.jump(out);
    asm.bind(lost);
    asm.store(W, R10, -4, 0);
    asm.load_map(R1, "log_lost");
    asm.mov(R2, R10);
    asm.add(R2, -4);
    asm.call(Helper::MapLookupElem);
    asm.jump_if(Eq, R0, 0, out);
    asm.load(DW, R1, R0, 0);
    asm.add(R1, 1);
    asm.store(DW, R0, 0, R1);
    asm.bind(out);
    asm.mov(R0, NEXT);
    asm.exit();
    asm.finish(Isa::V4).unwrap()
}

/// A program that the verifier refuses.
fn wrong() -> Program {
    let mut asm = Assembler::new("wrong");
    asm.at(&SourceLine {
        file: "p.pol".into(),
        line: 3,
        column: 1,
        text: "deny from 192.0.2.1".into(),
    });
    asm.mov(R0, R9);
    asm.exit();
    asm.finish(Isa::V4).unwrap()
}

/// Drops every packet.
fn drop_all() -> Program {
    let mut asm = Assembler::new("drop_all");
    asm.mov(R0, DROP);
    asm.exit();
    asm.finish(Isa::V4).unwrap()
}

/// A program that the verifier takes long for: it follows every turn of a loop.
fn slow() -> Program {
    let mut asm = Assembler::new("slow");
    let again = asm.label("again");
    asm.mov(R1, 0);
    asm.bind(again);
    asm.add(R1, 1);
    asm.jump_if(Lt, R1, 100_000, again);
    asm.mov(R0, NEXT);
    asm.exit();
    asm.finish(Isa::V4).unwrap()
}

/// A guard that lets everything pass.
fn pass() -> Program {
    let mut asm = Assembler::new("guard");
    asm.mov(R0, 2);
    asm.exit();
    asm.finish(Isa::V4).unwrap()
}
