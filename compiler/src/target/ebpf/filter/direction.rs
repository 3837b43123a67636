//! Whether an arriving packet is for this host or for another machine.

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Cond::{Eq, Ne};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R6, R10};
use polc_bpf::insn::Width::{B, DW, W};
use polc_bpf::insn::{Helper, SwapBits};

use super::super::record::Item;
use super::stack::Stack;
use super::track::SKB_MARK;

/// The size of `struct bpf_fib_lookup` (include/uapi/linux/bpf.h).
pub(in super::super) const LOOKUP: i16 = 64;

/// Where `struct __sk_buff` has the interface that a packet has come in by, and that where it is.
pub(in super::super) const SKB_INGRESS: i16 = 36;
pub(in super::super) const SKB_INTERFACE: i16 = 40;

const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;

/// The answers of the kernel's routing that mean another machine: a neighbour is known, the route is
/// a tunnel of its own kind, the neighbour is not known, the packet is too long.
const FORWARDED: [i32; 4] = [0, 6, 7, 8];

/// `BPF_FIB_LOOKUP_MARK`, and where the question has the mark.
const BY_MARK: i32 = 1 << 5;
const FIB_MARK: i16 = 52;
/// `-EINVAL`: the question has a flag that the kernel does not know.
const INVALID: i32 = -22;

/// Goes to `forwarded` with what the kernel would send on, and goes on with the rest: what is for
/// this host, and what nobody gets.
pub(in super::super) fn arriving(asm: &mut Assembler, stack: &Stack, forwarded: Label) {
    asm.load(W, R1, R6, SKB_INTERFACE);
    question(asm, stack);
    let answered = asm.label("answered");
    asm.load(W, R1, R6, SKB_MARK);
    asm.store(W, R10, stack.area + FIB_MARK, R1);
    asm.mov(R4, BY_MARK);
    ask(asm, stack);
    asm.jump_if(Ne, R0, INVALID, answered);
    // Kernels before 6.10 ask without it.
    asm.mov(R4, 0);
    ask(asm, stack);
    asm.bind(answered);
    for answer in FORWARDED {
        asm.jump_if(Eq, R0, answer, forwarded);
    }
}

/// Writes the question where a packet goes that has come in by the interface in `R1`.
pub(in super::super) fn question(asm: &mut Assembler, stack: &Stack) {
    let [six, filled] = ["six", "filled"].map(|name| asm.label(name));
    let at = stack.area;
    asm.mov(R2, 0);
    for offset in (0..LOOKUP).step_by(8) {
        asm.store(DW, R10, at + offset, R2);
    }
    asm.store(W, R10, at + 8, R1);
    stack.record.get(asm, R1, Item::Protocol);
    asm.store(B, R10, at + 1, R1);
    stack.family.get(asm, R1);
    asm.jump_if(Ne, R1, 0, six);
    asm.store(B, R10, at, AF_INET);
    for (item, offset) in [(Item::Source, 16), (Item::Destination, 32)] {
        stack.record.get_half(asm, R1, item, false);
        asm.to_be(SwapBits::B32, R1);
        asm.store(W, R10, at + offset, R1);
    }
    asm.jump(filled);
    asm.bind(six);
    asm.store(B, R10, at, AF_INET6);
    for (item, offset) in [(Item::Source, 16), (Item::Destination, 32)] {
        for (upper, offset) in [(true, offset), (false, offset + 8)] {
            stack.record.get_half(asm, R1, item, upper);
            asm.to_be(SwapBits::B64, R1);
            asm.store(DW, R10, at + offset, R1);
        }
    }
    asm.bind(filled);
}

/// `R0 =` the answer of the kernel's routing to the question, with the flags in `R4`.
pub(in super::super) fn ask(asm: &mut Assembler, stack: &Stack) {
    asm.mov(R1, R6);
    asm.mov(R2, R10);
    asm.add(R2, i32::from(stack.area));
    asm.mov(R3, i32::from(LOOKUP));
    asm.call(Helper::FibLookup);
}
