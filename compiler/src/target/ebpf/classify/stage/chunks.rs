//! Sorted keys in chunks, each searched by halves.
//!
//! The pieces `10–19 → 1`, `20–max → 0` behind a first result of 0 are a chunk of three entries:
//!
//! ```text
//! keys    2 (how many follow)   10   20
//! values  0 (below 10)           1    0
//! ```
//!
//! When a key and a value fit in 32 bits together, an entry has both, the key above the value, and
//! there is no second table.

use super::super::draft::{Data, Draft};
use super::super::plan::{Part, Slot, Step, TableId, Width};
use super::{Growth, Results};

/// Chunks, one behind the other.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Chunks {
    keys: Vec<u64>,
    values: Vec<u32>,
    largest: usize,
}

/// Where chunks are in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkTables {
    /// The keys.
    pub keys: TableId,
    /// How many lower bits of an entry are the value.
    pub low: u8,
    /// The values, when they have a table of their own.
    pub values: Option<TableId>,
    /// How many times a search halves a chunk.
    pub rounds: u8,
}

impl Chunks {
    /// Adds a chunk and returns where it begins.
    pub(in super::super) fn add(
        &mut self,
        first: u32,
        keys: impl IntoIterator<Item = (u64, u32)>,
    ) -> u32 {
        let base = self.keys.len();
        self.keys.push(0);
        self.values.push(first);
        for (key, value) in keys {
            self.keys.push(key);
            self.values.push(value);
        }
        let count = self.keys.len() - base - 1;
        if let Some(header) = self.keys.get_mut(base) {
            *header = count as u64;
        }
        self.largest = self.largest.max(count);
        u32::try_from(base).unwrap_or(u32::MAX)
    }

    /// How many keys the largest chunk has.
    pub(in super::super) fn largest(&self) -> usize {
        self.largest
    }

    /// How many entries they have room for.
    pub(super) fn room(&self, growth: Growth) -> usize {
        growth.room(self.keys.len(), 4096)
    }

    /// Adds the tables to a plan.
    pub(super) fn place(
        self,
        draft: &mut Draft,
        key_bits: u8,
        results: Results,
        growth: Growth,
    ) -> ChunkTables {
        let room = self.room(growth);
        let rounds = halvings(match growth {
            Growth::Fixed => self.largest,
            // Any chunk may become twice the largest one.
            Growth::Spare => self.largest.max(8) * 2,
        });
        let (low, narrow) = (results.bits(), |key: &u64| {
            u32::try_from(*key).unwrap_or(u32::MAX)
        });
        if key_bits + low <= 32 && results.references == 0 {
            let both = self.keys.iter().map(narrow).zip(&self.values);
            let entries = both.map(|(key, value)| key.unbounded_shl(low.into()) | value);
            let data = Data::of(entries.collect(), Width::U32);
            return ChunkTables {
                keys: draft.table(data.with_room(room)),
                low,
                values: None,
                rounds,
            };
        }
        let keys = match key_bits {
            0..=32 => Data::of(self.keys.iter().map(narrow).collect(), Width::U32),
            _ => Data::wide(self.keys),
        };
        let values = results.data(self.values);
        ChunkTables {
            keys: draft.table(keys.with_room(room)),
            low: 0,
            values: Some(draft.table(values.with_room(room))),
            rounds,
        }
    }
}

/// How many times a chunk with so many keys is halved.
pub(super) fn halvings(keys: usize) -> u8 {
    u8::try_from((keys + 1).next_power_of_two().trailing_zeros()).unwrap_or(64)
}

impl ChunkTables {
    /// The step that looks for a part in the chunk that a slot refers to.
    pub(super) fn step(self, slot: Slot, flag: u64, part: Part) -> Step {
        Step::Search {
            slot,
            flag,
            keys: self.keys,
            low: self.low,
            values: self.values,
            part,
            rounds: self.rounds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_halved_until_one_piece_is_left() {
        let halved = |mut len: usize| {
            let mut times = 0;
            while len > 1 {
                len -= len >> 1;
                times += 1;
            }
            times
        };
        for keys in 0..100 {
            assert_eq!(halvings(keys), halved(keys + 1), "{keys}");
        }
    }
}
