//! From the steps of a [`Plan`] to instructions.
//!
//! What each step means is said in [`plan`](super::classify::plan), and this is a translation of it
//! step by step. The slots of the plan are on the stack; tables are in read-only data of the object,
//! whose address the kernel puts into the instructions, or in a map that was looked up.
//!
//! Registers: `R6` is the context and kept, all others are changed.

mod bit;
mod bucket;
mod search;
mod test;
mod tree;
mod vectors;

use polc_bpf::asm::{Assembler, Label, SourceLine};
use polc_bpf::insn::Cond::{Le, Lt, Sge};
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
    /// Where its tables are.
    pub(super) tables: Tables<'l>,
    /// Where on the stack the slots begin: 8 bytes for each.
    pub(super) slots: i16,
    /// The lines of the policy that steps come from, where they are known.
    pub(super) lines: &'l [Option<SourceLine>],
    /// Where to go with the answer in `R0`.
    pub(super) decided: Label,
}

/// Where the tables of a plan are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tables<'l> {
    /// In the object's data of that name.
    Data(&'l str),
    /// In a map, whose address is at that place of the stack.
    Map(i16),
}

impl Tables<'_> {
    /// `dst =` the address of a byte of them.
    fn address(self, asm: &mut Assembler, dst: Reg, offset: u32) {
        match self {
            Self::Data(name) => asm.load_data(dst, name, offset),
            Self::Map(place) => {
                asm.load(Bytes::DW, dst, R10, place);
                match i32::try_from(offset) {
                    Ok(0) => {}
                    Ok(offset) => asm.add(dst, offset),
                    // No map that the kernel makes is as large.
                    Err(_) => asm.add(dst, i32::MAX),
                }
            }
        }
    }
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
    let mut way = Way::default();
    let mut steps = lookup.plan.steps.iter().peekable();
    let mut lines = lookup.lines.iter();
    while let Some(step) = steps.next() {
        if let Some(Some(line)) = lines.next() {
            asm.at(line);
        }
        way.descent = asked(step).map(|slot| match way.descent {
            Some(descent) => descent,
            None => (slot, asm.label("leaf")),
        });
        lookup.step(asm, step, &way);
        // The kernel refuses instructions that cannot be reached.
        if matches!(step, Step::Match { tests, .. } if tests.is_empty()) {
            return;
        }
        way.held = written(step);
        let goes_on = way.held.is_some() && steps.peek().and_then(|step| asked(step)) == way.held;
        if !goes_on {
            if let Some((_, leaf)) = way.descent.take() {
                asm.bind(leaf);
            }
            if let Some(slot) = way.held {
                if can_be_known(step) {
                    lookup.forget(asm, slot);
                }
                lookup.set(asm, slot, R0);
            }
        }
    }
}

/// What the instructions before a step have left.
#[derive(Default)]
struct Way {
    /// The slot whose value is in `R0`.
    held: Option<Slot>,
    /// The slot of the steps that ask for a flag, one behind the other, and where to go without it,
    /// with the value in `R0`.
    descent: Option<(Slot, Label)>,
}

/// The slot that a step asks for a flag.
fn asked(step: &Step) -> Option<Slot> {
    match step {
        Step::Descend { slot, .. } | Step::Bit { slot, .. } | Step::Search { slot, .. } => {
            Some(*slot)
        }
        _ => None,
    }
}

/// Whether the verifier can come to know what a step leaves: it reads constants of the object, and follows
/// each way through a search or a bucket.
fn can_be_known(step: &Step) -> bool {
    matches!(
        step,
        Step::Tree { .. } | Step::Search { .. } | Step::Bucket { .. }
    )
}

/// The slot whose value a step leaves in `R0`.
fn written(step: &Step) -> Option<Slot> {
    match step {
        Step::Set { to, .. }
        | Step::Load { to, .. }
        | Step::Tree { to, .. }
        | Step::Bucket { to, .. }
        | Step::FirstCommon { to, .. }
        | Step::Least { to, .. } => Some(*to),
        Step::Descend { .. } | Step::Bit { .. } | Step::Search { .. } => asked(step),
        Step::Match { .. } | Step::Answer { .. } => None,
    }
}

impl Lookup<'_> {
    /// `R0 =` what the step writes, if it does.
    fn step(&self, asm: &mut Assembler, step: &Step, way: &Way) {
        match step {
            Step::Set { value, .. } => asm.load_wide(R0, u64::from(*value)),
            Step::Load { table, index, .. } => {
                self.sum(asm, index, way);
                self.entry(asm, R0, *table, R0);
            }
            Step::Descend {
                flag, table, part, ..
            } => {
                self.flagged(asm, *flag, way);
                asm.alu(AluOp::Lsh, R0, i32::from(part.bits));
                self.part(asm, R1, *part);
                asm.alu(AluOp::Or, R0, R1);
                self.entry(asm, R0, *table, R0);
            }
            Step::Bit { .. } => self.bit(asm, step, way),
            Step::Tree { .. } => self.tree(asm, step),
            Step::Search { .. } => self.search(asm, step, way),
            Step::Bucket { .. } => self.bucket(asm, step),
            Step::FirstCommon { .. } => self.first_common(asm, step),
            Step::Least { of, .. } => self.least(asm, of, way),
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
                self.get(asm, *slot, way);
                asm.jump(self.decided);
            }
        }
    }

    fn place(&self, slot: Slot) -> i16 {
        self.slots + 8 * i16::from(slot.0)
    }

    /// `R0 =` a slot.
    fn get(&self, asm: &mut Assembler, slot: Slot, way: &Way) {
        if way.held != Some(slot) {
            asm.load(Bytes::DW, R0, R10, self.place(slot));
        }
    }

    /// `R0 =` the smallest of the slots. Changes `R1`.
    fn least(&self, asm: &mut Assembler, of: &[Slot], way: &Way) {
        let held = |slot: &Slot| Some(*slot) == way.held;
        let first = of.iter().position(held).unwrap_or(0);
        if let Some(slot) = of.get(first) {
            self.get(asm, *slot, way);
        }
        for (_, slot) in of.iter().enumerate().filter(|(at, _)| *at != first) {
            let smaller = asm.label("smaller");
            asm.load(Bytes::DW, R1, R10, self.place(*slot));
            asm.jump_if(Le, R0, R1, smaller);
            asm.mov(R0, R1);
            asm.bind(smaller);
        }
    }

    /// Makes the verifier forget the number of 32 bits in `R0`: it would look at all that follows once for
    /// each value. Half of a place on the stack is no more to it than some bytes.
    fn forget(&self, asm: &mut Assembler, slot: Slot) {
        let half = self.place(slot) + 4;
        asm.store(Bytes::W, R10, half, R0);
        asm.load(Bytes::W, R0, R10, half);
    }

    fn set(&self, asm: &mut Assembler, slot: Slot, value: Reg) {
        asm.store(Bytes::DW, R10, self.place(slot), value);
    }

    /// `R0 =` the sum of the terms. Changes `R1` and `R2`.
    fn sum(&self, asm: &mut Assembler, terms: &[Term], way: &Way) {
        // What is in `R0` already comes first.
        let held = |term: &Term| matches!(term.of, Operand::Slot(slot) if Some(slot) == way.held);
        let first = terms.iter().position(held).unwrap_or(0);
        let Some(term) = terms.get(first) else {
            asm.mov(R0, 0);
            return;
        };
        if !held(term) {
            self.operand(asm, R0, term.of);
        }
        multiply(asm, R0, term.times);
        for (_, term) in terms.iter().enumerate().filter(|(at, _)| *at != first) {
            self.operand(asm, R1, term.of);
            multiply(asm, R1, term.times);
            asm.add(R0, R1);
        }
    }

    fn operand(&self, asm: &mut Assembler, to: Reg, operand: Operand) {
        let (width, at) = match operand {
            Operand::Part(part) => return self.part(asm, to, part),
            Operand::Slot(slot) => (Bytes::DW, self.place(slot)),
            Operand::High(slot) => (Bytes::W, self.place(slot) + 4),
            Operand::Low(slot) => (Bytes::W, self.place(slot)),
        };
        asm.load(width, to, R10, at);
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
        self.tables.address(asm, R1, table.offset);
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
            _ if item.is_address() => self.halves(asm, dst, item, part),
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

    /// `R0 =` the slot of a descent; leaves it when the slot does not have the flag, the highest bit
    /// of 8, 16, 32 or 64.
    fn flagged(&self, asm: &mut Assembler, flag: u64, way: &Way) {
        let Some((slot, leaf)) = way.descent else {
            return;
        };
        self.get(asm, slot, way);
        match i32::try_from(flag) {
            Ok(flag) => asm.jump_if(Lt, R0, flag, leaf),
            Err(_) if flag == 1 << 31 => asm.jump32_if(Sge, R0, 0, leaf),
            Err(_) => asm.jump_if(Sge, R0, 0, leaf),
        }
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

/// Changes `R2` for a factor of 32 bits.
fn multiply(asm: &mut Assembler, reg: Reg, times: u32) {
    if times == 1 {
        return;
    }
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
