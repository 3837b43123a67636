//! The search in a tree of sorted keys, without jumps: the processor has nothing to guess, and the
//! verifier one way to look at.
//!
//! A node is searched in two turns: three of its keys say in which quarter a number is, and the three
//! others of the quarter, where. The keys of a turn do not wait for each other, and those of the second
//! one are in lines of the cache that the first has read.

use polc_bpf::asm::Assembler;
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R5, R7};
use polc_bpf::insn::{AluOp, Reg, Width as Bytes};

use super::super::classify::plan::{NODE, Step, Table, TableId, Width};
use super::{Lookup, and};

/// How many keys a quarter of a node has.
const QUARTER: i16 = 4;

impl Lookup<'_> {
    /// `R7` is the position in a level, `R5` what is looked for, `R4` the same without its last bit if
    /// it has 64: the differences of such numbers have no bit left for their sign. No two of the keys
    /// that are alike without their last bits are smaller than the number and not found in this way: the
    /// one that can be is the next one.
    pub(super) fn tree(&self, asm: &mut Assembler, step: &Step) {
        let Step::Tree {
            levels,
            values,
            part,
            ..
        } = step
        else {
            return;
        };
        self.part(asm, R5, *part);
        let halved = part.bits == 64;
        asm.mov(R4, R5);
        if halved {
            asm.alu(AluOp::Rsh, R4, 1);
        }
        asm.mov(R7, 0);
        let tables = levels.iter().filter_map(|level| self.plan.table(*level));
        for (depth, table) in tables.enumerate() {
            self.node(asm, table, depth == 0, halved);
        }
        if let Some(last) = levels.last().filter(|_| halved) {
            self.next(asm, *last);
        }
        match values {
            Some(values) => self.entry(asm, R0, *values, R7),
            None => {
                asm.mov(R0, R7);
                asm.alu(AluOp::And, R0, 1);
            }
        }
    }

    /// From the number of a node to the position in it. Changes `R0` to `R3`.
    fn node(&self, asm: &mut Assembler, table: &Table, top: bool, halved: bool) {
        let (width, size) = match table.width {
            Width::U64 => (Bytes::DW, 8),
            _ => (Bytes::W, 4),
        };
        let shift = i32::from(size).ilog2().cast_signed();
        let keys = i16::try_from((table.mask as usize).saturating_add(1).min(NODE)).unwrap_or(16);
        self.tables.address(asm, R1, table.offset);
        if !top {
            asm.alu(AluOp::Lsh, R7, NODE.ilog2().cast_signed());
            asm.mov(R2, R7);
            and(asm, R2, table.mask);
            asm.alu(AluOp::Lsh, R2, shift);
            asm.add(R1, R2);
        }
        let smaller = |asm: &mut Assembler, at: i16| {
            asm.load(width, R0, R1, at * size);
            if halved {
                asm.alu(AluOp::Rsh, R0, 1);
            }
            asm.alu(AluOp::Sub, R0, R4);
            asm.alu(AluOp::Rsh, R0, 63);
        };
        if keys > QUARTER {
            asm.mov(R3, 0);
            for at in (QUARTER..keys).step_by(4) {
                smaller(asm, at);
                asm.add(R3, R0);
            }
            asm.alu(AluOp::Lsh, R3, 2);
            asm.add(R7, R3);
            asm.alu(AluOp::Lsh, R3, shift);
            asm.add(R1, R3);
        }
        for at in 1..QUARTER.min(keys) {
            smaller(asm, at);
            asm.add(R7, R0);
        }
    }

    /// Goes on by one if the next key is smaller, too, as numbers of 64 bits.
    fn next(&self, asm: &mut Assembler, last: TableId) {
        asm.mov(R2, R7);
        asm.add(R2, 1);
        self.entry(asm, R0, last, R2);
        borrow(asm, R0, R5);
        asm.add(R7, R0);
    }
}

/// `of = 1` if it is smaller than `than`, otherwise 0: what is borrowed at the highest bit of their
/// difference. Changes `R1` and `R2`.
fn borrow(asm: &mut Assembler, of: Reg, than: Reg) {
    asm.mov(R1, of);
    asm.alu(AluOp::Sub, R1, than);
    asm.mov(R2, of);
    asm.alu(AluOp::Xor, R2, than);
    asm.alu(AluOp::Xor, of, -1);
    asm.alu(AluOp::And, of, than);
    asm.alu(AluOp::Xor, R2, -1);
    asm.alu(AluOp::And, R1, R2);
    asm.alu(AluOp::Or, of, R1);
    asm.alu(AluOp::Rsh, of, 63);
}
