//! Finds the regions that can meet another one, without looking at each.
//!
//! Each dimension is cut at some of the bounds of the regions. For every cut there is a set of
//! those that begin before it, and of those that end behind it. Regions that meet in all dimensions
//! are in the intersection of such sets, one machine word for 64 regions at a time.

use crate::packet::{Region, Values};

/// A set of rows.
type Bits = Vec<u64>;

/// The most cuts of a dimension.
const MOST_CUTS: usize = 255;

/// An index over regions, by their places in a list.
pub(super) struct Index {
    dims: Vec<Cuts>,
    len: usize,
}

struct Cuts {
    dim: usize,
    at: Vec<u128>,
    /// For each cut, the regions that begin before the next one.
    begun: Vec<Bits>,
    /// For each cut, the regions that end at it or behind it.
    unended: Vec<Bits>,
}

impl Index {
    pub(super) fn of(regions: &[&Region]) -> Self {
        let dims = regions.first().map_or(0, |r| r.dims().len());
        let cuts = (0..dims).filter_map(|dim| Cuts::of(regions, dim));
        Self {
            dims: cuts.collect(),
            len: regions.len(),
        }
    }

    /// The places from `first` up to `end` of regions that may meet `region`, in order.
    pub(super) fn near(&self, region: &Region, first: usize, end: usize) -> Vec<usize> {
        let words = self.len.div_ceil(64);
        let (from, to) = (first / 64, end.div_ceil(64).min(words));
        let mut found: Bits = vec![u64::MAX; to.saturating_sub(from)];
        for cuts in &self.dims {
            for set in cuts.sets(region) {
                let words = set.iter().skip(from);
                for (word, other) in found.iter_mut().zip(words) {
                    *word &= other;
                }
            }
        }
        let mut out = Vec::new();
        for (at, mut word) in (from..).zip(found) {
            while word != 0 {
                let place = at * 64 + word.trailing_zeros() as usize;
                if (first..end).contains(&place) {
                    out.push(place);
                }
                word &= word - 1;
            }
        }
        out
    }
}

impl Cuts {
    /// `None` when all regions have the same bounds.
    fn of(regions: &[&Region], dim: usize) -> Option<Self> {
        let bounds = regions.iter().filter_map(|r| r.dim(dim));
        let bounds: Vec<(u128, u128)> = bounds.map(Values::bounds).collect();
        let first = bounds.first()?;
        if bounds.iter().all(|b| b == first) {
            return None;
        }
        let mut ends: Vec<u128> = bounds.iter().flat_map(|(a, b)| [*a, *b]).collect();
        ends.sort_unstable();
        ends.dedup();
        let step = ends.len().div_ceil(MOST_CUTS).max(1);
        let at: Vec<u128> = ends.into_iter().step_by(step).collect();
        let mut cuts = Self {
            dim,
            begun: vec![vec![0; bounds.len().div_ceil(64)]; at.len() + 1],
            unended: vec![vec![0; bounds.len().div_ceil(64)]; at.len() + 1],
            at,
        };
        for (place, (first, last)) in bounds.iter().enumerate() {
            let (first, last) = (cuts.cell(*first), cuts.cell(*last));
            set(&mut cuts.begun, first, place);
            set(&mut cuts.unended, last, place);
        }
        spread(cuts.begun.iter_mut());
        spread(cuts.unended.iter_mut().rev());
        Some(cuts)
    }

    /// Between which cuts a number is.
    fn cell(&self, number: u128) -> usize {
        self.at.partition_point(|cut| *cut <= number)
    }

    fn sets<'s>(&'s self, region: &Region) -> impl Iterator<Item = &'s Bits> {
        let bounds = region.dim(self.dim).map(Values::bounds);
        let bounds = bounds.map(|(first, last)| (self.cell(first), self.cell(last)));
        let begun = bounds.and_then(|(_, last)| self.begun.get(last));
        let unended = bounds.and_then(|(first, _)| self.unended.get(first));
        begun.into_iter().chain(unended)
    }
}

fn set(sets: &mut [Bits], cell: usize, place: usize) {
    let word = sets.get_mut(cell).and_then(|bits| bits.get_mut(place / 64));
    if let Some(word) = word {
        *word |= 1 << (place % 64);
    }
}

/// Adds to each set those before it.
fn spread<'s>(sets: impl Iterator<Item = &'s mut Bits>) {
    let mut before: Option<&Bits> = None;
    for set in sets {
        if let Some(before) = before {
            for (word, other) in set.iter_mut().zip(before) {
                *word |= other;
            }
        }
        before = Some(set);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Index;
    use crate::packet::{Region, Values};

    fn regions() -> impl Strategy<Value = Vec<Region>> {
        let dim = (0u128..2000, 0u128..300).prop_map(|(a, n)| Values::Range(a, a + n));
        let region = prop::collection::vec(dim, 3).prop_map(Region::new);
        prop::collection::vec(region, 1..300)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn nothing_that_meets_is_overlooked(regions in regions(), split in 0usize..300) {
            let all: Vec<&Region> = regions.iter().collect();
            let index = Index::of(&all);
            let split = split.min(all.len());
            for region in regions.iter().take(20) {
                let mut near = index.near(region, 0, split);
                prop_assert!(near.iter().all(|n| *n < split));
                near.extend(index.near(region, split, all.len()));
                prop_assert!(near.is_sorted());
                for (place, other) in all.iter().enumerate() {
                    prop_assert!(!other.intersects(region) || near.contains(&place));
                }
            }
        }
    }
}
