//! Differences of checksums (RFC 1624): what has come into the sum over a packet's words less what has
//! gone, in 16 bits in the order of bytes of packets.

use polc_bpf::asm::Assembler;
use polc_bpf::insn::Reg::{R1, R2, R8, R10};
use polc_bpf::insn::Width::DW;
use polc_bpf::insn::{AluOp, Reg, SwapBits};

use super::super::record::{Item, Record};

/// `R8 =` the difference between an address on the stack, its lower half first, and one that is in a
/// record. Changes `R1` and `R2`.
pub(super) fn addresses(asm: &mut Assembler, old: &Record, item: Item, new: i16) {
    asm.mov(R8, 0);
    for upper in [false, true] {
        old.get_half(asm, R1, item, upper);
        asm.alu(AluOp::Xor, R1, -1);
        add_halves(asm);
        asm.load(DW, R1, R10, new + if upper { 8 } else { 0 });
        add_halves(asm);
    }
    fold(asm, R8);
    asm.to_be(SwapBits::B16, R8);
}

/// `R8 +=` both halves of `R1`. Numbers of any width are the sums of their words, modulo 2¹⁶ - 1.
fn add_halves(asm: &mut Assembler) {
    asm.mov32(R2, R1);
    asm.add(R8, R2);
    asm.alu(AluOp::Rsh, R1, 32);
    asm.add(R8, R1);
}

/// `dst =` the difference between the number of 16 bits in `R2` and that in `dst`. Changes `R1`.
pub(super) fn numbers(asm: &mut Assembler, dst: Reg) {
    asm.alu(AluOp::Xor, dst, 0xffff);
    asm.add(dst, R2);
    fold(asm, dst);
    asm.to_be(SwapBits::B16, dst);
}

/// Brings a sum of less than 2³⁷ into 16 bits. Changes `R1`.
pub(super) fn fold(asm: &mut Assembler, sum: Reg) {
    for _ in 0..3 {
        asm.mov(R1, sum);
        asm.alu(AluOp::Rsh, R1, 16);
        asm.alu(AluOp::And, sum, 0xffff);
        asm.add(sum, R1);
    }
}
