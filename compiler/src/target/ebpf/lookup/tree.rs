//! The search in a tree of sorted keys, without jumps: the processor has nothing to guess, and the
//! verifier one way to look at.
//!
//! The keys of a node do not wait for each other. Those of the last level, which has twice as many, are
//! compared in two turns: three of them say in which quarter a number is, and the three others of the
//! quarter, where. By then their lines are in the cache.

use polc_bpf::asm::Assembler;
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R5, R7};
use polc_bpf::insn::{AluOp, Reg, Width as Bytes};

use super::super::classify::plan::{LEAF, NODE, Step, TableId, Width};
use super::Lookup;

/// How many keys a quarter of a node of the last level has.
const QUARTER: i16 = 4;

/// A level of the tree.
#[derive(Clone, Copy)]
struct Level {
    table: TableId,
    /// How many keys of a node there are at most.
    node: usize,
    /// Whether there is only one node.
    top: bool,
    /// How many lower bits of a key are not compared.
    lost: i32,
}

impl Lookup<'_> {
    /// `R7` is the position in a level, `R5` what is looked for, and `R4` what keys are compared with:
    /// the upper 63 bits, so that differences have a bit for their sign.
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
        let Some((bottom, above)) = levels.split_last() else {
            return;
        };
        let lost = i32::from(part.bits == 64);
        self.part(asm, R5, *part);
        asm.mov(R4, R5);
        if lost > 0 {
            asm.alu(AluOp::Rsh, R4, lost);
        }
        asm.mov(R7, 0);
        let nodes = above.iter().map(|table| (*table, NODE, 0));
        for (depth, (table, node, lost)) in nodes.chain([(*bottom, LEAF, lost)]).enumerate() {
            let top = depth == 0;
            let level = Level {
                table,
                node,
                top,
                lost,
            };
            self.level(asm, level);
        }
        if lost > 0 {
            asm.mov(R2, R7);
            asm.add(R2, 1);
            self.entry(asm, R0, *bottom, R2);
            borrow(asm, R0, R5);
            asm.add(R7, R0);
        }
        if let Some(values) = values {
            self.entry(asm, R0, *values, R7);
        } else {
            asm.mov(R0, R7);
            asm.alu(AluOp::And, R0, 1);
        }
    }

    /// From the number of a node to the position in its level. Changes `R0` to `R3`.
    ///
    /// Positions need no mask: by how they are made, the verifier knows that they are less than the
    /// table's room.
    fn level(&self, asm: &mut Assembler, level: Level) {
        let Some(table) = self.plan.table(level.table) else {
            return;
        };
        let (width, shift) = match table.width {
            Width::U64 => (Bytes::DW, 3),
            _ => (Bytes::W, 2),
        };
        let keys = (table.mask as usize + 1).min(level.node);
        let keys = i16::try_from(keys).unwrap_or(i16::MAX);
        self.tables.address(asm, R1, table.offset);
        if !level.top {
            asm.alu(AluOp::Lsh, R7, level.node.ilog2().cast_signed());
            asm.mov(R2, R7);
            asm.alu(AluOp::Lsh, R2, shift);
            asm.add(R1, R2);
        }
        // `to +=` how many of the keys are smaller.
        let count = |asm: &mut Assembler, to: Reg, keys: &mut dyn Iterator<Item = i16>| {
            for key in keys {
                asm.load(width, R0, R1, key << shift);
                if level.lost > 0 {
                    asm.alu(AluOp::Rsh, R0, level.lost);
                }
                asm.alu(AluOp::Sub, R0, R4);
                asm.alu(AluOp::Rsh, R0, 63);
                asm.add(to, R0);
            }
        };
        if usize::try_from(keys) != Ok(LEAF) {
            count(asm, R7, &mut (1..keys));
            return;
        }
        asm.mov(R3, 0);
        count(asm, R3, &mut (1..4).map(|quarter| quarter * QUARTER));
        asm.alu(AluOp::Lsh, R3, 2);
        asm.add(R7, R3);
        asm.alu(AluOp::Lsh, R3, shift);
        asm.add(R1, R3);
        count(asm, R7, &mut (1..QUARTER));
    }
}

/// `of = 1` if it is smaller than `than`, otherwise 0: what is borrowed at the highest bit of their
/// difference. Changes `R1` and `R2`.
fn borrow(asm: &mut Assembler, of: Reg, than: Reg) {
    asm.mov(R1, of);
    asm.alu(AluOp::Sub, R1, than);
    asm.mov(R2, of);
    asm.alu(AluOp::Xor, R2, than);
    asm.alu(AluOp::Xor, R2, -1);
    asm.alu(AluOp::And, R1, R2);
    asm.alu(AluOp::Xor, of, -1);
    asm.alu(AluOp::And, of, than);
    asm.alu(AluOp::Or, of, R1);
    asm.alu(AluOp::Rsh, of, 63);
}
