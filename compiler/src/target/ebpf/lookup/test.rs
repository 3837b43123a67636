//! Comparisons of a field with ranges.
//!
//! The field is loaded anew for each comparison. A number that stays in a register would gather what
//! every comparison says of it, and the verifier would look at each row once for every way to it.

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Cond::{self, Gt, Lt, Ne};
use polc_bpf::insn::Reg;
use polc_bpf::insn::Reg::{R0, R3};

use super::super::classify::plan::Test;
use super::super::record::Item;
use super::Lookup;

/// The halves of a number of 128 bits.
fn halves(number: u128) -> (u64, u64) {
    let half = |n: u128| u64::try_from(n).unwrap_or(u64::MAX);
    (half(number >> 64), half(number & u128::from(u64::MAX)))
}

impl Lookup<'_> {
    /// Goes to `next` unless the field is in one of the ranges.
    pub(super) fn test(&self, asm: &mut Assembler, test: &Test, next: Label) {
        let Some(item) = self.items.get(usize::from(test.field)).copied() else {
            return;
        };
        let Some((last, others)) = test.ranges.split_last() else {
            asm.jump(next);
            return;
        };
        let hit = asm.label("hit");
        for range in others {
            let miss = asm.label("miss");
            self.range(asm, item, *range, miss);
            asm.jump(hit);
            asm.bind(miss);
        }
        self.range(asm, item, *last, next);
        asm.bind(hit);
    }

    /// Goes to `miss` unless an item is in a range.
    fn range(&self, asm: &mut Assembler, item: Item, (first, last): (u128, u128), miss: Label) {
        let bits = item.bits(self.v6);
        if bits > 64 {
            self.wide_range(asm, item, (first, last), miss);
            return;
        }
        self.load(asm, item, false);
        let (_, low) = halves(first);
        let (_, high) = halves(last);
        within(asm, R0, (low, high), u64::MAX >> (64 - bits), miss);
    }

    fn load(&self, asm: &mut Assembler, item: Item, upper: bool) {
        match item {
            _ if item.is_address() => self.record.get_half(asm, R0, item, upper),
            _ => self.record.get(asm, R0, item),
        }
    }

    fn wide_range(
        &self,
        asm: &mut Assembler,
        item: Item,
        (first, last): (u128, u128),
        miss: Label,
    ) {
        let (first, last) = (halves(first), halves(last));
        self.load(asm, item, true);
        if first.0 == last.0 {
            within(asm, R0, (first.0, first.0), u64::MAX, miss);
            self.load(asm, item, false);
            within(asm, R0, (first.1, last.1), u64::MAX, miss);
            return;
        }
        within(asm, R0, (first.0, last.0), u64::MAX, miss);
        // Only at the ends does the lower half matter.
        for (upper, lower, beyond) in [(first.0, first.1, Lt), (last.0, last.1, Gt)] {
            let whole = if beyond == Lt { 0 } else { u64::MAX };
            if lower != whole {
                let inner = asm.label("inner");
                self.load(asm, item, true);
                compare(asm, Ne, R0, upper, inner);
                self.load(asm, item, false);
                compare(asm, beyond, R0, lower, miss);
                asm.bind(inner);
            }
        }
    }
}

/// Goes to `miss` unless a number up to `max` is in a range.
fn within(asm: &mut Assembler, reg: Reg, (first, last): (u64, u64), max: u64, miss: Label) {
    if first == last {
        compare(asm, Ne, reg, first, miss);
        return;
    }
    if first > 0 {
        compare(asm, Lt, reg, first, miss);
    }
    if last < max {
        compare(asm, Gt, reg, last, miss);
    }
}

/// Goes to `label` if a number is so. Changes `R3`.
fn compare(asm: &mut Assembler, cond: Cond, reg: Reg, number: u64, label: Label) {
    if let Ok(number) = i32::try_from(number) {
        asm.jump_if(cond, reg, number, label);
    } else {
        asm.load_wide(R3, number);
        asm.jump_if(cond, reg, R3, label);
    }
}
