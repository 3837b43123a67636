//! Changes of a table that is in use, as a few writes.
//!
//! Nothing that a reader may be looking at is changed, but for the one entry that leads to it: new
//! blocks and chunks are written behind those that there are, and then the entry of the first table
//! is made to lead to them. Readers see the old contents or the new ones. What is no longer led to
//! stays until the table is made anew, and so does what the new blocks took of the spare room: when
//! that is used up, [`NoRoom`] says so, and a table made anew takes the place of this one.
//!
//! For example, 192.0.2.7 leaves a set that has 192.0.2.0/24 in a multibit table. That is a block
//! of 256 entries for the last 8 bits, a copy of the block above it that leads to it, and entry
//! 192.0 of the root: three writes, of which the last one makes the difference. The writes before
//! them say how much room is used.

use std::collections::BTreeMap;

use super::super::draft::FLAG;
use super::super::eval::entry;
use super::super::plan::{Plan, Table, TableId};
use super::chunks::ChunkTables;

/// Bytes that take the place of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where they begin in the blob.
    pub offset: u32,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Why a table has to be made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The spare room of a table is used up.
    #[error("no spare room is left")]
    Full,
    /// More pieces come together than the program looks through.
    #[error("the steps do not reach so many pieces")]
    Deep,
    /// The value is larger than those that the table was made for.
    #[error("the entries are too narrow for the value {0}")]
    Value(u32),
    /// This kind of table is not changed in place.
    #[error("this kind of table is not changed in place")]
    Kind,
    /// The blob is not one of this table.
    #[error("the blob belongs to another table")]
    Foreign,
}

/// From the first number to the last, the value is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The first number.
    pub first: u128,
    /// The last number.
    pub last: u128,
    /// The value.
    pub value: u32,
}

/// Collects the writes of a change.
pub(in super::super) struct Patcher<'a> {
    plan: &'a Plan,
    blob: &'a [u8],
    /// The table that says how many entries each of the others uses.
    used: TableId,
    /// What has been written where.
    pending: BTreeMap<(TableId, u64), u64>,
    growth: BTreeMap<TableId, u64>,
    writes: Vec<Write>,
}

impl<'a> Patcher<'a> {
    pub(in super::super) fn new(plan: &'a Plan, blob: &'a [u8], used: TableId) -> Self {
        Self {
            plan,
            blob,
            used,
            pending: BTreeMap::new(),
            growth: BTreeMap::new(),
            writes: Vec::new(),
        }
    }

    /// The writes, in the order in which they have to be made.
    pub(in super::super) fn finish(mut self) -> Result<Vec<Write>, NoRoom> {
        let writes = std::mem::take(&mut self.writes);
        for (table, used) in std::mem::take(&mut self.growth) {
            self.write(self.used, table.0.into(), &[used])?;
        }
        self.writes.extend(writes);
        Ok(self.writes)
    }

    pub(super) fn table(&self, id: TableId) -> Result<&'a Table, NoRoom> {
        self.plan.table(id).ok_or(NoRoom::Foreign)
    }

    /// An entry as it is in the table.
    pub(super) fn read(&self, id: TableId, index: u64) -> Result<u64, NoRoom> {
        match self.pending.get(&(id, index)) {
            Some(entry) => Ok(*entry),
            None => entry(self.blob, self.table(id)?, index).ok_or(NoRoom::Foreign),
        }
    }

    /// Writes entries as they are in the table.
    pub(super) fn write(&mut self, id: TableId, at: u64, entries: &[u64]) -> Result<(), NoRoom> {
        let table = self.table(id)?;
        if at + entries.len() as u64 > u64::from(table.mask) + 1 {
            return Err(NoRoom::Full);
        }
        let size = table.width.bytes();
        let mut bytes = Vec::with_capacity(entries.len() * size as usize);
        for (index, entry) in (at..).zip(entries) {
            bytes.extend(entry.to_le_bytes().into_iter().take(size as usize));
            self.pending.insert((id, index), *entry);
        }
        let from = u32::try_from(at).map_err(|_| NoRoom::Full)? * size;
        self.writes.push(Write {
            offset: table.offset + from,
            bytes,
        });
        Ok(())
    }

    /// A result or a reference.
    pub(super) fn result(&self, id: TableId, index: u64) -> Result<u32, NoRoom> {
        let (entry, flag) = (self.read(id, index)?, self.table(id)?.width.flag());
        let value = u32::try_from(entry & !flag).map_err(|_| NoRoom::Foreign)?;
        Ok(if entry & flag == 0 {
            value
        } else {
            FLAG | value
        })
    }

    /// A result or a reference as it is in the table.
    pub(super) fn coded(&self, id: TableId, result: u32) -> Result<u64, NoRoom> {
        let flag = self.table(id)?.width.flag();
        let value = u64::from(result & !FLAG);
        if value >= flag {
            return Err(NoRoom::Value(result & !FLAG));
        }
        Ok(if result & FLAG == 0 {
            value
        } else {
            value | flag
        })
    }

    /// Writes results and references.
    pub(super) fn write_results(
        &mut self,
        id: TableId,
        at: u64,
        results: &[u32],
    ) -> Result<(), NoRoom> {
        let coded: Result<Vec<u64>, NoRoom> = results.iter().map(|r| self.coded(id, *r)).collect();
        self.write(id, at, &coded?)
    }

    /// Takes so many entries of the spare room, and returns the first.
    pub(super) fn take(&mut self, id: TableId, entries: u64) -> Result<u64, NoRoom> {
        let at = match self.growth.get(&id) {
            Some(used) => *used,
            None => self.read(self.used, id.0.into())?,
        };
        if at + entries > u64::from(self.table(id)?.mask) + 1 {
            return Err(NoRoom::Full);
        }
        self.growth.insert(id, at + entries);
        Ok(at)
    }
}

/// The pieces of a chunk, or of one result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pieces(Vec<(u64, u32)>);

impl Pieces {
    /// What a result or reference stands for.
    pub(super) fn of(
        patcher: &Patcher<'_>,
        tables: ChunkTables,
        result: u32,
    ) -> Result<Self, NoRoom> {
        if result & FLAG == 0 {
            return Ok(Self(vec![(0, result)]));
        }
        let base = u64::from(result & !FLAG);
        let count = patcher.read(tables.keys, base)? >> tables.low;
        let piece = |at: u64| {
            let key = patcher.read(tables.keys, base + at)?;
            let value = match tables.values {
                Some(values) => patcher.result(values, base + at)?,
                None => u32::try_from(key & ((1 << tables.low) - 1)).unwrap_or_default(),
            };
            Ok((if at == 0 { 0 } else { key >> tables.low }, value))
        };
        (0..=count).map(piece).collect::<Result<_, _>>().map(Self)
    }

    /// The value of a number.
    pub(super) fn at(&self, number: u64) -> u32 {
        let after = self.0.partition_point(|(start, _)| *start <= number);
        self.0
            .get(after.saturating_sub(1))
            .map_or(0, |piece| piece.1)
    }

    /// Gives a value to the numbers from `first` to `last`.
    pub(super) fn assign(&mut self, first: u64, last: u64, value: u32) {
        let after = last.checked_add(1).map(|next| (next, self.at(next)));
        let before = self.0.iter().copied().filter(|(start, _)| *start < first);
        let behind = self.0.iter().copied().filter(|(start, _)| *start > last);
        let mut pieces: Vec<(u64, u32)> = before.chain([(first, value)]).collect();
        pieces.extend(
            after
                .into_iter()
                .filter(|(next, _)| self.0.iter().all(|(start, _)| start != next)),
        );
        pieces.extend(behind);
        pieces.dedup_by_key(|(_, value)| *value);
        self.0 = pieces;
    }

    /// A result, or a reference to a chunk that is new.
    pub(super) fn place(
        &self,
        patcher: &mut Patcher<'_>,
        tables: ChunkTables,
    ) -> Result<u32, NoRoom> {
        if let [(_, value)] = self.0.as_slice() {
            return Ok(*value);
        }
        let count = self.0.len() as u64 - 1;
        if count >= 1 << tables.rounds {
            return Err(NoRoom::Deep);
        }
        let base = patcher.take(tables.keys, count + 1)?;
        let mut keys: Vec<u64> = self.0.iter().map(|(start, _)| *start).collect();
        if let Some(header) = keys.first_mut() {
            *header = count;
        }
        if let Some(values) = tables.values {
            let results: Vec<u32> = self.0.iter().map(|(_, value)| *value).collect();
            patcher.write_results(values, base, &results)?;
        } else {
            for (key, (_, value)) in keys.iter_mut().zip(&self.0) {
                if u64::from(*value) >= 1 << tables.low {
                    return Err(NoRoom::Value(*value));
                }
                *key = *key << tables.low | u64::from(*value);
            }
        }
        patcher.write(tables.keys, base, &keys)?;
        let base = u32::try_from(base).map_err(|_| NoRoom::Full)?;
        Ok(FLAG | base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_cut_and_joined() {
        let mut pieces = Pieces(vec![(0, 0), (10, 1), (20, 0)]);
        pieces.assign(12, 14, 0);
        assert_eq!(pieces.0, [(0, 0), (10, 1), (12, 0), (15, 1), (20, 0)]);
        pieces.assign(12, 14, 1);
        assert_eq!(pieces.0, [(0, 0), (10, 1), (20, 0)]);
        pieces.assign(20, 29, 1);
        assert_eq!(pieces.0, [(0, 0), (10, 1), (30, 0)]);
        pieces.assign(0, u64::MAX, 3);
        assert_eq!(pieces.0, [(0, 3)]);
    }
}
