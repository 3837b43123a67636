//! The binary search in a chunk of sorted keys, unrolled.

use polc_bpf::asm::Assembler;
use polc_bpf::insn::Cond::{Gt, Le};
use polc_bpf::insn::Reg::{R0, R3, R5, R7, R8, R9};
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
            let [over, smaller] = ["over", "smaller"].map(|name| asm.label(name));
            asm.jump_if(Le, R9, 1, over);
            asm.mov(R3, R9);
            asm.alu(AluOp::Rsh, R3, 1);
            asm.alu(AluOp::Sub, R9, R3);
            asm.mov(R0, R7);
            asm.add(R0, R8);
            asm.add(R0, R3);
            self.key(asm, R0, *keys, R0, *low);
            asm.jump_if(Gt, R0, R5, smaller);
            asm.add(R8, R3);
            asm.bind(smaller);
            asm.bind(over);
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
