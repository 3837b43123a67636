//! A direct table of the upper bits, and a search among the pieces of each of its entries: little
//! memory and quick to build, for sets too large for [`multibit`](super::multibit).
//!
//! The direct table has 2^18 entries. With 192.0.2.0/24 as the only member, entry 192.0.0.0/18 refers
//! to a chunk with the keys 0x200 and 0x300, which are the lower 14 bits of 192.0.2.0 and of the first
//! address behind it; all other entries are the value 0. It is for IPv4: the networks of IPv6 are in
//! few places, and a table of upper bits that is not empty nearly everywhere would be too large.

use super::super::draft::{Draft, FLAG};
use super::super::partition::Partition;
use super::super::plan::{Slot, Step, Term};
use super::chunks::Chunks;
use super::cuts::{Cuts, Head};
use super::{Estimate, Order, Results, StageKind, Unfit, part};

/// How many upper bits index the direct table.
const ROOT_BITS: u8 = 18;

/// The widest field.
const WIDEST: u8 = 32;

pub(super) fn estimate(partition: &Partition) -> Estimate {
    let root = 1usize << ROOT_BITS;
    Estimate {
        kind: StageKind::Dxr,
        bytes: root * 4 + (partition.count() + root.min(partition.count())) * 4,
        reads: 6,
    }
}

pub(super) fn build(draft: &mut Draft, order: Order<'_>) -> Result<Slot, Unfit> {
    let bits = order.partition.bits();
    if !(ROOT_BITS + 1..=WIDEST).contains(&bits) {
        return Err(Unfit::Bits(bits));
    }
    let cuts = Head::of(order.partition).cuts;
    let values = Results {
        largest: order.largest,
        references: 0,
    };
    let key_bits = cuts.bits - ROOT_BITS;
    let (root, chunks) = fill(&cuts);
    let spare = super::super::draft::room(chunks.room(order.growth));
    let results = Results {
        references: u32::try_from(spare - 1).unwrap_or(FLAG - 1),
        ..values
    };
    let root = draft.table(results.data(root));
    let chunks = chunks.place(draft, key_bits, values, order.growth);
    let slot = draft.slot();
    let index = part(order.field, key_bits, ROOT_BITS);
    draft.push(Step::Load {
        to: slot,
        table: root,
        index: vec![Term::part(index)],
    });
    let key = part(order.field, 0, key_bits);
    draft.push(chunks.step(slot, draft.flag(root), key));
    Ok(slot)
}

/// The direct table and its chunks.
fn fill(cuts: &Cuts) -> (Vec<u32>, Chunks) {
    let shift = cuts.bits - ROOT_BITS;
    let low = (1u64 << shift) - 1;
    let mut root: Vec<u32> = Vec::with_capacity(1 << ROOT_BITS);
    let mut chunks = Chunks::default();
    let mut piece = 0;
    while root.len() < 1 << ROOT_BITS {
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
