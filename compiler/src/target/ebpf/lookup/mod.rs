//! From the steps of a [`Plan`] to instructions.
//!
//! What each step means is said in [`plan`](super::classify::plan), and this is a translation of it
//! step by step. The slots of the plan are on the stack; tables are in read-only data of the object,
//! whose address the kernel puts into the instructions.
//!
//! Registers: `R6` is the context and kept, all others are changed.

mod bucket;
mod search;
mod test;
mod vectors;

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Cond::Eq;
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R10};
use polc_bpf::insn::{AluOp, Reg, Width as Bytes};

use super::classify::Plan;
use super::classify::plan::{Operand, Part, Slot, Step, TableId, Term, Width};
use super::record::{Item, Record};

/// A plan, and where a program has what it needs.
pub(super) struct Lookup<'l> {
    pub(super) plan: &'l Plan,
    /// What the fields of the problem are.
    pub(super) items: &'l [Item],
    /// Where these are.
    pub(super) record: &'l Record,
    /// Whether packets are of IPv6.
    pub(super) v6: bool,
    /// The name of the data that has the tables.
    pub(super) data: &'l str,
    /// Where on the stack the slots begin: 8 bytes for each.
    pub(super) slots: i16,
    /// Where to go with the answer in `R0`.
    pub(super) decided: Label,
}

/// The data that the instructions of a plan read: its tables, and what its steps need besides.
pub(super) fn data(plan: &Plan) -> Vec<u8> {
    let mut data = plan.blob.clone();
    let vectors = |step: &Step| matches!(step, Step::FirstCommon { .. });
    if plan.steps.iter().any(vectors) {
        data.extend(vectors::bit_numbers());
    }
    data
}

/// Writes the steps.
pub(super) fn write(asm: &mut Assembler, lookup: &Lookup) {
    for step in &lookup.plan.steps {
        lookup.step(asm, step);
        // The kernel refuses instructions that cannot be reached.
        if matches!(step, Step::Match { tests, .. } if tests.is_empty()) {
            return;
        }
    }
}

impl Lookup<'_> {
    fn step(&self, asm: &mut Assembler, step: &Step) {
        match step {
            Step::Set { to, value } => {
                asm.load_wide(R0, u64::from(*value));
                self.set(asm, *to, R0);
            }
            Step::Load { to, table, index } => {
                self.sum(asm, index);
                self.entry(asm, R0, *table, R0);
                self.set(asm, *to, R0);
            }
            Step::Descend {
                slot,
                flag,
                table,
                part,
            } => self.descend(asm, *slot, *flag, *table, *part),
            Step::Search { .. } => self.search(asm, step),
            Step::Bucket { .. } => self.bucket(asm, step),
            Step::FirstCommon { .. } => self.first_common(asm, step),
            Step::Match { tests, answer } => {
                let next = asm.label("next");
                for test in tests {
                    self.test(asm, test, next);
                }
                asm.load_wide(R0, u64::from(*answer));
                asm.jump(self.decided);
                asm.bind(next);
            }
            Step::Answer { slot } => {
                self.get(asm, R0, *slot);
                asm.jump(self.decided);
            }
        }
    }

    fn place(&self, slot: Slot) -> i16 {
        self.slots + 8 * i16::from(slot.0)
    }

    fn get(&self, asm: &mut Assembler, dst: Reg, slot: Slot) {
        asm.load(Bytes::DW, dst, R10, self.place(slot));
    }

    fn set(&self, asm: &mut Assembler, slot: Slot, value: Reg) {
        asm.store(Bytes::DW, R10, self.place(slot), value);
    }

    /// `R0 =` the sum of the terms. Changes `R1` and `R2`.
    fn sum(&self, asm: &mut Assembler, terms: &[Term]) {
        for (number, term) in terms.iter().enumerate() {
            let to = if number == 0 { R0 } else { R1 };
            match term.of {
                Operand::Part(part) => self.part(asm, to, part),
                Operand::Slot(slot) => self.get(asm, to, slot),
                Operand::High(slot) => asm.load(Bytes::W, to, R10, self.place(slot) + 4),
                Operand::Low(slot) => asm.load(Bytes::W, to, R10, self.place(slot)),
            }
            if term.times != 1 {
                multiply(asm, to, term.times);
            }
            if number > 0 {
                asm.add(R0, R1);
            }
        }
        if terms.is_empty() {
            asm.mov(R0, 0);
        }
    }

    /// `dst =` the entry of a table at an index. Changes `R1` and `R2`; they may be the index.
    fn entry(&self, asm: &mut Assembler, dst: Reg, table: TableId, index: Reg) {
        let Some(table) = self.plan.table(table) else {
            return;
        };
        if index != R2 {
            asm.mov(R2, index);
        }
        and(asm, R2, table.mask);
        let (width, shift) = match table.width {
            Width::U8 => (Bytes::B, 0),
            Width::U16 => (Bytes::H, 1),
            Width::U32 => (Bytes::W, 2),
            Width::U64 => (Bytes::DW, 3),
        };
        if shift > 0 {
            asm.alu(AluOp::Lsh, R2, shift);
        }
        asm.load_data(R1, self.data, table.offset);
        asm.add(R1, R2);
        asm.load(width, dst, R1, 0);
    }

    /// `dst =` some bits of a field. Changes `R2`, if it is another one.
    fn part(&self, asm: &mut Assembler, dst: Reg, part: Part) {
        let Some(item) = self.items.get(usize::from(part.field)).copied() else {
            return;
        };
        let (shift, bits) = (part.shift, part.bits);
        match item {
            Item::Source | Item::Destination => self.halves(asm, dst, item, part),
            _ => {
                self.record.get(asm, dst, item);
                if shift > 0 {
                    asm.alu(AluOp::Rsh, dst, i32::from(shift));
                }
            }
        }
        let kept = item.bits(self.v6).saturating_sub(shift);
        if bits < 64 && bits < kept {
            and_bits(asm, dst, bits);
        }
    }

    /// `dst =` bits of an address from a place on, up to 64.
    fn halves(&self, asm: &mut Assembler, dst: Reg, item: Item, part: Part) {
        let shift = i32::from(part.shift);
        if shift >= 64 {
            self.record.get_half(asm, dst, item, true);
            if shift > 64 {
                asm.alu(AluOp::Rsh, dst, shift - 64);
            }
            return;
        }
        self.record.get_half(asm, dst, item, false);
        if shift > 0 {
            asm.alu(AluOp::Rsh, dst, shift);
        }
        if self.v6 && shift > 0 && shift + i32::from(part.bits) > 64 {
            let spare = if dst == R2 { R3 } else { R2 };
            self.record.get_half(asm, spare, item, true);
            asm.alu(AluOp::Lsh, spare, 64 - shift);
            asm.alu(AluOp::Or, dst, spare);
        }
    }

    fn descend(&self, asm: &mut Assembler, slot: Slot, flag: u64, table: TableId, part: Part) {
        let done = asm.label("leaf");
        self.flagged(asm, slot, flag, done);
        asm.alu(AluOp::Lsh, R0, i32::from(part.bits));
        self.part(asm, R1, part);
        asm.alu(AluOp::Or, R0, R1);
        self.entry(asm, R0, table, R0);
        self.set(asm, slot, R0);
        asm.bind(done);
    }

    /// `R0 =` a slot; goes to `without` when it does not have the flag.
    fn flagged(&self, asm: &mut Assembler, slot: Slot, flag: u64, without: Label) {
        self.get(asm, R0, slot);
        asm.mov(R1, R0);
        asm.alu(
            AluOp::Rsh,
            R1,
            i32::try_from(flag.trailing_zeros()).unwrap_or(63),
        );
        asm.alu(AluOp::And, R1, 1);
        asm.jump_if(Eq, R1, 0, without);
    }
}

/// `reg &= mask`, a mask of lower bits.
fn and(asm: &mut Assembler, reg: Reg, mask: u32) {
    match i32::try_from(mask) {
        Ok(mask) => asm.alu(AluOp::And, reg, mask),
        Err(_) => and_bits(asm, reg, u8::try_from(mask.count_ones()).unwrap_or(32)),
    }
}

/// Keeps the lowest bits.
fn and_bits(asm: &mut Assembler, reg: Reg, bits: u8) {
    if bits < 32 {
        asm.alu(AluOp::And, reg, i32::MAX >> (31 - bits));
    } else {
        asm.alu(AluOp::Lsh, reg, 64 - i32::from(bits));
        asm.alu(AluOp::Rsh, reg, 64 - i32::from(bits));
    }
}

fn multiply(asm: &mut Assembler, reg: Reg, times: u32) {
    if times.is_power_of_two() {
        asm.alu(
            AluOp::Lsh,
            reg,
            i32::try_from(times.trailing_zeros()).unwrap_or(0),
        );
    } else if let Ok(times) = i32::try_from(times) {
        asm.alu(AluOp::Mul, reg, times);
    } else {
        asm.load_wide(R2, u64::from(times));
        asm.alu(AluOp::Mul, reg, R2);
    }
}
