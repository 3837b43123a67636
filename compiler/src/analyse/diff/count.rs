//! How many packets a set of boxes has, and boxes that people can read.

use std::collections::BTreeMap;

use num_bigint::BigUint;

use crate::analyse::model::{Dim, Space};
use crate::field::{DPORT, Header, ICMP, ICMP_CODE, ICMP_TYPE, ICMPV6, SPORT};
use crate::packet::cover::{Budget, subtract};
use crate::packet::{IntervalSet, Region, Values};

/// How many packets some boxes have together.
///
/// Packets are told apart by family, source, destination, protocol, and what the protocol has of
/// source port, destination port, ICMP type and ICMP code. Two that differ in nothing but the
/// interface, the flags, the state of a bucket or the like count once. Only whole packets count;
/// later fragments do not.
///
/// `None`: the boxes overlap in too complicated a way.
pub(super) fn count<'r>(
    space: &Space,
    boxes: impl IntoIterator<Item = &'r Region>,
) -> Option<BigUint> {
    let mut kinds: [Vec<Region>; 3] = [vec![], vec![], vec![]];
    for region in boxes {
        for (kind, part) in kinds.iter_mut().zip(project(space, region)) {
            kind.extend(part);
        }
    }
    let mut total = BigUint::ZERO;
    let mut budget = Budget::new(300_000);
    for mut kind in kinds {
        kind.sort_unstable();
        kind.dedup();
        // The large ones first: they cover the small ones.
        kind.sort_by_cached_key(|r| std::cmp::Reverse(r.volume(0..r.dims().len())));
        let all: Vec<&Region> = kind.iter().collect();
        for (at, region) in kind.iter().enumerate() {
            let before = all.get(..at).unwrap_or_default();
            for part in subtract(region, before, &mut budget).ok()? {
                total += part.volume(0..part.dims().len());
            }
        }
    }
    Some(total)
}

/// What is counted of a box: with ports, with ICMP types, and of other protocols.
fn project(space: &Space, region: &Region) -> [Option<Region>; 3] {
    let whole = space.values(region, &Dim::Header(Header::Transport));
    if whole.is_some_and(|v| !v.contains(1)) {
        return [None, None, None];
    }
    let ports: IntervalSet<u64> = DPORT.def().protocols.iter().map(|p| (*p, *p)).collect();
    let icmp: IntervalSet<u64> = [(ICMP, ICMP), (ICMPV6, ICMPV6)].into_iter().collect();
    let others = IntervalSet::range(0, 255)
        .difference(&ports)
        .difference(&icmp);
    let with = |protocols: &IntervalSet<u64>, fields: &[Dim]| {
        let own = Values::of(protocols)?;
        let protocol = space.values(region, &Dim::Protocol)?.intersection(&own)?;
        let mut dims = vec![protocol];
        for dim in [Dim::Family, Dim::Source, Dim::Destination]
            .iter()
            .chain(fields)
        {
            dims.push(space.values(region, dim)?.clone());
        }
        Some(Region::new(dims))
    };
    [
        with(&ports, &[Dim::Field(SPORT), Dim::Field(DPORT)]),
        with(&icmp, &[Dim::Field(ICMP_TYPE), Dim::Field(ICMP_CODE)]),
        with(&others, &[]),
    ]
}

/// The same points in fewer boxes: two that differ in one dimension become one.
pub(super) fn merge(mut boxes: Vec<Region>) -> Vec<Region> {
    const ROUNDS: usize = 8;
    let Some(whole) = boxes.first().cloned() else {
        return boxes;
    };
    // The dimensions in which all are the same are left out meanwhile.
    let differs = |at: &usize| boxes.iter().any(|r| r.dim(*at) != whole.dim(*at));
    let dims: Vec<usize> = (0..whole.dims().len()).filter(differs).collect();
    boxes = boxes.iter().map(|r| r.only(&dims)).collect();
    for _ in 0..ROUNDS {
        let before = boxes.len();
        // What is behind in the order of dimensions was cut last.
        for at in (0..dims.len()).rev() {
            let mut groups: BTreeMap<Region, Values> = BTreeMap::new();
            for region in boxes {
                let Some(own) = region.dim(at).cloned() else {
                    continue;
                };
                let key = region.with(at, Values::one(0));
                groups
                    .entry(key)
                    .and_modify(|known| *known = known.union(&own))
                    .or_insert(own);
            }
            boxes = groups
                .into_iter()
                .map(|(key, values)| key.with(at, values))
                .collect();
        }
        if boxes.len() == before {
            break;
        }
    }
    boxes.iter().map(|r| whole.with_only(&dims, r)).collect()
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
