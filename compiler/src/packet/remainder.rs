//! What is left of a region behind many others.
//!
//! Regions cut another one where they begin and where they end. All numbers of a dimension between
//! two such places are in the same regions, so they need not be told apart: a stretch of them
//! counts as one, and is called by its rank. Where `10–99` is cut by `0–19` and `50–59`, the
//! stretches `10–19`, `20–49`, `50–59` and `60–99` have the ranks 0 to 3, and the second region
//! becomes `2–2`. Ranks are in the order of the numbers, and those of stretches that touch follow
//! each other, so ranges of ranks are cut and joined as ranges of numbers are; but they take a
//! third of the memory, and comparing them takes one instruction each.
//!
//! What becomes of a piece depends on nothing but the piece. So once there are some, the processors
//! share them.

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
    let (Some(whole), cuts) = (
        ranked.ranks(&search.target),
        search.regions.iter().filter_map(|r| ranked.ranks(r)),
    ) else {
        return Ok(vec![target.clone()]);
    };
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
        Ok(match piece.cut(regions) {
            Some(cut) => cut.outside,
            None => {
                out.push(piece.region);
                Vec::new()
            }
        })
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
