//! A direct table of the upper bits, and a search among the pieces of each of its entries: little
//! memory and quick to build, for sets too large for [`multibit`](super::multibit).
//!
//! The direct table has 2^18 entries for IPv4 and 2^20 for IPv6. With 192.0.2.0/24 as the only
//! member, entry 192.0.0.0/18 refers to a chunk with the keys 0x200 and 0x300, which are the lower
//! 14 bits of 192.0.2.0 and of the first address behind it; all other entries are the value 0.

use super::super::draft::{Draft, FLAG};
use super::super::partition::Partition;
use super::super::plan::{Slot, Step, Term};
use super::chunks::Chunks;
use super::cuts::Cuts;
use super::{Estimate, Order, Results, StageKind, Unfit, head, part};

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

pub(super) fn build(draft: &mut Draft, order: Order<'_>) -> Result<Slot, Unfit> {
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
    let root = draft.table(results.data(root));
    let chunks = chunks.place(draft, key_bits, tails.results, order.growth);
    let slot = draft.slot();
    let index = part(order.field, tails.shift + key_bits, root_bits);
    draft.push(Step::Load {
        to: slot,
        table: root,
        index: vec![Term::part(index)],
    });
    let key = part(order.field, tails.shift, key_bits);
    draft.push(chunks.step(slot, draft.flag(root), key));
    if let Some(values) = chunks.values {
        tails.follow(draft, order.field, slot, draft.flag(values));
    }
    Ok(slot)
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
