//! The kernel's side: a program that walks a trace, and what it goes on with.
//!
//! A test run gives a program one frame, over and over, and a program that sees one packet is all in
//! the cache and foretold. So the program that is run is the driver: it takes the next header of a
//! map, writes it into the frame, and goes on with the program that is measured, which stays as it
//! is. A program that does nothing is measured in the same way, and its time is taken off.

use std::time::{Duration, Instant};

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, ProgramArray};
use aya::programs::{ProgramError, ProgramFd, TestRun, TestRunOptions, TestRunResult, Xdp};
use aya::{Ebpf, EbpfLoader};
use polc_bpf::asm::{Assembler, Isa, Program};
use polc_bpf::insn::Cond::{Eq, Gt, Ne};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R5, R6, R7, R10};
use polc_bpf::insn::Width::{B, DW, H, W};
use polc_bpf::insn::{AluOp, Helper, SwapBits, Width};
use polc_bpf::map::{Map, MapFlags, MapType, Shape};
use polc_bpf::object::{Object, Section};

/// How many headers a trace has: a power of two.
pub(crate) const TRACE: u32 = 65_536;

/// The size of a header, and of the frame.
pub(crate) const HEADER: u8 = 64;

/// A frame up to its ports.
pub(crate) type Header = [u8; HEADER as usize];

const DROP: i32 = 1;
const PASS: i32 = 2;

/// How the driver writes a header: so that no field of one is in two writes, for which the processor
/// makes whoever reads it wait, as it does nobody who reads a frame that came by a wire.
const COPIES: [(Width, i16); 12] = [
    (DW, 0),
    (W, 8),
    (H, 12),
    (DW, 14),
    (W, 22),
    (W, 26),
    (W, 30),
    (W, 34),
    (DW, 38),
    (DW, 46),
    (DW, 54),
    (H, 62),
];

/// How often a program walks the trace in a round.
const WALKS: u32 = 2;

/// Whether programs can be run.
pub(crate) fn possible() -> bool {
    object(
        Map::new("any", Shape::new(MapType::Array, 4, 4, 1)),
        empty(),
    )
    .is_some_and(|object| Ebpf::load(&object).is_ok())
}

/// The driver, loaded.
pub(crate) struct Driver {
    loaded: Ebpf,
}

impl Driver {
    pub(crate) fn new() -> Self {
        let mut object = Object::new();
        let headers = Shape::new(MapType::Array, 4, HEADER.into(), TRACE);
        object.map(Map::new("headers", headers));
        object.map(Map::new("next", Shape::new(MapType::Array, 4, 4, 1)));
        object.map(Map::new(
            "measured",
            Shape::new(MapType::ProgArray, 4, 4, 1),
        ));
        object.program(Section::Xdp, driver());
        let loaded = load(&object.write().unwrap(), "driver").unwrap();
        Self { loaded }
    }

    /// Takes a trace.
    pub(crate) fn trace(&mut self, trace: &[Header]) {
        let mut headers: Array<_, Header> =
            self.loaded.map_mut("headers").unwrap().try_into().unwrap();
        for (index, header) in (0..TRACE).zip(trace) {
            headers.set(index, header, 0).unwrap();
        }
    }

    /// Goes on with this program from now on, with the first header.
    fn measure(&mut self, program: &ProgramFd) {
        let map = self.loaded.map_mut("measured").unwrap();
        let mut measured: ProgramArray<_> = map.try_into().unwrap();
        measured.set(0, program, 0).unwrap();
        let mut next: Array<_, u32> = self.loaded.map_mut("next").unwrap().try_into().unwrap();
        next.set(0, 0, 0).unwrap();
    }

    fn run(&self, repeat: u32) -> TestRunResult {
        let program: &Xdp = self.loaded.program("driver").unwrap().try_into().unwrap();
        let options = TestRunOptions {
            data_in: Some(&[0; HEADER as usize]),
            repeat,
            ..TestRunOptions::default()
        };
        program.test_run(options).unwrap()
    }

    /// Whether each of the first headers passes.
    pub(crate) fn verdicts(&mut self, program: &ProgramFd, count: usize) -> Vec<bool> {
        self.measure(program);
        let pass = |_| self.run(1).return_value == PASS.cast_unsigned();
        (0..count).map(pass).collect()
    }

    /// The nanoseconds that each of the programs, with the driver, takes for a packet: the minimum of
    /// several rounds, in each of which all of them run.
    pub(crate) fn times<const N: usize>(
        &mut self,
        programs: [&ProgramFd; N],
        rounds: usize,
    ) -> [f64; N] {
        let mut best = [Duration::MAX; N];
        for _ in 0..rounds {
            for (program, best) in programs.iter().zip(&mut best) {
                self.measure(program);
                // By the kernel's clock: around its run it waits for other processors.
                *best = self.run(TRACE * WALKS).duration.min(*best);
            }
        }
        best.map(|time| time.as_secs_f64() * 1e9)
    }
}

/// A loaded object, and one program of it.
pub(crate) struct Measured {
    loaded: Ebpf,
    name: String,
    /// How long it took to load.
    pub(crate) loading: Duration,
}

impl Measured {
    /// Loads a program; or says why the kernel does not take it, in a line.
    pub(crate) fn new(object: &[u8], name: &str) -> Result<Self, String> {
        let start = Instant::now();
        let loaded = load(object, name).map_err(|error| {
            let error = error.to_string();
            let refusal = error.lines().find(|line| line.starts_with("BPF program"));
            refusal.unwrap_or(&error).to_owned()
        })?;
        Ok(Self {
            loaded,
            name: name.to_owned(),
            loading: start.elapsed(),
        })
    }

    /// One of the programs below.
    fn of(program: Program, map: Map) -> Self {
        let name = program.name().to_owned();
        Self::new(&object(map, program).unwrap(), &name).unwrap()
    }

    /// Does nothing.
    pub(crate) fn empty() -> Self {
        Self::of(empty(), unused())
    }

    /// Reads the five fields, and does nothing with them.
    pub(crate) fn parse() -> Self {
        Self::of(parse(), unused())
    }

    /// Looks the source up in a map of the kernel made for networks.
    pub(crate) fn trie(networks: &[(std::net::Ipv4Addr, u8)]) -> Self {
        let entries = u32::try_from(networks.len()).unwrap();
        let shape = Shape::new(MapType::LpmTrie, 8, 4, entries);
        let map = Map::new("networks", shape.with_flags(MapFlags::NO_PREALLOC));
        let start = Instant::now();
        let mut made = Self::of(trie(), map);
        let map = made.loaded.map_mut("networks").unwrap();
        let mut networks_map: LpmTrie<_, [u8; 4], u32> = map.try_into().unwrap();
        for (addr, len) in networks {
            let key = Key::new((*len).into(), addr.octets());
            networks_map.insert(&key, 1, 0).unwrap();
        }
        made.loading = start.elapsed();
        made
    }

    pub(crate) fn fd(&self) -> &ProgramFd {
        let program: &Xdp = self.loaded.program(&self.name).unwrap().try_into().unwrap();
        program.fd().unwrap()
    }

    /// How many instructions the verifier has looked at.
    pub(crate) fn verified(&self) -> u32 {
        let program: &Xdp = self.loaded.program(&self.name).unwrap().try_into().unwrap();
        let looked = program.info().unwrap().verified_instruction_count();
        looked.unwrap_or(0)
    }
}

fn load(object: &[u8], name: &str) -> Result<Ebpf, ProgramError> {
    let mut loaded = EbpfLoader::new().load(object).unwrap();
    let program: &mut Xdp = loaded.program_mut(name).unwrap().try_into()?;
    program.load()?;
    Ok(loaded)
}

fn unused() -> Map {
    Map::new("unused", Shape::new(MapType::Array, 4, 4, 1))
}

fn object(map: Map, program: Program) -> Option<Vec<u8>> {
    let mut object = Object::new();
    object.map(map);
    object.program(Section::Xdp, program);
    object.write().ok()
}

/// Writes the next header into the frame, and goes on.
fn driver() -> Program {
    let mut asm = Assembler::new("driver");
    let fail = asm.label("fail");
    asm.mov(R6, R1);
    asm.store(W, R10, -4, 0);
    asm.load_map(R1, "next");
    asm.mov(R2, R10);
    asm.add(R2, -4);
    asm.call(Helper::MapLookupElem);
    asm.jump_if(Eq, R0, 0, fail);
    asm.load(W, R1, R0, 0);
    asm.mov(R2, R1);
    asm.add(R2, 1);
    asm.store(W, R0, 0, R2);
    asm.alu(AluOp::And, R1, TRACE.cast_signed() - 1);
    asm.store(W, R10, -4, R1);
    asm.load_map(R1, "headers");
    asm.mov(R2, R10);
    asm.add(R2, -4);
    asm.call(Helper::MapLookupElem);
    asm.jump_if(Eq, R0, 0, fail);
    asm.load(W, R1, R6, 0);
    asm.load(W, R2, R6, 4);
    asm.mov(R3, R1);
    asm.add(R3, i32::from(HEADER));
    asm.jump_if(Gt, R3, R2, fail);
    for (width, at) in COPIES {
        asm.load(width, R4, R0, at);
        asm.store(width, R1, at, R4);
    }
    asm.mov(R1, R6);
    asm.load_map(R2, "measured");
    asm.mov(R3, 0);
    asm.call(Helper::TailCall);
    asm.bind(fail);
    asm.mov(R0, 0);
    asm.exit();
    asm.finish(Isa::V4).unwrap()
}

fn empty() -> Program {
    let mut asm = Assembler::new("empty");
    asm.mov(R0, PASS);
    asm.exit();
    asm.finish(Isa::V4).unwrap()
}

/// `R2` points to an Ethernet frame with an IPv4 header and ports; the context is in `R1`.
fn headers(asm: &mut Assembler) {
    let [fail, ipv4] = ["fail", "ipv4"].map(|name| asm.label(name));
    asm.load(W, R2, R1, 0);
    asm.load(W, R3, R1, 4);
    asm.mov(R4, R2);
    asm.add(R4, 14 + 20 + 20);
    asm.jump_if(Gt, R4, R3, fail);
    asm.load(H, R5, R2, 12);
    asm.to_be(SwapBits::B16, R5);
    asm.jump_if(Ne, R5, 0x0800, fail);
    asm.load(B, R5, R2, 14);
    asm.jump_if(Eq, R5, 0x45, ipv4);
    asm.bind(fail);
    asm.mov(R0, DROP);
    asm.exit();
    asm.bind(ipv4);
}

fn parse() -> Program {
    let mut asm = Assembler::new("parse");
    headers(&mut asm);
    let done = asm.label("done");
    for (at, offset) in [(-8, 26), (-16, 30)] {
        asm.load(W, R5, R2, offset);
        asm.to_be(SwapBits::B32, R5);
        asm.store(DW, R10, at, R5);
    }
    asm.load(B, R7, R2, 23);
    asm.store(DW, R10, -24, R7);
    let ports = asm.label("ports");
    asm.jump_if(Eq, R7, 6, ports);
    asm.jump_if(Ne, R7, 17, done);
    asm.bind(ports);
    for (at, offset) in [(-32, 34), (-40, 36)] {
        asm.load(H, R5, R2, offset);
        asm.to_be(SwapBits::B16, R5);
        asm.store(DW, R10, at, R5);
    }
    asm.bind(done);
    asm.mov(R0, PASS);
    asm.exit();
    asm.finish(Isa::V4).unwrap()
}

fn trie() -> Program {
    let mut asm = Assembler::new("trie");
    headers(&mut asm);
    let found = asm.label("found");
    asm.store(W, R10, -8, 32);
    asm.load(W, R5, R2, 26);
    asm.store(W, R10, -4, R5);
    asm.load_map(R1, "networks");
    asm.mov(R2, R10);
    asm.add(R2, -8);
    asm.call(Helper::MapLookupElem);
    asm.jump_if(Ne, R0, 0, found);
    asm.mov(R0, PASS);
    asm.exit();
    asm.bind(found);
    asm.mov(R0, DROP);
    asm.exit();
    asm.finish(Isa::V4).unwrap()
}
