//! A search among all pieces of a field: few pieces, or so many that tables of blocks would be too
//! large.
//!
//! What is searched are the last numbers of all pieces but the last one, in order: the place of a piece
//! is how many of them are smaller than the number. For the mark 7 of 32 bits they are 6 and 7, and the
//! number 7 has place 1.
//!
//! So that few lines of the cache are read, they are a tree of nodes without pointers. Its last level
//! has all of them, [`LEAF`] in a node; entry `i` of the level above is entry `16 * i` of it, and above
//! that are nodes of [`NODE`]. With a million networks of IPv6, two million pieces have seven levels, of
//! which the upper five are 150 KB: two reads are far from the processor. Behind the entries of a level
//! are some that are smaller than no number.
//!
//! Where values are 0 and 1 in turn, as for the pieces of a set, the place says which, and there is no
//! table of values.

use super::super::draft::{Data, Draft, room};
use super::super::partition::Partition;
use super::super::plan::{LEAF, NODE, Slot, Step, TableId, Width};
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
        reads: levels(partition.count()).count() + 1,
    }
}

pub(super) fn build(draft: &mut Draft, order: Order<'_>) -> Slot {
    let (cuts, tails) = head(draft, order);
    let in_turn = order.largest <= 1 && (0..).zip(&cuts.values).all(|(at, v)| at & 1 == *v);
    let levels = place(draft, &cuts, order.growth);
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

/// How many entries each level has room for, and how many of them are a node: the last level first.
fn levels(entries: usize) -> impl Iterator<Item = (usize, usize)> {
    let above = |(room, node): &(usize, usize)| (room > node).then(|| (room / node, NODE));
    std::iter::successors(Some((room(entries), LEAF)), above)
}

/// Adds the tables of all levels, and returns them with the last level last.
fn place(draft: &mut Draft, cuts: &Cuts, growth: Growth) -> Vec<TableId> {
    let mut max = u64::MAX >> (64 - u32::from(cuts.bits));
    // The first entry of a node is never compared. There is one behind all that are.
    let mut keys = vec![0];
    keys.extend(cuts.starts.iter().skip(1).map(|start| start - 1));
    keys.push(max);
    let mut lost = u32::from(cuts.bits == 64);
    let mut tables = Vec::new();
    for (room, node) in levels(growth.room(keys.len(), LEAST)) {
        keys.resize(keys.len().next_multiple_of(node.min(room)), max);
        let above = keys.iter().step_by(node).map(|key| key >> lost).collect();
        let keys = std::mem::replace(&mut keys, above);
        max >>= std::mem::take(&mut lost);
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

#[cfg(test)]
mod tests {
    use super::super::super::draft::Packing;
    use super::super::super::plan::Plan;
    use super::super::super::set::AddressTable;
    use super::*;
    use crate::packet::{IntervalSet, Values};

    fn of(bits: u8, ranges: impl IntoIterator<Item = (u128, u128)>) -> Partition {
        let set: IntervalSet<u128> = IntervalSet::from_ranges(ranges.into_iter().collect());
        Partition::of_sets(bits, &[&Values::of(&set).unwrap()])
    }

    /// The plan with tables that stay as they are, and with room for others.
    fn plans(partition: &Partition) -> [Plan; 2] {
        let mut draft = Draft::default();
        let order = Order {
            field: 0,
            partition,
            largest: partition.largest(),
            growth: Growth::Fixed,
        };
        let slot = build(&mut draft, order);
        draft.push(Step::Answer { slot });
        let fixed = draft.finish("search", Packing::Shared);
        let table = AddressTable::of_kind(StageKind::Search, partition, 1).unwrap();
        [fixed, table.plan().clone()]
    }

    /// Every number at a turn and beside it has its value, and so have the first and the last number.
    fn check(partition: &Partition) {
        let ends = partition.pieces().flat_map(|(first, last, _)| {
            [
                first,
                last,
                first + (last - first) / 2,
                last.saturating_sub(1),
            ]
        });
        let numbers: Vec<u128> = ends.chain([0, 1, partition.max()]).collect();
        for plan in plans(partition) {
            for number in &numbers {
                let found = plan.eval(&[*number]);
                assert_eq!(found, Some(partition.at(*number)), "{number:#x}");
            }
        }
    }

    #[test]
    fn nodes_that_are_full_and_one_more_or_less() {
        for bits in [20, 32, 48, 64, 128] {
            for members in [
                1, 2, 3, 7, 8, 9, 15, 16, 17, 63, 64, 65, 127, 128, 129, 1024,
            ] {
                let step = 1u128 << (bits - 12);
                check(&of(
                    bits,
                    (1..=members).map(|n| (n * step, n * step + step / 2)),
                ));
                // From 0 on, and up to the last number.
                let last = u128::MAX >> (128 - bits);
                let ends = [(0, 0), (last, last)];
                check(&of(
                    bits,
                    (1..=members).map(|n| (n * step, n * step)).chain(ends),
                ));
            }
        }
    }

    #[test]
    fn numbers_that_differ_in_the_last_of_64_bits() {
        for members in 1..70 {
            for (first, every) in [(0, 2), (1, 2), (1, 3), (u64::MAX - 210, 3)] {
                let host = |n: u64| u128::from(first + n * every);
                check(&of(64, (0..members).map(|n| (host(n), host(n)))));
                let network = |n: u64| (host(n) << 64, host(n) << 64 | u128::from(u64::MAX));
                check(&of(128, (0..members).map(network)));
            }
        }
    }

    #[test]
    fn each_level_has_room_for_the_nodes_of_the_one_above() {
        for entries in [1, 16, 17, 4096, 5000, 1 << 20, 3 << 20] {
            let levels: Vec<_> = levels(entries).collect();
            for pair in levels.windows(2) {
                assert_eq!(pair[0].0, pair[1].0 * pair[0].1, "{levels:?}");
            }
            assert!(levels.last().is_some_and(|(room, node)| room <= node));
        }
    }

    #[test]
    fn a_set_needs_no_values_and_others_do() {
        let values = |partition: &Partition| match plans(partition)[0].steps.first() {
            Some(Step::Tree { values, .. }) => values.is_some(),
            step => panic!("{step:?}"),
        };
        assert!(!values(&of(32, [(7, 7), (9, 12)])));
        assert!(values(&of(32, [(0, 7), (9, 12)])));
        assert!(values(&of(128, [(7, 7), (9, 12)])));
        assert!(!values(&of(128, [(1 << 64, (2 << 64) - 1)])));
    }
}
