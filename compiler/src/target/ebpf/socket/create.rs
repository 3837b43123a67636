//! What is noted of a socket when it is made: the group of whoever makes it.
//!
//! A program for packets can ask for the user of a socket, but not for the group. A connection that a socket
//! accepts has the value of that socket. Sockets of the kernel have none.

use polc_bpf::asm::{AsmError, Assembler, Isa, Program};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R6, R10};
use polc_bpf::insn::Width::W;
use polc_bpf::insn::{AluOp, Helper};
use polc_bpf::map::{Map, Shape};

use super::{GO_ON, only_here};

/// The map with the number of the group of each socket: four bytes.
pub(in super::super) const GROUPS: &str = "sk_groups";

/// That a value is made where there is none: `BPF_SK_STORAGE_GET_F_CREATE`.
const MAKE: i32 = 1;

/// The map.
pub(in super::super) fn groups() -> Map {
    Map::new(GROUPS, Shape::of_sockets(4))
}

/// The program.
pub(in super::super) fn program(name: &str) -> Result<Program, AsmError> {
    let mut asm = Assembler::new(name);
    let done = asm.label("done");
    asm.mov(R6, R1);
    only_here(&mut asm, -4, done);
    asm.call(Helper::GetCurrentUidGid);
    asm.alu(AluOp::Rsh, R0, 32);
    asm.store(W, R10, -4, R0);
    asm.load_map(R1, GROUPS);
    asm.mov(R2, R6);
    asm.mov(R3, R10);
    asm.add(R3, -4);
    asm.mov(R4, MAKE);
    asm.call(Helper::SkStorageGet);
    asm.bind(done);
    asm.mov(R0, GO_ON);
    asm.exit();
    asm.finish(Isa::V3)
}
