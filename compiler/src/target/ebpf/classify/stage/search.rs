//! A search among all pieces of a field: few pieces, or wide numbers without structure.
//!
//! The mark 7 of 32 bits is one chunk: 2 keys, 7 and 8, with the values 1 and 0 behind a first 0.

use super::super::draft::{Draft, FLAG};
use super::super::partition::Partition;
use super::super::plan::{Slot, Step};
use super::chunks::{Chunks, halvings};
use super::{Estimate, Order, StageKind, head, part};

pub(super) fn estimate(partition: &Partition) -> Estimate {
    let key = match partition.bits() {
        0..=32 => 4,
        _ => 8,
    };
    Estimate {
        kind: StageKind::Search,
        bytes: partition.count() * (key + 4),
        reads: usize::from(halvings(partition.count())) + 1,
    }
}

pub(super) fn build(draft: &mut Draft, order: Order<'_>) -> Slot {
    let (cuts, tails) = head(draft, order);
    let pairs = cuts.starts.iter().copied().zip(cuts.values.iter().copied());
    let mut chunks = Chunks::default();
    chunks.add(cuts.value(0), pairs.skip(1));
    let tables = chunks.place(draft, cuts.bits, tails.results, order.growth);
    let (slot, flag) = (draft.slot(), u64::from(FLAG));
    // The only chunk begins at 0.
    draft.push(Step::Set {
        to: slot,
        value: FLAG,
    });
    draft.push(tables.step(slot, flag, part(order.field, tails.shift, cuts.bits)));
    let flag = tables.values.map_or(flag, |values| draft.flag(values));
    tails.follow(draft, order.field, slot, flag);
    slot
}
