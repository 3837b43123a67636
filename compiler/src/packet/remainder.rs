//! What is left of a region behind many others.
//!
//! Regions cut another one where they begin and where they end. All numbers of a dimension between
//! two such places are in the same regions, so they need not be told apart: a stretch of them
//! counts as one, and is called by its rank. Where `10–99` is cut by `0–19` and `50–59`, the
//! stretches `10–19`, `20–49`, `50–59` and `60–99` have the ranks 0 to 3, and the second region
//! becomes `2–2`. Ranks are in the order of the numbers, and those of stretches that touch follow
//! each other, so ranges of ranks are cut and joined as ranges of numbers are; but they take less
//! memory, and less time to compare.
//!
//! The pieces are those of the search for a [`cover`](super::cover). What becomes of one depends on
//! nothing but itself, so once there are some, the processors share them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::cover::{Budget, OutOfBudget, Piece, Small};
use super::merge::merge_all;
use super::{Region, Values};

/// How many pieces there are before processors share them.
const SHARES: usize = 64;

/// The points of `target` that none of `regions` has, as regions that do not overlap and of which
/// few differ in one dimension only.
pub fn remainder(
    target: &Region,
    regions: &[&Region],
    budget: Budget,
) -> Result<Vec<Region>, OutOfBudget> {
    let search = Small::of(target, regions);
    let sets = |at: usize| search.regions.iter().filter_map(move |r| r.dim(at));
    let own = search.target.dims().iter().enumerate();
    let ranked = Ranked(own.map(|(at, whole)| Axis::of(whole, sets(at))).collect());
    let Some(whole) = ranked.ranks(&search.target) else {
        return Ok(vec![target.clone()]);
    };
    let cuts = search.regions.iter().filter_map(|r| ranked.ranks(r));
    let left = left(whole, &cuts.collect::<Vec<_>>(), budget)?;
    let merged = merge_all(left, search.dims.len());
    let numbers = merged.iter().map(|piece| ranked.numbers(piece));
    Ok(numbers
        .map(|piece| target.with_only(&search.dims, &piece))
        .collect())
}

/// The pieces of a region that are in none of the others.
fn left(
    target: Region<u32>,
    regions: &[Region<u32>],
    budget: Budget,
) -> Result<Vec<Region<u32>>, OutOfBudget> {
    let spent = AtomicU64::new(0);
    let cut = |piece: Piece<u32>, out: &mut Vec<Region<u32>>| {
        if spent.fetch_add(1, Ordering::Relaxed) >= budget.left() {
            return Err(OutOfBudget);
        }
        if let Some(cut) = piece.cut(regions) {
            return Ok(cut.outside);
        }
        out.push(piece.region);
        Ok(Vec::new())
    };
    let mut out = Vec::new();
    let mut open = VecDeque::from([Piece::whole(target, regions.len())]);
    while open.len() < SHARES
        && let Some(piece) = open.pop_front()
    {
        open.extend(cut(piece, &mut out)?);
    }
    let shares = open.into_par_iter().with_max_len(1).map(|piece| {
        let mut out = Vec::new();
        let mut open = vec![piece];
        while let Some(piece) = open.pop() {
            open.extend(cut(piece, &mut out)?);
        }
        Ok(out)
    });
    for share in shares.collect::<Result<Vec<_>, _>>()? {
        out.extend(share);
    }
    Ok(out)
}

/// The dimensions of some regions, each with its stretches.
struct Ranked(Vec<Axis>);

impl Ranked {
    /// A region in ranks: what of it is between the bounds of the target. `None` when that is
    /// nothing.
    fn ranks(&self, region: &Region) -> Option<Region<u32>> {
        let axes = self.0.iter().zip(region.dims());
        let dims: Option<Vec<_>> = axes.map(|(axis, values)| axis.ranks(values)).collect();
        dims.map(Region::new)
    }

    /// A region of ranks in numbers.
    fn numbers(&self, region: &Region<u32>) -> Region {
        let axes = self.0.iter().zip(region.dims());
        Region::new(
            axes.filter_map(|(axis, ranks)| axis.numbers(ranks))
                .collect(),
        )
    }
}

/// The stretches of one dimension.
struct Axis {
    /// Their first numbers, in order.
    firsts: Vec<u128>,
    /// The last number of the last one.
    last: u128,
}

impl Axis {
    /// The stretches of `whole`, and of what is between its ranges, that the sets make.
    fn of<'v>(whole: &'v Values, sets: impl Iterator<Item = &'v Values>) -> Self {
        let (first, last) = whole.bounds();
        let mut firsts = vec![first];
        for values in sets.chain([whole]) {
            values.each(|ranges| {
                for (a, b) in ranges {
                    firsts.push(*a);
                    firsts.extend(b.checked_add(1));
                }
            });
        }
        firsts.retain(|n| first <= *n && *n <= last);
        firsts.sort_unstable();
        firsts.dedup();
        Self { firsts, last }
    }

    /// The rank of the stretch that a number from the first one on is in.
    fn rank(&self, number: u128) -> u32 {
        let behind = self.firsts.partition_point(|first| *first <= number);
        u32::try_from(behind.saturating_sub(1)).unwrap_or(u32::MAX)
    }

    fn ranks(&self, values: &Values) -> Option<Values<u32>> {
        let first = self.firsts.first().copied()?;
        let inside = values.each(|ranges| {
            let ranges = ranges
                .iter()
                .filter(|(a, b)| *a <= self.last && first <= *b);
            ranges
                .map(|(a, b)| (self.rank(*a), self.rank(*b)))
                .collect()
        });
        Values::of_normal(inside)
    }

    fn numbers(&self, ranks: &Values<u32>) -> Option<Values> {
        let first = |rank: u32| self.firsts.get(usize::try_from(rank).ok()?).copied();
        let ranges = ranks.each(|ranges| {
            let numbers = ranges.iter().filter_map(|(a, b)| {
                let last = first(b.saturating_add(1)).map_or(self.last, |next| next - 1);
                Some((first(*a)?, last))
            });
            numbers.collect()
        });
        Values::of_normal(ranges)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::remainder;
    use crate::packet::cover::{Budget, OutOfBudget, subtract};
    use crate::packet::{Region, Values, merge};

    /// Numbers at both ends of the type and in the middle.
    const FAR: [u128; 3] = [0, 1 << 100, u128::MAX - 40];

    fn values() -> impl Strategy<Value = Values> {
        let range = (0usize..3, 0u128..30, 0u128..12);
        prop::collection::vec(range, 1..4).prop_map(|ranges| {
            let ranges = ranges.into_iter().map(|(far, a, n)| {
                let first = FAR[far] + a;
                Values::Range(first, first.saturating_add(n))
            });
            ranges.reduce(|a, b| a.union(&b)).unwrap()
        })
    }

    fn region() -> impl Strategy<Value = Region> {
        prop::collection::vec(values(), 3).prop_map(Region::new)
    }

    proptest! {
        #[test]
        fn ranks_are_cut_as_numbers_are(
            target in region(),
            regions in prop::collection::vec(region(), 0..24),
        ) {
            let all: Vec<&Region> = regions.iter().collect();
            let mut found = remainder(&target, &all, Budget::default()).unwrap();
            let pieces = subtract(&target, &all, &mut Budget::default()).unwrap();
            let mut merged = merge(pieces);
            found.sort_unstable();
            merged.sort_unstable();
            prop_assert_eq!(found, merged);
        }
    }

    #[test]
    fn a_search_past_its_budget_says_so_whoever_makes_it() {
        let all = Region::new(vec![Values::Range(0, 999); 3]);
        let holes: Vec<Region> = (0..100)
            .map(|n| Region::new(vec![Values::one(7 * n); 3]))
            .collect();
        let holes: Vec<&Region> = holes.iter().collect();
        let mut budget = Budget::default();
        subtract(&all, &holes, &mut budget).unwrap();
        let spent = Budget::default().left() - budget.left();
        assert!(remainder(&all, &holes, Budget::new(spent)).is_ok());
        let less = Budget::new(spent - 1);
        assert_eq!(remainder(&all, &holes, less), Err(OutOfBudget));
    }

    #[test]
    fn without_a_cut_all_or_nothing_is_left() {
        let all = Region::new(vec![Values::Range(5, 9); 2]);
        let apart = Region::new(vec![Values::one(0); 2]);
        let whole = remainder(&all, &[&apart], Budget::default());
        assert_eq!(whole, Ok(vec![all.clone()]));
        assert_eq!(remainder(&all, &[&all], Budget::default()), Ok(vec![]));
    }
}
