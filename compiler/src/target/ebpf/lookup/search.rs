//! The binary search in a chunk of sorted keys, unrolled and without jumps: the processor has nothing
//! to guess, and the verifier one way to look at where jumps would give it one for each chunk.

use polc_bpf::asm::Assembler;
use polc_bpf::insn::Reg::{R0, R1, R3, R4, R5, R7, R8, R9};
use polc_bpf::insn::{AluOp, Reg};

use super::super::classify::plan::{Step, TableId};
use super::{Lookup, Way, and_bits};

impl Lookup<'_> {
    /// `R7` is the base, `R8` the position, `R9` the length, `R5` what is looked for.
    pub(super) fn search(&self, asm: &mut Assembler, step: &Step, way: &Way) {
        let Step::Search {
            flag,
            keys,
            low,
            values,
            part,
            rounds,
            ..
        } = step
        else {
            return;
        };
        self.flagged(asm, *flag, way);
        // The flag is the highest bit of the slot.
        asm.mov(R7, R0);
        and_bits(
            asm,
            R7,
            u8::try_from(flag.trailing_zeros()).unwrap_or(u8::MAX),
        );
        self.part(asm, R5, *part);
        self.key(asm, R9, *keys, R7, *low);
        asm.add(R9, 1);
        asm.mov(R8, 0);
        for _ in 0..*rounds {
            asm.mov(R3, R9);
            asm.alu(AluOp::Rsh, R3, 1);
            asm.alu(AluOp::Sub, R9, R3);
            asm.mov(R0, R7);
            asm.add(R0, R8);
            asm.add(R0, R3);
            self.key(asm, R0, *keys, R0, *low);
            greater(asm, part.bits);
            asm.alu(AluOp::Xor, R4, -1);
            asm.alu(AluOp::And, R3, R4);
            asm.add(R8, R3);
        }
        asm.add(R7, R8);
        if let Some(values) = values {
            self.entry(asm, R0, *values, R7);
        } else {
            self.entry(asm, R0, *keys, R7);
            and_bits(asm, R0, *low);
        }
    }

    /// `dst =` the key at an index.
    fn key(&self, asm: &mut Assembler, dst: Reg, keys: TableId, index: Reg, low: u8) {
        self.entry(asm, dst, keys, index);
        if low > 0 {
            asm.alu(AluOp::Rsh, dst, i32::from(low));
        }
    }
}

/// `R4 =` all ones if `R0` is greater than `R5`, numbers of so many bits; otherwise 0. Changes `R0` and
/// `R1`.
fn greater(asm: &mut Assembler, bits: u8) {
    asm.mov(R4, R5);
    asm.alu(AluOp::Sub, R4, R0);
    if bits == 64 {
        // The difference has no bit left for its sign: what is borrowed at the highest bit.
        asm.mov(R1, R5);
        asm.alu(AluOp::Xor, R1, R0);
        asm.alu(AluOp::And, R0, R1);
        asm.alu(AluOp::Xor, R1, -1);
        asm.alu(AluOp::And, R4, R1);
        asm.alu(AluOp::Or, R4, R0);
    }
    asm.alu(AluOp::Arsh, R4, 63);
}
