//! An entry for every number: ports, with a number for none, and everything narrower.
//!
//! A protocol that is 6, of 8 bits, is 256 entries of one byte, of which entry 6 is 1.

use super::super::draft::{Data, Draft};
use super::super::partition::Partition;
use super::super::plan::{Slot, Step, Term, Width};
use super::{Estimate, Order, StageKind, Unfit, part};

/// The widest field: a port, and one more number for packets without ports.
pub(super) const WIDEST: u8 = 17;

pub(super) fn estimate(bits: u8, partition: &Partition) -> Estimate {
    let width = Width::holding(partition.largest().into());
    Estimate {
        kind: StageKind::Array,
        bytes: (1 << bits.min(WIDEST)) * width.bytes() as usize,
        reads: 1,
    }
}

pub(super) fn build(draft: &mut Draft, order: Order<'_>) -> Result<Slot, Unfit> {
    let bits = order.partition.bits();
    if bits > WIDEST {
        return Err(Unfit::Bits(bits));
    }
    let mut entries = Vec::with_capacity(1 << bits);
    for (first, last, value) in order.partition.pieces() {
        let count = usize::try_from(last - first + 1).unwrap_or_default();
        entries.resize(entries.len() + count, value);
    }
    let width = Width::holding(order.largest.into());
    let (table, to) = (draft.table(Data::of(entries, width)), draft.slot());
    let index = vec![Term::part(part(order.field, 0, bits))];
    draft.push(Step::Load { to, table, index });
    Ok(to)
}
