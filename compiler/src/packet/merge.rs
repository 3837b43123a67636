//! The same points in fewer regions.

use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

use super::interval::Int;
use super::{Region, Values};

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

/// As [`merge`], in this many dimensions. The order of the regions makes no difference.
pub(super) fn merge_all<T: Int + Hash>(mut regions: Vec<Region<T>>, dims: usize) -> Vec<Region<T>> {
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
    regions.sort_unstable_by(|a, b| others(a, 0).cmp(others(b, 0)));
    regions
}

/// Joins those that differ in this dimension only.
fn along<T: Int + Hash>(regions: Vec<Region<T>>, at: usize) -> Vec<Region<T>> {
    // Those that are alike but for the dimension have the same hash: it brings them together.
    let hashed = regions.into_iter().map(|r| (hash(&r, at), r));
    let mut hashed: Vec<(u64, Region<T>)> = hashed.collect();
    hashed
        .sort_unstable_by(|(x, a), (y, b)| x.cmp(y).then_with(|| others(a, at).cmp(others(b, at))));
    let mut out = Vec::with_capacity(hashed.len());
    let mut hashed = hashed.into_iter().peekable();
    while let Some((own, mut region)) = hashed.next() {
        let mut ranges = Vec::new();
        let alike = |(hash, other): &(u64, Region<T>)| {
            *hash == own && others(other, at).eq(others(&region, at))
        };
        while let Some((_, other)) = hashed.next_if(alike) {
            ranges.extend(other.dim(at).map(Values::ranges).unwrap_or_default());
        }
        if !ranges.is_empty() {
            ranges.extend(region.dim(at).map(Values::ranges).unwrap_or_default());
            if let Some(values) = Values::of_any(ranges) {
                region.set(at, values);
            }
        }
        out.push(region);
    }
    out
}

/// A region without a dimension.
fn others<T: Int>(region: &Region<T>, at: usize) -> impl Iterator<Item = &Values<T>> {
    let dims = region.dims().iter().enumerate();
    dims.filter(move |(dim, _)| *dim != at)
        .map(|(_, values)| values)
}

fn hash<T: Int + Hash>(region: &Region<T>, at: usize) -> u64 {
    let mut hasher = FxHasher::default();
    others(region, at).for_each(|values| values.hash(&mut hasher));
    hasher.finish()
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
