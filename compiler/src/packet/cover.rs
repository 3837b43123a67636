//! Whether regions together cover another one, exactly.
//!
//! A depth-first search: take a piece, choose a region that meets it, go on with the parts of the
//! piece outside of the region, and the regions that meet those. A piece that none meets is not
//! covered, and the search ends with it as the proof. When no piece is left, the pieces that were
//! taken away, each inside of one region, are the proof of the opposite: a [`Certificate`], which
//! [`Certificate::holds`] checks without the search.
//!
//! For example, `10–19 × 1–9` under the regions `0–14 × 0–99`, `12–30 × 0–5` and `12–30 × 6–9`: the
//! first leaves `15–19 × 1–9`, the second leaves `15–19 × 6–9` of it, and the third nothing.
//!
//! The region chosen is the one that leaves the fewest parts: one that covers the piece ends it at
//! once, and one that cuts it in a single dimension leaves a single part.

use std::collections::BTreeSet;
use std::sync::Arc;

use num_bigint::BigUint;

use super::interval::Int;
use super::{Region, Values};

/// The most pieces that a search looks at before it gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(u64);

impl Budget {
    /// So many pieces.
    pub fn new(pieces: u64) -> Self {
        Self(pieces)
    }

    /// How many are left.
    pub fn left(self) -> u64 {
        self.0
    }

    /// Takes one; `false` when there is none left.
    pub fn spend(&mut self) -> bool {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self(200_000)
    }
}

/// The search went past its budget: nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many parts to look at")]
pub struct OutOfBudget;

/// What a search for a point outside came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cover {
    /// Every point is covered.
    Whole(Certificate),
    /// These points are not.
    Hole(Region),
}

/// Proof that regions cover another one: parts of it that do not overlap and are together as
/// large as it is, each with the index of the region that it is inside of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The parts.
    pub parts: Vec<(Region, usize)>,
}

impl Certificate {
    /// The regions that it needs, in order.
    pub fn used(&self) -> Vec<usize> {
        let mut used: Vec<usize> = self.parts.iter().map(|(_, by)| *by).collect();
        used.sort_unstable();
        used.dedup();
        used
    }

    /// Whether it proves that `regions` cover `target`: every part is inside of its region and of
    /// the target, no two overlap, and their sizes add up.
    pub fn holds(&self, target: &Region, regions: &[&Region]) -> bool {
        let inside = |(part, by): &(Region, usize)| {
            part.is_subset(target) && regions.get(*by).is_some_and(|r| part.is_subset(r))
        };
        let all = 0..target.dims().len();
        let sizes = self.parts.iter().map(|(part, _)| part.volume(all.clone()));
        self.parts.iter().all(inside)
            && self.apart()
            && sizes.sum::<BigUint>() == target.volume(all.clone())
    }
}

impl Certificate {
    /// Whether no two parts overlap. In their order along one dimension, each is compared with
    /// those that begin before it ends.
    fn apart(&self) -> bool {
        let dims = self.parts.first().map_or(0, |(part, _)| part.dims().len());
        let bounds = |part: &Region, dim| part.dim(dim).map_or((0, 0), Values::bounds);
        let different = |dim: &usize| {
            let starts = self.parts.iter().map(|(part, _)| bounds(part, *dim).0);
            starts.collect::<BTreeSet<u128>>().len()
        };
        let along = (0..dims).max_by_key(different).unwrap_or(0);
        let parts = self
            .parts
            .iter()
            .map(|(part, _)| (bounds(part, along), part));
        let mut parts: Vec<((u128, u128), &Region)> = parts.collect();
        parts.sort_unstable_by_key(|(bounds, _)| *bounds);
        parts.iter().enumerate().all(|(at, ((_, last), part))| {
            let behind = parts.iter().skip(at + 1);
            let mut near = behind.take_while(|((first, _), _)| first <= last);
            near.all(|(_, other)| !part.intersects(other))
        })
    }
}

/// A search without what makes no difference: regions that do not meet the target, and dimensions
/// in which none cuts it. Most regions of a large space ask about few dimensions.
pub(super) struct Small {
    /// The dimensions that are left.
    pub(super) dims: Vec<usize>,
    pub(super) target: Region,
    pub(super) regions: Vec<Region>,
    /// The place that each of the regions had.
    places: Vec<usize>,
}

impl Small {
    pub(super) fn of(target: &Region, regions: &[&Region]) -> Self {
        let numbered = regions.iter().copied().enumerate();
        let (places, meeting): (Vec<usize>, Vec<&Region>) =
            numbered.filter(|(_, r)| r.intersects(target)).unzip();
        let cut = |at: &usize| {
            let whole = target.dim(*at);
            meeting.iter().any(|r| match (whole, r.dim(*at)) {
                (Some(whole), Some(part)) => !whole.is_subset(part),
                _ => false,
            })
        };
        let dims: Vec<usize> = (0..target.dims().len()).filter(cut).collect();
        Self {
            target: target.only(&dims),
            regions: meeting.iter().map(|r| r.only(&dims)).collect(),
            dims,
            places,
        }
    }

    /// As [`walk`], with pieces of `whole`, from which this was made, and the regions' own places.
    fn walk(
        &self,
        whole: &Region,
        budget: &mut Budget,
        each: &mut impl FnMut(Region, Option<usize>) -> bool,
    ) -> Result<(), OutOfBudget> {
        walk(&self.target, &self.regions, budget, &mut |piece, by| {
            let place = by.and_then(|by| self.places.get(by).copied());
            each(whole.with_only(&self.dims, &piece), place)
        })
    }
}

/// Looks for points of `target` that none of `regions` has.
pub fn cover(
    target: &Region,
    regions: &[&Region],
    budget: &mut Budget,
) -> Result<Cover, OutOfBudget> {
    let mut certificate = Certificate::default();
    let mut hole = None;
    let search = Small::of(target, regions);
    search.walk(target, budget, &mut |piece, by| {
        if let Some(by) = by {
            certificate.parts.push((piece, by));
        } else {
            hole = Some(piece);
        }
        by.is_some()
    })?;
    Ok(hole.map_or(Cover::Whole(certificate), Cover::Hole))
}

/// The points of `target` that none of `regions` has, as regions that do not overlap.
pub fn subtract(
    target: &Region,
    regions: &[&Region],
    budget: &mut Budget,
) -> Result<Vec<Region>, OutOfBudget> {
    let mut out = Vec::new();
    let search = Small::of(target, regions);
    search.walk(target, budget, &mut |piece, by| {
        if by.is_none() {
            out.push(piece);
        }
        true
    })?;
    Ok(out)
}

/// The fewest of `regions` that the search can find to cover `target`: none of them can be left
/// out. `None` when all of them do not.
pub fn blockers(
    target: &Region,
    regions: &[&Region],
    budget: &mut Budget,
) -> Result<Option<Vec<usize>>, OutOfBudget> {
    let Cover::Whole(certificate) = cover(target, regions, budget)? else {
        return Ok(None);
    };
    let mut used = certificate.used();
    for candidate in used.clone() {
        let rest: Vec<usize> = used.iter().copied().filter(|u| *u != candidate).collect();
        let fewer: Vec<&Region> = rest
            .iter()
            .filter_map(|r| regions.get(*r).copied())
            .collect();
        if let Cover::Whole(_) = cover(target, &fewer, budget)? {
            used = rest;
        }
    }
    Ok(Some(used))
}

/// Cuts `target` along `regions` and hands each piece out: with the region that it is inside of,
/// or without one when it is in none. Ends when `each` says so.
fn walk(
    target: &Region,
    regions: &[Region],
    budget: &mut Budget,
    each: &mut impl FnMut(Region, Option<usize>) -> bool,
) -> Result<(), OutOfBudget> {
    let mut open = vec![Piece::whole(target.clone(), regions.len())];
    while let Some(piece) = open.pop() {
        if !budget.spend() {
            return Err(OutOfBudget);
        }
        let Some(cut) = piece.cut(regions) else {
            if !each(piece.region, None) {
                return Ok(());
            }
            continue;
        };
        let inside = regions
            .get(cut.by)
            .and_then(|by| piece.region.intersection(by));
        if inside.is_some_and(|inside| !each(inside, Some(cut.by))) {
            return Ok(());
        }
        open.extend(cut.outside);
    }
    Ok(())
}

/// A part of a region that is being cut.
pub(super) struct Piece<T> {
    pub(super) region: Region<T>,
    /// The places of the regions that may meet it.
    near: Arc<[usize]>,
}

/// What comes of cutting a piece along a region.
pub(super) struct Cut<T> {
    /// The place of the region.
    pub(super) by: usize,
    /// What is outside of it.
    pub(super) outside: Vec<Piece<T>>,
}

impl<T: Int> Piece<T> {
    /// All of a region, to be cut along so many others.
    pub(super) fn whole(region: Region<T>, regions: usize) -> Self {
        let near = (0..regions).collect();
        Self { region, near }
    }

    /// Cuts it along the region that leaves the fewest parts; `None` when none meets it.
    pub(super) fn cut(&self, regions: &[Region<T>]) -> Option<Cut<T>> {
        let mut live = Vec::with_capacity(self.near.len());
        let mut best: Option<(usize, usize, &Region<T>)> = None;
        for at in self.near.iter().copied() {
            let Some(region) = regions.get(at) else {
                continue;
            };
            let Some(cuts) = self.region.cuts_if_met(region) else {
                continue;
            };
            live.push(at);
            if best.is_none_or(|(fewest, ..)| cuts < fewest) {
                best = Some((cuts, at, region));
            }
            if cuts == 0 {
                break;
            }
        }
        let (_, by, region) = best?;
        live.retain(|at| *at != by);
        let near: Arc<[usize]> = live.into();
        let outside = self.region.difference(region).into_iter();
        let outside = outside.map(|region| Self {
            region,
            near: Arc::clone(&near),
        });
        Some(Cut {
            by,
            outside: outside.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Budget, Cover, OutOfBudget, blockers, cover, subtract};
    use crate::packet::{Region, Values};

    fn region(dims: &[(u128, u128)]) -> Region {
        Region::new(dims.iter().map(|(a, b)| Values::Range(*a, *b)).collect())
    }

    #[test]
    fn a_union_covers_what_none_of_its_parts_does() {
        let target = region(&[(10, 19), (1, 9)]);
        let parts = [
            region(&[(0, 14), (0, 99)]),
            region(&[(12, 30), (0, 5)]),
            region(&[(12, 30), (6, 9)]),
            region(&[(16, 17), (2, 3)]),
        ];
        let all: Vec<&Region> = parts.iter().collect();
        let mut budget = Budget::default();
        let found = blockers(&target, &all, &mut budget).unwrap();
        assert_eq!(found, Some(vec![0, 1, 2]));
        let hole = cover(&target, &all[1..], &mut budget).unwrap();
        let Cover::Hole(hole) = hole else {
            panic!("{hole:?}")
        };
        assert!(hole.is_subset(&target) && all[1..].iter().all(|r| !r.intersects(&hole)));
    }

    #[test]
    fn a_search_past_its_budget_says_so() {
        let target = region(&[(0, 99), (0, 99)]);
        let parts = [region(&[(1, 2), (1, 2)])];
        let all: Vec<&Region> = parts.iter().collect();
        assert_eq!(cover(&target, &all, &mut Budget::new(1)), Err(OutOfBudget));
    }

    #[test]
    fn a_wrong_certificate_does_not_hold() {
        let target = region(&[(0, 9), (0, 9)]);
        let parts = [region(&[(0, 4), (0, 9)]), region(&[(5, 9), (0, 9)])];
        let all: Vec<&Region> = parts.iter().collect();
        let Ok(Cover::Whole(good)) = cover(&target, &all, &mut Budget::default()) else {
            panic!()
        };
        assert!(good.holds(&target, &all));
        let mut less = good.clone();
        less.parts.pop();
        assert!(!less.holds(&target, &all));
        let mut twice = less.clone();
        twice.parts.extend(less.parts);
        assert!(!twice.holds(&target, &all));
        let mut wrong = good;
        for part in &mut wrong.parts {
            part.1 = 1 - part.1;
        }
        assert!(!wrong.holds(&target, &all));
    }

    fn small() -> impl Strategy<Value = Region> {
        let dim = prop::collection::vec((0u128..6, 0u128..4), 1..3).prop_map(|ranges| {
            let ranges = ranges.into_iter().map(|(a, n)| Values::Range(a, a + n));
            ranges.reduce(|a, b| a.union(&b)).unwrap()
        });
        prop::collection::vec(dim, 3).prop_map(Region::new)
    }

    fn points() -> impl Iterator<Item = [u128; 3]> {
        (0..10).flat_map(|a| (0..10).flat_map(move |b| (0..10).map(move |c| [a, b, c])))
    }

    proptest! {
        #[test]
        fn what_is_left_is_what_no_region_has(
            target in small(),
            regions in prop::collection::vec(small(), 0..8),
        ) {
            let all: Vec<&Region> = regions.iter().collect();
            let left = subtract(&target, &all, &mut Budget::default()).unwrap();
            let found = cover(&target, &all, &mut Budget::default()).unwrap();
            for point in points() {
                let outside = target.contains(&point) && !all.iter().any(|r| r.contains(&point));
                let times = left.iter().filter(|r| r.contains(&point)).count();
                prop_assert_eq!(times, usize::from(outside), "{:?}", point);
            }
            match found {
                Cover::Whole(proof) => {
                    prop_assert!(left.is_empty());
                    prop_assert!(proof.holds(&target, &all));
                    let used = blockers(&target, &all, &mut Budget::default()).unwrap().unwrap();
                    let some: Vec<&Region> = used.iter().map(|u| all[*u]).collect();
                    prop_assert!(subtract(&target, &some, &mut Budget::default()).unwrap().is_empty());
                }
                Cover::Hole(hole) => {
                    prop_assert!(hole.is_subset(&target));
                    prop_assert!(all.iter().all(|r| !r.intersects(&hole)));
                }
            }
        }
    }
}
