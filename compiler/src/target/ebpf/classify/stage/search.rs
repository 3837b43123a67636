//! A search among all pieces of a field: few pieces, or so many that tables of blocks would be too
//! large.
//!
//! What is searched are the last numbers of all pieces but the last one, in order: the place of a piece
//! is how many of them are smaller than the number. For the mark 7 of 32 bits they are 6 and 7, and the
//! number 7 has place 1.
//!
//! So that few lines of the cache are read, they are a tree of [`NODE`]s without pointers. Its last
//! level has all of them; entry `i` of each level above is entry `16 * i` of the level below. With a
//! million networks of IPv6, two million pieces have six levels, of which the upper four are 70 KB: two
//! reads are far from the processor. Behind the entries of a level are some that are smaller than no
//! number.
//!
//! Where values are 0 and 1 in turn, as for the pieces of a set, the place says which, and there is no
//! table of values.

use super::super::draft::{Data, Draft, room};
use super::super::partition::Partition;
use super::super::plan::{NODE, Slot, Step, TableId, Width};
use super::cuts::Cuts;
use super::{Estimate, Growth, Order, StageKind, head, part};

/// How many entries tables have that may get others, at least.
const LEAST: usize = 4096;

pub(super) fn estimate(partition: &Partition) -> Estimate {
    let key = match partition.bits() {
        0..=32 => 4,
        _ => 8,
    };
    Estimate {
        kind: StageKind::Search,
        bytes: partition.count() * (key + 4),
        reads: rooms(partition.count()).len() + 1,
    }
}

pub(super) fn build(draft: &mut Draft, order: Order<'_>) -> Slot {
    let (cuts, tails) = head(draft, order);
    let in_turn = order.largest <= 1 && (0..).zip(&cuts.values).all(|(at, v)| at & 1 == *v);
    let levels = levels(draft, &cuts, order.growth);
    let values = (!in_turn).then(|| {
        let room = order.growth.room(cuts.values.len(), LEAST);
        draft.table(tails.results.data(cuts.values).with_room(room))
    });
    let slot = draft.slot();
    draft.push(Step::Tree {
        to: slot,
        levels,
        values,
        part: part(order.field, tails.shift, cuts.bits),
    });
    if let Some(values) = values {
        tails.follow(draft, order.field, slot, draft.flag(values));
    }
    slot
}

/// How many entries each level has room for, the last level first.
fn rooms(entries: usize) -> Vec<usize> {
    let whole = |room: &usize| (*room > NODE).then(|| room.div_ceil(NODE));
    std::iter::successors(Some(room(entries)), whole).collect()
}

/// The tables of all levels, the last level last.
fn levels(draft: &mut Draft, cuts: &Cuts, growth: Growth) -> Vec<TableId> {
    let max = u64::MAX >> (64 - u32::from(cuts.bits));
    // The first entry of a node is never compared. There is one behind all that are.
    let mut keys = vec![0];
    keys.extend(cuts.starts.iter().skip(1).map(|start| start - 1));
    keys.push(max);
    let mut tables = Vec::new();
    for room in rooms(growth.room(keys.len(), LEAST)) {
        keys.resize(keys.len().next_multiple_of(NODE.min(room)), max);
        let above = keys.iter().copied().step_by(NODE).collect();
        let keys = std::mem::replace(&mut keys, above);
        let data = match cuts.bits {
            0..=32 => Data::of(keys.iter().map(|key| narrow(*key)).collect(), Width::U32),
            _ => Data::wide(keys),
        };
        tables.push(draft.table(data.with_room(room)));
    }
    tables.reverse();
    tables
}

fn narrow(key: u64) -> u32 {
    u32::try_from(key).unwrap_or(u32::MAX)
}
