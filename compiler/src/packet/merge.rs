//! The same points in fewer regions.

use super::{IntervalSet, Region, Values};

/// How often all dimensions are tried.
const ROUNDS: usize = 8;

/// The same points in fewer regions: those that differ in one dimension become one. The regions
/// do not overlap, before and behind.
pub fn merge(regions: Vec<Region>) -> Vec<Region> {
    let Some(pattern) = regions.first().cloned() else {
        return regions;
    };
    // The dimensions in which all are the same are left out meanwhile.
    let differs = |at: &usize| regions.iter().any(|r| r.dim(*at) != pattern.dim(*at));
    let dims: Vec<usize> = (0..pattern.dims().len()).filter(differs).collect();
    let small = regions.iter().map(|r| r.only(&dims)).collect();
    let merged = merge_all(small, dims.len());
    merged.iter().map(|r| pattern.with_only(&dims, r)).collect()
}

/// As [`merge`], in this many dimensions.
pub(super) fn merge_all(mut regions: Vec<Region>, dims: usize) -> Vec<Region> {
    for _ in 0..ROUNDS {
        let before = regions.len();
        // What is behind in the order of dimensions was cut last.
        for at in (0..dims).rev() {
            regions = along(regions, at);
        }
        if regions.len() == before {
            break;
        }
    }
    regions
}

/// Joins those that differ in this dimension only.
fn along(mut regions: Vec<Region>, at: usize) -> Vec<Region> {
    regions.sort_unstable_by(|a, b| others(a, at).cmp(others(b, at)));
    let groups = regions.chunk_by(|a, b| others(a, at).eq(others(b, at)));
    let joined = groups.filter_map(|group| match group {
        [one] => Some(one.clone()),
        [first, ..] => {
            let values = group.iter().filter_map(|r| r.dim(at));
            let ranges = values.flat_map(Values::ranges).collect();
            let values = Values::of(&IntervalSet::from_ranges(ranges))?;
            Some(first.with(at, values))
        }
        [] => None,
    });
    joined.collect()
}

/// A region without a dimension.
fn others(region: &Region, at: usize) -> impl Iterator<Item = &Values> {
    let dims = region.dims().iter().enumerate();
    dims.filter(move |(dim, _)| *dim != at)
        .map(|(_, values)| values)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::merge;
    use crate::packet::cover::{Budget, subtract};
    use crate::packet::{Region, Values};

    fn region(dims: [(u128, u128); 3]) -> Region {
        Region::new(dims.iter().map(|(a, n)| Values::Range(*a, a + n)).collect())
    }

    proptest! {
        #[test]
        fn merging_keeps_every_point_and_keeps_boxes_apart(
            list in prop::collection::vec(prop::array::uniform3((0u128..5, 0u128..3)), 1..8),
        ) {
            // Boxes that do not overlap.
            let all: Vec<Region> = list.into_iter().map(region).collect();
            let mut apart: Vec<Region> = Vec::new();
            for region in &all {
                let known: Vec<&Region> = apart.iter().collect();
                apart.extend(subtract(region, &known, &mut Budget::default()).unwrap());
            }
            let merged = merge(apart.clone());
            prop_assert!(merged.len() <= apart.len());
            for x in 0..8 { for y in 0..8 { for z in 0..8 {
                let point = [x, y, z];
                let times = |boxes: &[Region]| boxes.iter().filter(|r| r.contains(&point)).count();
                prop_assert_eq!(times(&apart), times(&merged));
            }}}
        }
    }
}
