//! Programs for sockets: what becomes of a packet they do not decide.
//!
//! They run at the root of the control groups, and so for all processes of the machine: what belongs to another
//! network namespace they leave alone.

mod create;
mod original;

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Cond::{Eq, Ne};
use polc_bpf::insn::Helper;
use polc_bpf::insn::Reg::{R0, R1, R2, R6, R7, R10};
use polc_bpf::insn::Width::{DW, W};
use polc_bpf::map::{Map, MapType, Shape};

pub(super) use create::{GROUPS, groups, program as create};
pub(super) use original::{is_needed as answers_are_needed, program as original};

/// The map with the cookie of the network namespace that the policy is in force in. It is never 0.
const NETNS: &str = "netns";

/// What such a program returns to let everything take its course.
const GO_ON: i32 = 1;

/// The map that the programs of an object have in common.
pub(super) fn netns() -> Map {
    Map::new(NETNS, Shape::new(MapType::Array, 4, 8, 1))
}

/// Goes to `elsewhere` with what is of another network namespace. The context is in `R6`; four bytes at
/// `key` on the stack are changed, and `R0` to `R5` and `R7`.
fn only_here(asm: &mut Assembler, key: i16, elsewhere: Label) {
    asm.mov(R1, R6);
    asm.call(Helper::GetNetnsCookie);
    asm.mov(R7, R0);
    asm.store(W, R10, key, 0);
    asm.load_map(R1, NETNS);
    asm.mov(R2, R10);
    asm.add(R2, i32::from(key));
    asm.call(Helper::MapLookupElem);
    asm.jump_if(Eq, R0, 0, elsewhere);
    asm.load(DW, R1, R0, 0);
    asm.jump_if(Ne, R1, R7, elsewhere);
}
