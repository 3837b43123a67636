//! A small object that has some of everything.

use polc_bpf::asm::{Assembler, Isa, Program, SourceLine};
use polc_bpf::insn::Cond::{Eq, Gt, Ne};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R5, R6, R7, R10};
use polc_bpf::insn::Width::{DW, H, W};
use polc_bpf::insn::{AtomicOp, Bits, FunctionId, Helper, SwapBits};
use polc_bpf::map::{Map, MapFlags, MapType, Shape};
use polc_bpf::object::{Object, Section};

/// The policy that the sample claims to come from.
pub(crate) const POLICY: [&str; 5] = [
    "policy edge {",
    "  deny from @blocked",
    "  deny from @learned",
    "  deny from 192.0.2.3",
    "}",
];

/// What the inner maps are like: those of the sample, and those that tests put in.
pub(crate) const INNER_ENTRIES: u32 = 64;

/// `XDP_DROP` and `XDP_PASS`.
pub(crate) const DROP: u32 = 1;
pub(crate) const PASS: u32 = 2;

/// A line of [`POLICY`], from 1.
fn line(number: u32) -> SourceLine {
    SourceLine {
        file: "policies/edge.pol".into(),
        line: number,
        column: 3,
        text: POLICY[number as usize - 1].into(),
    }
}

/// The object.
pub(crate) fn object() -> Object {
    let mut object = Object::new();
    let no_prealloc = MapFlags::NO_PREALLOC;
    let inner = Shape::new(MapType::Hash, 4, 4, INNER_ENTRIES).with_flags(no_prealloc);
    object.map(Map::new("blocked", Shape::new(MapType::Hash, 4, 4, 1024)));
    object.map(Map::new("learned", Shape::new(MapType::ArrayOfMaps, 4, 4, 2)).of(inner));
    object.map(Map::new("dropped", Shape::new(MapType::Array, 4, 8, 1)));
    object.data("padding", vec![7; 3]);
    object.data("fixed", vec![0, 0, 0, 0, 192, 0, 2, 3]);
    object.program(Section::Xdp, xdp());
    object.program(Section::Classifier, classifier());
    object.program(Section::Classifier, looping());
    object.program(Section::Connect4, allow_all("edge_connect4"));
    object.program(Section::SkLookup, allow_all("edge_sk_lookup"));
    object.map(Map::new("of_sockets", Shape::of_sockets(8)));
    object.program(Section::SockCreate, remembering());
    object.program(Section::GetSockOpt, allow_all("edge_option"));
    object
}

/// The function that counts a drop.
fn count(asm: &mut Assembler) -> FunctionId {
    let count = asm.function("count");
    asm.begin(count);
    asm.at(&line(5));
    let out = asm.label("out");
    asm.store(W, R10, -4, 0);
    asm.load_map(R1, "dropped");
    asm.mov(R2, R10);
    asm.add(R2, -4);
    asm.call(Helper::MapLookupElem);
    asm.jump_if(Eq, R0, 0, out);
    asm.mov(R1, 1);
    asm.atomic(AtomicOp::Add, Bits::B64, R0, 0, R1);
    asm.bind(out);
    asm.mov(R0, 0);
    asm.exit();
    count
}

/// Drops IPv4 from what is blocked, learned or fixed.
pub(crate) fn xdp() -> Program {
    let mut asm = Assembler::new("edge_xdp");
    let (drop, pass) = (asm.label("drop"), asm.label("pass"));
    asm.part("parse");
    asm.load(W, R2, R1, 0);
    asm.load(W, R3, R1, 4);
    asm.mov(R4, R2);
    asm.add(R4, 34);
    asm.jump_if(Gt, R4, R3, pass);
    asm.load(H, R5, R2, 12);
    asm.to_be(SwapBits::B16, R5);
    asm.jump_if(Ne, R5, 0x0800, pass);
    asm.load(W, R6, R2, 26);
    asm.store(W, R10, -4, R6);

    asm.part("classify");
    asm.at(&line(2));
    asm.load_map(R1, "blocked");
    asm.mov(R2, R10);
    asm.add(R2, -4);
    asm.call(Helper::MapLookupElem);
    asm.jump_if(Ne, R0, 0, drop);
    asm.at(&line(3));
    let not_learned = asm.label("not_learned");
    asm.store(W, R10, -8, 0);
    asm.load_map(R1, "learned");
    asm.mov(R2, R10);
    asm.add(R2, -8);
    asm.call(Helper::MapLookupElem);
    asm.jump_if(Eq, R0, 0, not_learned);
    asm.mov(R1, R0);
    asm.mov(R2, R10);
    asm.add(R2, -4);
    asm.call(Helper::MapLookupElem);
    asm.jump_if(Ne, R0, 0, drop);
    asm.bind(not_learned);
    asm.at(&line(4));
    asm.load_data(R7, "fixed", 4);
    asm.load(W, R7, R7, 0);
    asm.jump32_if(Eq, R6, R7, drop);

    asm.part("act");
    asm.bind(pass);
    asm.mov(R0, 2);
    asm.exit();
    asm.bind(drop);
    asm.note("every drop counts");
    let count = count(&mut asm);
    asm.begin(FunctionId::ENTRY);
    asm.call_function(count);
    asm.mov(R0, 1);
    asm.exit();
    asm.finish(Isa::V4).unwrap()
}

/// Counts everything and lets others decide.
fn classifier() -> Program {
    let mut asm = Assembler::new("edge_tc");
    let count = count(&mut asm);
    asm.begin(FunctionId::ENTRY);
    asm.at(&line(1));
    asm.call_function(count);
    asm.mov(R0, -1);
    asm.exit();
    asm.finish(Isa::V4).unwrap()
}

/// Answers the sum of 0 to 4, which it computes in a function that the kernel calls back.
fn looping() -> Program {
    let mut asm = Assembler::new("edge_loop");
    let add = asm.function("add");
    asm.begin(add);
    asm.load(W, R3, R2, 0);
    asm.add(R3, R1);
    asm.store(W, R2, 0, R3);
    asm.mov(R0, 0);
    asm.exit();
    asm.begin(FunctionId::ENTRY);
    asm.store(W, R10, -4, 0);
    asm.mov(R1, 5);
    asm.load_function(R2, add);
    asm.mov(R3, R10);
    asm.add(R3, -4);
    asm.mov(R4, 0);
    asm.call(Helper::Loop);
    asm.load(W, R0, R10, -4);
    asm.exit();
    asm.finish(Isa::V4).unwrap()
}

/// Remembers the group of whoever makes a socket.
fn remembering() -> Program {
    let mut asm = Assembler::new("edge_sock");
    asm.mov(R6, R1);
    asm.call(Helper::GetCurrentUidGid);
    asm.store(DW, R10, -8, R0);
    asm.load_map(R1, "of_sockets");
    asm.mov(R2, R6);
    asm.mov(R3, R10);
    asm.add(R3, -8);
    asm.mov(R4, 1);
    asm.call(Helper::SkStorageGet);
    asm.mov(R0, 1);
    asm.exit();
    asm.finish(Isa::V4).unwrap()
}

fn allow_all(name: &str) -> Program {
    let mut asm = Assembler::new(name);
    asm.mov(R0, 1);
    asm.exit();
    asm.finish(Isa::V4).unwrap()
}
