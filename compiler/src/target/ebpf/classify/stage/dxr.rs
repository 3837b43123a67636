//! A direct table of the upper bits, and a search among the pieces of each of its entries: little
//! memory and quick to build, for sets too large for [`multibit`](super::multibit).
//!
//! The direct table has 2^18 entries for IPv4 and 2^20 for IPv6. With 192.0.2.0/24 as the only
//! member, entry 192.0.0.0/18 refers to a chunk with the keys 0x200 and 0x300, which are the lower
//! 14 bits of 192.0.2.0 and of the first address behind it; all other entries are the value 0.

use super::super::draft::{Draft, FLAG};
use super::super::partition::Partition;
use super::super::plan::{Slot, Step, TableId, Term};
use super::chunks::{ChunkTables, Chunks};
use super::cuts::Cuts;
use super::patch::Pieces;
use super::{
    Change, Estimate, NoRoom, Order, Patcher, Results, StageKind, Tails, Unfit, head, part,
};

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The direct table.
    pub root: TableId,
    /// How many upper bits its index has.
    pub root_bits: u8,
    /// The chunks.
    pub chunks: ChunkTables,
    /// How many bits their keys have.
    pub key_bits: u8,
    /// The lower bits of wide fields.
    pub tails: Tails,
}

/// How many upper bits index the direct table.
fn root_bits(bits: u8) -> u8 {
    if bits <= 32 { 18 } else { 20 }
}

pub(super) fn estimate(partition: &Partition) -> Estimate {
    let root = 1usize << root_bits(partition.bits());
    let entry = if partition.bits() <= 32 { 4 } else { 12 };
    Estimate {
        kind: StageKind::Dxr,
        bytes: root * 4 + (partition.count() + root.min(partition.count())) * entry,
        reads: 6,
    }
}

pub(super) fn build(draft: &mut Draft, order: Order<'_>) -> Result<(Slot, super::Shape), Unfit> {
    let bits = order.partition.bits();
    let root_bits = root_bits(bits);
    if bits.min(64) <= root_bits || (65..=64 + root_bits).contains(&bits) {
        return Err(Unfit::Bits(bits));
    }
    let (cuts, tails) = head(draft, order);
    let key_bits = cuts.bits - root_bits;
    let (root, chunks) = fill(&cuts, root_bits);
    let spare = super::super::draft::room(chunks.room(order.growth));
    let results = Results {
        largest: order.largest,
        references: u32::try_from(spare - 1).unwrap_or(FLAG - 1),
    };
    let shape = Shape {
        root: draft.table(results.data(root)),
        root_bits,
        chunks: chunks.place(draft, key_bits, tails.results, order.growth),
        key_bits,
        tails,
    };
    let slot = draft.slot();
    let index = part(order.field, tails.shift + key_bits, root_bits);
    draft.push(Step::Load {
        to: slot,
        table: shape.root,
        index: vec![Term::part(index)],
    });
    let key = part(order.field, tails.shift, key_bits);
    draft.push(shape.chunks.step(slot, draft.flag(shape.root), key));
    if let Some(values) = shape.chunks.values {
        tails.follow(draft, order.field, slot, draft.flag(values));
    }
    Ok((slot, super::Shape::Dxr(shape)))
}

/// The direct table and its chunks.
fn fill(cuts: &Cuts, root_bits: u8) -> (Vec<u32>, Chunks) {
    let shift = cuts.bits - root_bits;
    let low = (1u64 << shift) - 1;
    let mut root: Vec<u32> = Vec::with_capacity(1 << root_bits);
    let mut chunks = Chunks::default();
    let mut piece = 0;
    while root.len() < 1 << root_bits {
        let end = (root.len() as u64) << shift | low;
        let value = cuts.value(piece);
        let last = cuts.last(piece);
        if last >= end {
            // One piece over one or more entries as a whole.
            let whole = (last >> shift) + u64::from(last & low == low);
            root.resize(usize::try_from(whole).unwrap_or_default(), value);
            piece += usize::from(last & low == low);
            continue;
        }
        let first = piece + 1;
        while cuts.last(piece) < end {
            piece += 1;
        }
        let inside = cuts.starts.iter().zip(&cuts.values);
        let inside = inside.skip(first).take(piece + 1 - first);
        let base = chunks.add(value, inside.map(|(start, value)| (start & low, *value)));
        root.push(FLAG | base);
        piece += usize::from(cuts.last(piece) == end);
    }
    (root, chunks)
}

impl Shape {
    pub(super) fn patch(&self, patcher: &mut Patcher<'_>, change: Change) -> Result<(), NoRoom> {
        let shift = self.tails.shift + self.key_bits;
        let number = |n: u128| u64::try_from(n).map_err(|_| NoRoom::Full);
        let (first, last) = (
            number(change.first >> shift)?,
            number(change.last >> shift)?,
        );
        let mut entries = Vec::new();
        for index in first..=last {
            let old = patcher.result(self.root, index)?;
            entries.push(self.entry(patcher, change, u128::from(index) << shift, old)?);
        }
        patcher.write_results(self.root, first, &entries)
    }

    /// What the entry of the direct table becomes that begins at `base`.
    fn entry(
        &self,
        patcher: &mut Patcher<'_>,
        change: Change,
        base: u128,
        old: u32,
    ) -> Result<u32, NoRoom> {
        let low = (1u128 << (self.tails.shift + self.key_bits)) - 1;
        let (first, last) = (change.first.max(base), change.last.min(base | low));
        if (first, last) == (base, base | low) {
            return Ok(change.value);
        }
        let mut pieces = Pieces::of(patcher, self.chunks, old)?;
        let before = pieces.clone();
        // What the ends leave over of the lower bits, and what is between them as a whole.
        let tail = (1u128 << self.tails.shift) - 1;
        let key = |number: u128| u64::try_from((number & low) >> self.tails.shift).unwrap_or(0);
        let (mut from, mut to) = (Some(key(first)), Some(key(last)));
        for (number, even) in [(first, first & tail == 0), (last, last & tail == tail)] {
            if !even {
                let old = pieces.at(key(number));
                let new = self.tails.patch(patcher, change, number & !tail, old)?;
                pieces.assign(key(number), key(number), new);
            }
        }
        if first & tail != 0 {
            from = from.and_then(|key| key.checked_add(1));
        }
        if last & tail != tail {
            to = to.and_then(|key| key.checked_sub(1));
        }
        if let (Some(from), Some(to)) = (from, to)
            && from <= to
        {
            pieces.assign(from, to, change.value);
        }
        if pieces == before {
            return Ok(old);
        }
        pieces.place(patcher, self.chunks)
    }
}
