//! How many packets a set of boxes has.

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
