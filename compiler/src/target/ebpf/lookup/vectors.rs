//! The first bit that several vectors have in common.

use polc_bpf::asm::Assembler;
use polc_bpf::insn::Cond::{Eq, Ne};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R5, R7, R8, R9};
use polc_bpf::insn::Width::B;
use polc_bpf::insn::{AluOp, Reg};

use super::super::classify::plan::{Operand, Slot, Step, TableId};
use super::{Lookup, multiply};

/// The most words of vectors that a word of their summary is about: one for each bit.
const WORDS: u32 = 64;

impl Lookup<'_> {
    /// `R7` has the words that are left of a summary, `R8` the number of one, `R9` counts down.
    pub(super) fn first_common(&self, asm: &mut Assembler, step: &Step) {
        let Step::FirstCommon {
            sources,
            stride,
            summary,
            none,
            ..
        } = step
        else {
            return;
        };
        let found = asm.label("common");
        for at in 0..*summary {
            let [next, over] = ["word", "over"].map(|name| asm.label(name));
            asm.load_wide(R8, u64::from(at));
            self.common(asm, R7, sources, *stride, R8);
            // No word is looked at twice.
            let words = stride.saturating_sub(*summary + at * WORDS).clamp(1, WORDS);
            asm.mov(R9, words.cast_signed());
            asm.bind(next);
            asm.jump_if(Eq, R7, 0, over);
            self.lowest(asm, R8, R7);
            asm.add(R8, i32::try_from(at * 64).unwrap_or(0));
            asm.mov(R3, R8);
            asm.add(R3, i32::try_from(*summary).unwrap_or(0));
            self.common(asm, R0, sources, *stride, R3);
            let empty = asm.label("empty");
            asm.jump_if(Eq, R0, 0, empty);
            asm.mov(R7, R0);
            self.lowest(asm, R0, R7);
            asm.alu(AluOp::Lsh, R8, 6);
            asm.add(R0, R8);
            asm.jump(found);
            asm.bind(empty);
            asm.mov(R0, R7);
            asm.add(R0, -1);
            asm.alu(AluOp::And, R7, R0);
            asm.add(R9, -1);
            asm.jump_if(Ne, R9, 0, next);
            asm.bind(over);
        }
        asm.load_wide(R0, u64::from(*none));
        asm.bind(found);
    }

    /// `dst =` what all vectors have at an index, which `R8` or `R3` has. Changes `R0` to `R5`
    /// without `R3`.
    fn common(
        &self,
        asm: &mut Assembler,
        dst: Reg,
        sources: &[(Slot, TableId)],
        stride: u32,
        index: Reg,
    ) {
        asm.mov(R5, -1);
        for (slot, table) in sources {
            self.operand(asm, R2, Operand::Slot(*slot));
            // The product may need `R2` for a large factor, which strides never are.
            multiply(asm, R2, stride);
            asm.add(R2, index);
            self.entry(asm, R1, *table, R2);
            asm.alu(AluOp::And, R5, R1);
        }
        asm.mov(dst, R5);
    }

    /// `dst =` the number of the lowest bit that `src`, which is not 0, has. Changes `R1` and `R2`.
    ///
    /// A product with that bit has another six highest bits for each. A search by halves would tell
    /// the verifier the number, and it would look at what follows once for every number.
    fn lowest(&self, asm: &mut Assembler, dst: Reg, src: Reg) {
        asm.mov(R1, src);
        asm.neg(R1);
        asm.alu(AluOp::And, R1, src);
        asm.load_wide(R2, SPREAD);
        asm.alu(AluOp::Mul, R1, R2);
        asm.alu(AluOp::Rsh, R1, 58);
        let offset = u32::try_from(self.plan.blob.len()).unwrap_or(u32::MAX);
        self.tables.address(asm, R2, offset);
        asm.add(R2, R1);
        asm.load(B, dst, R2, 0);
    }
}

/// A number of 64 bits in which every number of six bits occurs (a de Bruijn sequence).
const SPREAD: u64 = 0x03f7_9d71_b4cb_0a89;

/// The numbers of bits, each at the six highest bits of its product with [`SPREAD`].
pub(super) fn bit_numbers() -> [u8; 64] {
    let mut numbers = [0; 64];
    for bit in 0..64 {
        let at = usize::try_from((SPREAD << bit) >> 58).unwrap_or(0);
        if let Some(number) = numbers.get_mut(at) {
            *number = bit;
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_has_a_place_of_its_own() {
        let mut numbers = bit_numbers();
        numbers.sort_unstable();
        assert!((0..64).eq(numbers));
    }
}
