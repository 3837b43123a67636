//! A bit of a block, and the value that it stands for.

use polc_bpf::asm::Assembler;
use polc_bpf::insn::AluOp;
use polc_bpf::insn::Reg::{R0, R1, R5};

use super::super::classify::plan::Step;
use super::{Lookup, Way, multiply};

impl Lookup<'_> {
    /// Without a jump: whether the bit is set is anybody's guess.
    pub(super) fn bit(&self, asm: &mut Assembler, step: &Step, way: &Way) {
        let Step::Bit {
            flag,
            table,
            part,
            values: [zero, one],
            ..
        } = step
        else {
            return;
        };
        self.flagged(asm, *flag, way);
        asm.alu(AluOp::Lsh, R0, i32::from(part.bits.saturating_sub(6)));
        self.part(asm, R5, *part);
        asm.mov(R1, R5);
        asm.alu(AluOp::Rsh, R1, 6);
        asm.alu(AluOp::Or, R0, R1);
        self.entry(asm, R0, *table, R0);
        asm.alu(AluOp::And, R5, 63);
        asm.alu(AluOp::Rsh, R0, R5);
        asm.alu(AluOp::And, R0, 1);
        multiply(asm, R0, one.saturating_sub(*zero));
        if *zero > 0 {
            asm.load_wide(R1, u64::from(*zero));
            asm.add(R0, R1);
        }
    }
}
