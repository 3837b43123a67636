//! Rates: buckets of tokens, shared by all processors.
//!
//! A bucket is one number: the time at which it is full again (the generic cell rate algorithm, ITU-T
//! I.371). A packet that costs `cost` nanoseconds may pass when the bucket is full within `burst -
//! cost` from now, and moves that time on by `cost`. It is changed by comparing and exchanging, so no
//! processor waits for another one; after [`TRIES`] lost races the packet counts as one too many.
//!
//! A bucket with a key has such a number for each, in a [`Table`].

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Cond::{Eq, Ge, Gt, Ne};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R5, R7, R8, R9, R10};
use polc_bpf::insn::Width::{DW, W};
use polc_bpf::insn::{AluOp, AtomicOp, Bits, Helper};

use super::record::{Item, Record};
use super::table::{Makers, Table};
use crate::field::META_LENGTH;
use crate::ir::{Rate, Sense, TimeUnit};

/// How often a race for a bucket may be lost.
const TRIES: i32 = 16;

/// A second in nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// From so many nanoseconds on, a burst does not notice that the coarse clock stands still for some
/// milliseconds. It takes a twentieth of the time of the exact one.
const COARSE: u64 = SECOND / 10;

/// What packets cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    /// So many nanoseconds each.
    Fixed(u64),
    /// A second's part for each byte: so many bytes have the second.
    Bytes(u64),
}

/// A rate in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// What packets cost.
    pub(super) cost: Cost,
    /// The time in which an empty bucket fills.
    pub(super) burst: u64,
}

/// A bucket, as packets of a family ask it.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    pub(super) name: String,
    pub(super) store: Store,
    pub(super) terms: Terms,
    /// The nanoseconds after which an unused key is forgotten, if its tokens are not all there by then.
    pub(super) forgets: Option<u64>,
    /// What a new key counts as when there is no room.
    pub(super) full: Sense,
}

/// Where the times are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Store {
    /// In the one entry of the map of that name.
    Single(String),
    /// Behind the last uses of keys.
    Keyed(Table),
}

/// A rate in nanoseconds; `None` for what is no bucket of tokens, or cannot be told in nanoseconds.
pub(super) fn terms(rate: Rate) -> Option<Terms> {
    let (cost, burst) = match rate {
        Rate::Packets { count, per, burst } => {
            let time = SECOND * seconds(per);
            let cost = time.checked_div(count).filter(|c| *c > 0)?;
            (Cost::Fixed(cost), u128::from(burst) * u128::from(cost))
        }
        Rate::Bytes { count, burst } => {
            let count = count.max(1);
            let whole = u128::from(burst) * u128::from(SECOND) / u128::from(count);
            (Cost::Bytes(count), whole)
        }
        Rate::Flows { .. } => return None,
    };
    // Times are added up.
    let burst = u64::try_from(burst).ok().filter(|b| *b < u64::MAX >> 2)?;
    Some(Terms { cost, burst })
}

/// The seconds of a time.
pub(super) fn seconds(per: TimeUnit) -> u64 {
    match per {
        TimeUnit::Second => 1,
        TimeUnit::Minute => 60,
        TimeUnit::Hour => 3600,
        TimeUnit::Day => 86_400,
    }
}

/// Where a program has what it needs to ask.
pub(super) struct Asking<'a> {
    pub(super) record: &'a Record,
    /// A place on the stack for the key of a map.
    pub(super) key: i16,
    pub(super) makers: &'a Makers,
}

impl Meter {
    /// The table, if it has one.
    pub(super) fn table(&self) -> Option<&Table> {
        match &self.store {
            Store::Single(_) => None,
            Store::Keyed(table) => Some(table),
        }
    }

    /// Whether it counts bytes.
    pub(super) fn counts_bytes(&self) -> bool {
        matches!(self.terms.cost, Cost::Bytes(_))
    }

    /// Goes to `fails` when the rate is not as the rule wants it. Changes all registers but `R6`.
    pub(super) fn ask(&self, asm: &mut Assembler, with: &Asking, sense: Sense, fails: Label) {
        let holds = asm.label("rate_holds");
        let (within, over) = match sense {
            Sense::Within => (holds, fails),
            Sense::Over => (fails, holds),
        };
        asm.note(&format!("bucket {}", self.name));
        let at = match &self.store {
            Store::Single(map) => {
                asm.store(W, R10, with.key, 0);
                asm.load_map(R1, map);
                asm.mov(R2, R10);
                asm.add(R2, i32::from(with.key));
                asm.call(Helper::MapLookupElem);
                asm.jump_if(Eq, R0, 0, over);
                asm.mov(R8, R0);
                self.clock(asm);
                asm.mov(R7, R0);
                0
            }
            Store::Keyed(table) => {
                let full = match self.full {
                    Sense::Within => within,
                    Sense::Over => over,
                };
                self.entry(asm, with, table, full);
                8
            }
        };
        self.cost(asm, with.record);
        self.take(asm, at, within, over);
        asm.bind(holds);
    }

    /// `R0 =` the time.
    fn clock(&self, asm: &mut Assembler) {
        asm.call(if self.terms.burst >= COARSE {
            Helper::KtimeGetCoarseNs
        } else {
            Helper::KtimeGetNs
        });
    }

    /// `R8 =` the value of the packet's key, and `R7 =` the time at which it is used.
    fn entry(&self, asm: &mut Assembler, with: &Asking, table: &Table, full: Label) {
        table.write_key(asm, with.record, with.key);
        self.clock(asm);
        asm.mov(R7, R0);
        asm.mov(R2, R0);
        with.makers.call(asm, table, with.key);
        asm.jump_if(Eq, R0, 0, full);
        asm.mov(R8, R0);
        let used = asm.label("used");
        // Before the use is noted: who sees it noted must not forget what it takes.
        asm.load(DW, R0, R8, 8);
        asm.load(DW, R1, R8, 0);
        asm.jump_if(Ge, R1, R7, used);
        asm.store(DW, R8, 0, R7);
        if let Some(idle) = self.forgets {
            asm.load_wide(R2, idle);
            asm.add(R1, R2);
            asm.jump_if(Gt, R1, R7, used);
            asm.mov(R4, 0);
            asm.atomic(AtomicOp::CmpXchg, Bits::B64, R8, 8, R4);
        }
        asm.bind(used);
    }

    /// `R2 =` what the packet costs.
    fn cost(&self, asm: &mut Assembler, record: &Record) {
        match self.terms.cost {
            Cost::Fixed(cost) => asm.load_wide(R2, cost),
            Cost::Bytes(count) => {
                record.get(asm, R2, Item::Field(META_LENGTH));
                asm.load_wide(R3, SECOND);
                asm.alu(AluOp::Mul, R2, R3);
                asm.load_wide(R3, count);
                asm.alu(AluOp::Div, R2, R3);
            }
        }
    }

    /// Takes `R2` from the bucket at `R8 + at`, if it is there at the time in `R7`.
    fn take(&self, asm: &mut Assembler, at: i16, within: Label, over: Label) {
        asm.mov(R9, TRIES);
        let [again, later] = ["again", "later"].map(|name| asm.label(name));
        asm.bind(again);
        asm.load(DW, R3, R8, at);
        asm.mov(R4, R3);
        asm.jump_if(Ge, R4, R7, later);
        asm.mov(R4, R7);
        asm.bind(later);
        asm.add(R4, R2);
        asm.mov(R5, R4);
        asm.alu(AluOp::Sub, R5, R7);
        asm.load_wide(R1, self.terms.burst);
        asm.jump_if(Gt, R5, R1, over);
        asm.mov(R0, R3);
        asm.atomic(AtomicOp::CmpXchg, Bits::B64, R8, at, R4);
        asm.jump_if(Eq, R0, R3, within);
        asm.add(R9, -1);
        asm.jump_if(Ne, R9, 0, again);
        asm.jump(over);
    }
}
