//! Tables of keys that packets make: of buckets with a key, and of dynamic sets.
//!
//! There is one for each family. A value begins with the time at which its key was last used, in
//! nanoseconds since the machine's start. A key that has not been used for the table's `idle` is
//! forgotten: whoever finds it takes it for a new one. Its entry goes when the table is full and somebody
//! needs the room: then the program itself sweeps the table, at most once in a second, or in ten
//! microseconds for each key that there can be.

use std::collections::BTreeMap;

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::Cond::{Eq, Gt, Ne, Sgt};
use polc_bpf::insn::Reg::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R10};
use polc_bpf::insn::Width::{DW, W};
use polc_bpf::insn::{AluOp, AtomicOp, Bits, FunctionId, Helper, Reg, SwapBits};

use super::record::{Item, Record};
use super::state::SWEEPS;
use crate::ir::{Key, KeyKind};

/// The shortest time between two sweeps of a table, in nanoseconds: for the whole, and for each key that
/// it can have. A sweep looks at every key, for about a tenth of a microsecond, while packets wait: it should
/// take no more than a hundredth of a processor's time.
pub(super) const BETWEEN_SWEEPS: u64 = 1_000_000_000;
const BETWEEN_SWEEPS_FOR_EACH: u64 = 10_000;

/// The error of an update of a map that has no room: `-E2BIG`.
const NO_ROOM: i32 = -7;

/// That an update only makes new entries: `BPF_NOEXIST`.
pub(super) const NEW_ONLY: i32 = 1;

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// The name of its map.
    pub(super) map: String,
    /// What its keys are.
    pub(super) key: Key,
    /// Whether they are of IPv6.
    pub(super) v6: bool,
    /// How many keys it can have.
    pub(super) max: u32,
    /// The size of a value in bytes: 8 or 16.
    pub(super) value_size: i16,
    /// The nanoseconds after which an unused key is forgotten.
    pub(super) idle: Option<u64>,
    /// The place of its last sweep's time.
    pub(super) sweep: i32,
}

/// The size of a key in bytes.
pub(super) fn key_size(kind: KeyKind, v6: bool) -> i16 {
    let addresses = if kind == KeyKind::Pair { 2 } else { 1 };
    addresses * if v6 { 16 } else { 4 }
}

/// What a key is made of.
pub(super) fn key_items(kind: KeyKind) -> &'static [Item] {
    match kind {
        KeyKind::Source => &[Item::Source],
        KeyKind::Dest => &[Item::Destination],
        KeyKind::Pair => &[Item::Source, Item::Destination],
    }
}

impl Table {
    pub(super) fn key_size(&self) -> i16 {
        key_size(self.key.kind, self.v6)
    }

    /// Writes the packet's key to the stack at `place`, in network order. Changes `R1` and `R2`.
    pub(super) fn write_key(&self, asm: &mut Assembler, record: &Record, place: i16) {
        write_key(asm, record, (self.key, self.v6), place);
    }
}

/// Writes a key of a packet to the stack at `place`, in network order. Changes `R1` and `R2`.
pub(super) fn write_key(asm: &mut Assembler, record: &Record, (key, v6): (Key, bool), place: i16) {
    let mut at = place;
    for item in key_items(key.kind) {
        if v6 {
            let length = u32::from(key.v6);
            for (upper, length) in [(true, length.min(64)), (false, length.max(64) - 64)] {
                record.get_half(asm, R1, *item, upper);
                if length < 64 {
                    let mask = u64::MAX.checked_shl(64 - length).unwrap_or(0);
                    asm.load_wide(R2, mask);
                    asm.alu(AluOp::And, R1, R2);
                }
                asm.to_be(SwapBits::B64, R1);
                asm.store(DW, R10, at, R1);
                at += 8;
            }
        } else {
            record.get_half(asm, R1, *item, false);
            if key.v4 < 32 {
                let mask = u32::MAX.checked_shl(32 - u32::from(key.v4));
                asm.alu32(AluOp::And, R1, mask.unwrap_or(0).cast_signed());
            }
            asm.to_be(SwapBits::B32, R1);
            asm.store(W, R10, at, R1);
            at += 4;
        }
    }
}

/// The functions of a program that make entries of tables, by the names of their maps.
#[derive(Debug, Default)]
pub(super) struct Makers(BTreeMap<String, FunctionId>);

impl Makers {
    /// Writes a function for each table. The program goes on with its entry.
    pub(super) fn write<'t>(
        asm: &mut Assembler,
        tables: impl IntoIterator<Item = &'t Table>,
    ) -> Self {
        let tables: BTreeMap<&str, &Table> =
            tables.into_iter().map(|t| (t.map.as_str(), t)).collect();
        let swept = tables.values().any(|table| table.idle.is_some());
        let sweep = swept.then(|| forget(asm, "forget"));
        let function = |(name, table): (&str, &Table)| {
            let id = asm.function(name);
            asm.begin(id);
            make(asm, table, sweep);
            (name.to_owned(), id)
        };
        let made = tables.into_iter().map(function).collect();
        asm.begin(FunctionId::ENTRY);
        Self(made)
    }

    /// `R0 =` a pointer to the value of the key at `key` on the stack, which is made if it is not there;
    /// or 0 when there is no room. `R2` is the time. Changes `R1` to `R5`.
    pub(super) fn call(&self, asm: &mut Assembler, table: &Table, key: i16) {
        if let Some(function) = self.0.get(&table.map) {
            asm.mov(R1, R10);
            asm.add(R1, i32::from(key));
            asm.call_function(*function);
        }
    }
}

/// A function: from a pointer to a key in `R1` and the time in `R2` to a pointer to the key's value.
fn make(asm: &mut Assembler, table: &Table, sweep: Option<FunctionId>) {
    // On its stack: the value, the time before which keys are idle, a place among the sweeps.
    const VALUE: i16 = -16;
    const LIMIT: i16 = -24;
    const PLACE: i16 = -32;
    let [known, find] = ["known", "find"].map(|name| asm.label(name));
    let look = |asm: &mut Assembler| {
        asm.load_map(R1, &table.map);
        asm.mov(R2, R6);
        asm.call(Helper::MapLookupElem);
    };
    let update = |asm: &mut Assembler| {
        asm.load_map(R1, &table.map);
        asm.mov(R2, R6);
        asm.mov(R3, R10);
        asm.add(R3, i32::from(VALUE));
        asm.mov(R4, NEW_ONLY);
        asm.call(Helper::MapUpdateElem);
    };
    asm.mov(R6, R1);
    asm.mov(R7, R2);
    look(asm);
    asm.jump_if(Ne, R0, 0, known);
    asm.store(DW, R10, VALUE, R7);
    asm.store(DW, R10, VALUE + 8, 0);
    update(asm);
    if let (Some(idle), Some(sweep)) = (table.idle, sweep) {
        asm.jump_if(Ne, R0, NO_ROOM, find);
        asm.note("full: forget what is idle");
        let between = (BETWEEN_SWEEPS_FOR_EACH * u64::from(table.max)).max(BETWEEN_SWEEPS);
        turn_to_sweep(asm, (table.sweep, between), (R10, PLACE), find);
        asm.load_wide(R1, idle);
        asm.mov(R2, R7);
        asm.alu(AluOp::Sub, R2, R1);
        asm.store(DW, R10, LIMIT, R2);
        asm.load_map(R1, &table.map);
        asm.load_function(R2, sweep);
        asm.mov(R3, R10);
        asm.add(R3, i32::from(LIMIT));
        asm.mov(R4, 0);
        asm.call(Helper::ForEachMapElem);
        update(asm);
    }
    asm.bind(find);
    look(asm);
    asm.bind(known);
    asm.exit();
}

/// Goes to `no` unless it is time for the sweep whose last time is at that place of [`SWEEPS`],
/// `between` nanoseconds ago or more, and notes that it is done. The time is in `R7`; there is a place on the stack at `base`. Changes `R0` to `R5` and
/// `R8`.
pub(super) fn turn_to_sweep(
    asm: &mut Assembler,
    (sweep, between): (i32, u64),
    (base, place): (Reg, i16),
    no: Label,
) {
    asm.store(W, base, place, sweep);
    asm.load_map(R1, SWEEPS);
    asm.mov(R2, base);
    asm.add(R2, i32::from(place));
    asm.call(Helper::MapLookupElem);
    asm.jump_if(Eq, R0, 0, no);
    asm.mov(R8, R0);
    asm.load(DW, R1, R8, 0);
    asm.load_wide(R2, between);
    asm.add(R2, R1);
    asm.jump_if(Gt, R2, R7, no);
    asm.mov(R0, R1);
    asm.atomic(AtomicOp::CmpXchg, Bits::B64, R8, 0, R7);
    asm.jump_if(Ne, R0, R1, no);
}

/// A function that the kernel calls for each entry of a map: deletes it when it was last used at the time
/// that `R4` points to, or earlier.
pub(super) fn forget(asm: &mut Assembler, name: &str) -> FunctionId {
    let function = asm.function(name);
    asm.begin(function);
    let kept = asm.label("kept");
    asm.load(DW, R5, R3, 0);
    asm.load(DW, R0, R4, 0);
    // Soon after the machine's start, the time is less than 0.
    asm.jump_if(Sgt, R5, R0, kept);
    // The map and the key are where they have to be.
    asm.call(Helper::MapDeleteElem);
    asm.bind(kept);
    asm.mov(R0, 0);
    asm.exit();
    function
}
