//! A plan while it is made: its tables, one by one, and then the blob.
//!
//! Two tables of 40,000 entries of one byte and of 10,000 have room for 65,536 and 16,384. Shared,
//! the second begins at byte 40,000 (rounded up to a multiple of 64), in what the first leaves
//! free, and the blob has 65,536 bytes in place of 81,920.

use super::plan::{Plan, Slot, Step, Table, TableId, Width};
use super::slots::compact;

/// Marks a reference among entries that are not yet written.
pub(super) const FLAG: u32 = 1 << 31;

/// Where tables begin: no small record lies in two lines of the cache.
const ALIGN: usize = 64;

/// How tables share the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// A table may begin in what another one leaves free: the smallest blob.
    Shared,
    /// Every table has all of its room, so that it can grow.
    Apart,
}

/// A table that has no place yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Data {
    entries: Entries,
    width: Width,
    /// How many entries it has room for: a power of two.
    room: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entries {
    Plain(Vec<u32>),
    /// With references: the flag becomes the highest bit of the width.
    Flagged(Vec<u32>),
    Wide(Vec<u64>),
}

/// How many entries a table with so many has room for.
pub(super) fn room(entries: usize) -> usize {
    entries.max(1).next_power_of_two()
}

impl Data {
    /// These entries.
    pub(super) fn of(entries: Vec<u32>, width: Width) -> Self {
        Self::with(Entries::Plain(entries), width)
    }

    /// Entries that are as narrow as the largest of them allows.
    pub(super) fn narrow(entries: Vec<u32>) -> Self {
        let largest = entries.iter().copied().max().unwrap_or_default();
        Self::of(entries, Width::holding(largest.into()))
    }

    /// Results and references, with room for references up to `reference`.
    pub(super) fn flagged(entries: Vec<u32>, reference: u32) -> Self {
        let largest = entries.iter().map(|v| v & !FLAG).max().unwrap_or_default();
        // The highest bit stays free.
        let width = Width::holding(u64::from(largest.max(reference)) * 2 + 1);
        Self::with(Entries::Flagged(entries), width.min(Width::U32))
    }

    /// Entries of 64 bits.
    pub(super) fn wide(entries: Vec<u64>) -> Self {
        Self::with(Entries::Wide(entries), Width::U64)
    }

    fn with(entries: Entries, width: Width) -> Self {
        let mut data = Self {
            entries,
            width,
            room: 1,
        };
        data.room = room(data.len());
        data
    }

    /// The same with room for so many entries, if that is more.
    pub(super) fn with_room(self, entries: usize) -> Self {
        let room = self.room.max(room(entries));
        Self { room, ..self }
    }

    /// The highest bit of an entry.
    pub(super) fn flag(&self) -> u64 {
        self.width.flag()
    }

    fn len(&self) -> usize {
        match &self.entries {
            Entries::Plain(entries) | Entries::Flagged(entries) => entries.len(),
            Entries::Wide(entries) => entries.len(),
        }
    }

    fn bytes(&self) -> usize {
        self.len() * self.width.bytes() as usize
    }

    fn room_bytes(&self) -> usize {
        self.room * self.width.bytes() as usize
    }

    fn write(&self, to: &mut [u8]) {
        match &self.entries {
            Entries::Plain(entries) => write(to, self.width, entries.iter().map(|v| (*v).into())),
            Entries::Flagged(entries) => {
                let flag = self.width.flag();
                let written = |value: &u32| match value & FLAG {
                    0 => u64::from(*value),
                    _ => u64::from(value & !FLAG) | flag,
                };
                write(to, self.width, entries.iter().map(written));
            }
            Entries::Wide(entries) => write(to, self.width, entries.iter().copied()),
        }
    }
}

fn write(to: &mut [u8], width: Width, entries: impl Iterator<Item = u64>) {
    let size = width.bytes() as usize;
    for (bytes, entry) in to.chunks_exact_mut(size).zip(entries) {
        for (byte, from) in bytes.iter_mut().zip(entry.to_le_bytes()) {
            *byte = from;
        }
    }
}

/// A plan without a blob.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    tables: Vec<Data>,
    steps: Vec<Step>,
    slots: u8,
}

impl Draft {
    /// Adds a table.
    pub(super) fn table(&mut self, data: Data) -> TableId {
        let id = u16::try_from(self.tables.len()).unwrap_or(u16::MAX);
        self.tables.push(data);
        TableId(id)
    }

    /// The highest bit of a table's entries.
    pub(super) fn flag(&self, table: TableId) -> u64 {
        self.tables.get(usize::from(table.0)).map_or(0, Data::flag)
    }

    /// A slot that no step has used.
    pub(super) fn slot(&mut self) -> Slot {
        let slot = Slot(self.slots);
        self.slots = self.slots.saturating_add(1);
        slot
    }

    /// Adds a step.
    pub(super) fn push(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// How large the blob will be.
    pub(super) fn bytes(&self, packing: Packing) -> usize {
        place(&self.tables, packing).1
    }

    /// Writes the blob.
    pub(super) fn finish(mut self, strategy: &'static str, packing: Packing) -> Plan {
        let slots = compact(&mut self.steps);
        let (offsets, size) = place(&self.tables, packing);
        let mut blob = vec![0; size];
        let mut tables = Vec::with_capacity(self.tables.len());
        for (data, offset) in self.tables.iter().zip(offsets) {
            if let Some(to) = blob.get_mut(offset..offset + data.bytes()) {
                data.write(to);
            }
            tables.push(Table {
                offset: u32::try_from(offset).unwrap_or(u32::MAX),
                width: data.width,
                mask: u32::try_from(data.room - 1).unwrap_or(u32::MAX),
            });
        }
        Plan {
            strategy,
            steps: self.steps,
            tables,
            blob,
            slots,
            notes: Vec::new(),
        }
    }
}

/// The offset of every table, and the size of the blob.
fn place(tables: &[Data], packing: Packing) -> (Vec<usize>, usize) {
    let mut order: Vec<(usize, &Data)> = tables.iter().enumerate().collect();
    if packing == Packing::Shared {
        // What follows a large table fits in what it leaves free.
        order.sort_by_key(|(_, data)| std::cmp::Reverse(data.room_bytes()));
    }
    let mut offsets = vec![0; tables.len()];
    let (mut next, mut size) = (0, 0);
    for (id, data) in order {
        if let Some(offset) = offsets.get_mut(id) {
            *offset = next;
        }
        size = size.max(next + data.room_bytes());
        let own = match packing {
            Packing::Shared => data.bytes(),
            Packing::Apart => data.room_bytes(),
        };
        next += own.next_multiple_of(ALIGN);
    }
    (offsets, size.next_multiple_of(ALIGN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_use_what_others_leave_free() {
        let tables = [10_000, 40_000].map(|n| Data::of(vec![1; n], Width::U8));
        assert_eq!(place(&tables, Packing::Shared), (vec![40_000, 0], 65_536));
        assert_eq!(place(&tables, Packing::Apart), (vec![0, 16_384], 81_920));
    }

    #[test]
    fn flags_move_to_the_highest_bit_of_the_width() {
        let data = Data::flagged(vec![5, FLAG | 3], 128);
        let mut bytes = [0; 4];
        data.write(&mut bytes);
        assert_eq!(bytes, [5, 0, 3, 0x80]);
    }
}
