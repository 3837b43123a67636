//! The kernel's side: a program that walks a trace, and what it goes on with.
//!
//! A test run gives a program one frame, over and over, and a program that sees one packet is all in
//! the cache and foretold. So the program that is run is the driver: it takes the next header of a
//! map, writes it into the frame, and goes on with the program that is measured, which stays as it
//! is. A program that does nothing is measured in the same way, and its time is taken off.

use std::time::Duration;

use aya::Ebpf;
use aya::maps::{Array, ProgramArray};
use aya::programs::{ProgramFd, TestRun, TestRunOptions, TestRunResult, Xdp};
use polc_bpf::asm::{Assembler, Isa, Program};
use polc_bpf::insn::Cond::{Eq, Gt};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R6, R10};
use polc_bpf::insn::Width::{DW, H, W};
use polc_bpf::insn::{AluOp, Helper, Width};
use polc_bpf::map::{Map, MapType, Shape};
use polc_bpf::object::{Object, Section};

use crate::programs::{PASS, load};

/// How many headers a trace has: a power of two.
pub(crate) const TRACE: u32 = 65_536;

/// The size of a header, and of the frame.
pub(crate) const HEADER: u8 = 64;

/// A frame up to its ports.
pub(crate) type Header = [u8; HEADER as usize];

/// How the driver writes a header: so that no field of one is in two writes, for which the processor
/// makes whoever reads it wait, as it does nobody who reads a frame that came by a wire.
const COPIES: [(Width, i16); 10] = [
    (DW, 0),
    (W, 8),
    (H, 12),
    (DW, 14),
    (DW, 22),
    (DW, 30),
    (DW, 38),
    (DW, 46),
    (DW, 54),
    (H, 62),
];

/// How often a program walks the trace in a round.
const WALKS: u32 = 2;

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
        let loaded = load(&object.write().unwrap(), "driver", &[]).unwrap();
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
