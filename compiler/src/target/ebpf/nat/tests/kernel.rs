//! Programs that read a packet, give it another end, and hand it on; the kernel runs them.

use aya::maps::Array;
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use polc_bpf::asm::{Assembler, Isa, Label, Program};
use polc_bpf::insn::Cond::{Eq, Ge, Ne};
use polc_bpf::insn::Helper;
use polc_bpf::insn::Reg::{R0, R1, R2, R10};
use polc_bpf::insn::Width::{DW, W};
use polc_bpf::map::{Map, MapType, Shape};
use polc_bpf::object::{Object, Section};

use super::super::super::filter::quote;
use super::super::super::filter::stack::Stack;
use super::super::super::hook::Hook;
use super::super::super::link::Link;
use super::super::super::parse::{self, Exits, Tags};
use super::super::super::record::{Item, Record};
use super::super::{End, Rewrite};
use crate::field::{ICMP, ICMP_TYPE};

/// Where programs read the new ends.
const ENDS: &str = "ends";

const HOOK: Hook = Hook::Ingress;

/// Whether kernel tests can run. Missing root is an error in CI.
pub(super) fn possible() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "kernel tests need root");
    eprintln!("SKIPPED: kernel tests need root");
    false
}

/// What a program does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Packet(End),
    /// What an error quotes, then the other end of the error itself.
    Quoted(End),
    /// Both ends, one behind the other.
    Both,
}

const MODES: [Mode; 5] = [
    Mode::Packet(End::Source),
    Mode::Packet(End::Destination),
    Mode::Quoted(End::Source),
    Mode::Quoted(End::Destination),
    Mode::Both,
];

pub(super) const LINKS: [Link; 2] = [Link::Ethernet, Link::Bare];

fn name(mode: Mode) -> &'static str {
    match mode {
        Mode::Packet(End::Source) => "source",
        Mode::Packet(End::Destination) => "dest",
        Mode::Quoted(End::Source) => "quoted_source",
        Mode::Quoted(End::Destination) => "quoted_dest",
        Mode::Both => "both",
    }
}

pub(super) fn other(end: End) -> End {
    match end {
        End::Source => End::Destination,
        End::Destination => End::Source,
    }
}

fn program(link: Link, mode: Mode) -> Program {
    let mut asm = Assembler::new(&link.program(name(mode)));
    let [v4, v6, packet, next, drop] =
        ["v4", "v6", "packet", "next", "drop"].map(|name| asm.label(name));
    let exits = Exits {
        v4,
        v6,
        other: next,
        malformed: drop,
    };
    let record = Record::of(Stack::items([]));
    let kept = &mut record.clone();
    parse::frame(&mut asm, (HOOK, link), Tags::Other, kept, exits);
    let mut stack = Stack::new(record, (8, 16, 0, 0), (false, false));
    let [to, scratch, key] = [24, Rewrite::SCRATCH, 8].map(|size| stack.record.reserve(size));
    asm.bind(v4);
    HOOK.zero(&mut asm, R1);
    stack.family.set(&mut asm, R1);
    asm.jump(packet);
    asm.bind(v6);
    stack.family.set(&mut asm, 1);
    asm.bind(packet);
    let rewrite = Rewrite {
        link,
        record: &stack.record,
        family: stack.family.at(),
        to,
        scratch,
        fail: drop,
    };
    load(&mut asm, (key, to), 0, drop);
    match mode {
        Mode::Packet(end) => rewrite.packet(&mut asm, end),
        Mode::Quoted(end) => {
            is_error(&mut asm, &stack, next);
            let quoted = asm.label("quoted");
            quote::write(&mut asm, HOOK, &stack, quoted, next);
            asm.bind(quoted);
            rewrite.quoted(&mut asm, &stack.quoted, end);
            load(&mut asm, (key, to), 1, drop);
            rewrite.packet(&mut asm, other(end));
        }
        Mode::Both => {
            rewrite.packet(&mut asm, End::Source);
            load(&mut asm, (key, to), 1, drop);
            rewrite.packet(&mut asm, End::Source);
            rewrite.packet(&mut asm, End::Destination);
        }
    }
    for (label, verdict) in [(next, HOOK.pass()), (drop, HOOK.drop())] {
        asm.bind(label);
        asm.mov(R0, verdict);
        asm.exit();
    }
    asm.finish(Isa::V3).unwrap()
}

/// Loads a new end.
fn load(asm: &mut Assembler, (key, to): (i16, i16), number: i32, drop: Label) {
    asm.store(W, R10, key, number);
    asm.load_map(R1, ENDS);
    asm.mov(R2, R10);
    asm.add(R2, i32::from(key));
    asm.call(Helper::MapLookupElem);
    asm.jump_if(Eq, R0, 0, drop);
    for word in [0, 8, 16] {
        asm.load(DW, R1, R0, word);
        asm.store(DW, R10, to + word, R1);
    }
}

/// Goes to `next` with what is no ICMP error.
fn is_error(asm: &mut Assembler, stack: &Stack, next: Label) {
    let [six, error] = ["six", "error"].map(|name| asm.label(name));
    stack.record.get(asm, R1, Item::Protocol);
    stack.record.get(asm, R2, Item::Field(ICMP_TYPE));
    asm.jump_if(Ne, R1, i32::try_from(ICMP).unwrap(), six);
    for kind in [3, 11, 12] {
        asm.jump_if(Eq, R2, kind, error);
    }
    asm.jump(next);
    asm.bind(six);
    asm.jump_if(Ge, R2, 128, next);
    asm.bind(error);
}

/// The programs in the kernel.
pub(super) struct Loaded(Ebpf);

impl Loaded {
    pub(super) fn new() -> Self {
        let mut object = Object::new();
        object.map(Map::new(ENDS, Shape::new(MapType::Array, 4, 24, 2)));
        for mode in MODES {
            for link in LINKS {
                object.program(Section::Classifier, program(link, mode));
            }
        }
        let mut programs = EbpfLoader::new().load(&object.write().unwrap()).unwrap();
        for (name, program) in programs.programs_mut() {
            let program: &mut SchedClassifier = program.try_into().unwrap();
            program.load().unwrap_or_else(|e| panic!("{name}: {e:?}"));
        }
        Self(programs)
    }

    /// What a program answers, and the frame behind it; `None` for a stump of which the kernel makes no
    /// packet.
    pub(super) fn run(
        &mut self,
        (link, mode): (Link, Mode),
        frame: &[u8],
        ends: [(u128, u16); 2],
    ) -> Option<(i32, Vec<u8>)> {
        let mut map: Array<_, [u64; 3]> = self.0.map_mut(ENDS).unwrap().try_into().unwrap();
        for (number, (address, port)) in (0..).zip(ends) {
            let mut last = [0xa5; 8];
            last[..2].copy_from_slice(&port.to_ne_bytes());
            let [low, high] = [0, 64].map(|bits| u64::try_from(address >> bits & MASK).unwrap());
            map.set(number, [low, high, u64::from_ne_bytes(last)], 0)
                .unwrap();
        }
        let program = self.0.program(&link.program(name(mode))).unwrap();
        let program: &SchedClassifier = program.try_into().unwrap();
        let mut out = vec![0; frame.len() + 64];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let result = program.test_run(options);
        if result.is_err() && frame.len() < 54 {
            return None;
        }
        let result = result.unwrap();
        out.truncate(usize::try_from(result.data_size_out).unwrap());
        Some((result.return_value.cast_signed(), out))
    }
}

const MASK: u128 = 0xffff_ffff_ffff_ffff;
