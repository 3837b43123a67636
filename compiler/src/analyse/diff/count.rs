//! How many packets a set of boxes has.

use num_bigint::BigUint;

use crate::analyse::model::{Dim, Space};
use crate::field::{DPORT, Header, ICMP, ICMP_CODE, ICMP_TYPE, ICMPV6, SPORT};
use crate::packet::cover::{Budget, subtract};
use crate::packet::{IntervalSet, Region, Values};

/// How many packets some boxes, which do not overlap, have together.
///
/// Packets are told apart by family, source, destination, protocol, and what the protocol has of
/// source port, destination port, ICMP type and ICMP code. Two that differ in nothing but the
/// interface, the flags, the state of a bucket or the like count once. Only whole packets count;
/// later fragments do not.
///
/// `None`: what is left of the boxes in these dimensions overlaps in too complicated a way.
pub(super) fn count<'r>(
    space: &Space,
    boxes: impl IntoIterator<Item = &'r Region>,
) -> Option<BigUint> {
    let whole = |region: &&Region| {
        let header = space.values(region, &Dim::Header(Header::Transport));
        header.is_none_or(|v| v.contains(1))
    };
    let boxes: Vec<&Region> = boxes.into_iter().filter(whole).collect();
    let mut total = BigUint::ZERO;
    let mut budget = Budget::new(300_000);
    for counted in Counted::kinds(space) {
        total += counted.count(&boxes, &mut budget)?;
    }
    Some(total)
}

/// What is counted of packets of some protocols.
struct Counted {
    protocol: usize,
    protocols: Option<Values>,
    /// The dimensions in which packets are told apart, without the protocol.
    dims: Vec<usize>,
}

impl Counted {
    /// With ports, with ICMP types, and of other protocols.
    fn kinds(space: &Space) -> [Self; 3] {
        let ports: IntervalSet<u64> = DPORT.def().protocols.iter().map(|p| (*p, *p)).collect();
        let icmp: IntervalSet<u64> = [(ICMP, ICMP), (ICMPV6, ICMPV6)].into_iter().collect();
        let others = IntervalSet::range(0, 255)
            .difference(&ports)
            .difference(&icmp);
        let of = |protocols: &IntervalSet<u64>, fields: &[Dim]| {
            let addresses = [Dim::Family, Dim::Source, Dim::Destination];
            let dims = addresses.iter().chain(fields);
            Self {
                protocol: space.at_fixed().protocol,
                protocols: Values::of(protocols),
                dims: dims.filter_map(|dim| space.at(dim)).collect(),
            }
        };
        [
            of(&ports, &[Dim::Field(SPORT), Dim::Field(DPORT)]),
            of(&icmp, &[Dim::Field(ICMP_TYPE), Dim::Field(ICMP_CODE)]),
            of(&others, &[]),
        ]
    }

    /// How many of them the boxes have.
    fn count(&self, boxes: &[&Region], budget: &mut Budget) -> Option<BigUint> {
        let mut parts: Vec<Region> = boxes.iter().filter_map(|r| self.project(r)).collect();
        let volume = |r: &Region| r.volume(0..r.dims().len());
        if self.keeps_apart(boxes) {
            return Some(parts.iter().map(volume).sum());
        }
        parts.sort_unstable();
        parts.dedup();
        // The large ones first: they cover the small ones.
        parts.sort_by_cached_key(|r| std::cmp::Reverse(volume(r)));
        let all: Vec<&Region> = parts.iter().collect();
        let mut total = BigUint::ZERO;
        for (at, region) in parts.iter().enumerate() {
            let before = all.get(..at).unwrap_or_default();
            for part in subtract(region, before, budget).ok()? {
                total += volume(&part);
            }
        }
        Some(total)
    }

    fn project(&self, region: &Region) -> Option<Region> {
        let own = region.dim(self.protocol)?;
        let mut dims = vec![own.intersection(self.protocols.as_ref()?)?];
        dims.extend(self.dims.iter().filter_map(|at| region.dim(*at)).cloned());
        Some(Region::new(dims))
    }

    /// Whether boxes that do not overlap do not overlap in the counted dimensions either, for they
    /// are the same in all others.
    fn keeps_apart(&self, boxes: &[&Region]) -> bool {
        let Some((first, rest)) = boxes.split_first() else {
            return true;
        };
        let counted = |at: &usize| *at == self.protocol || self.dims.contains(at);
        let mut others = (0..first.dims().len()).filter(|at| !counted(at));
        others.all(|at| rest.iter().all(|other| other.dim(at) == first.dim(at)))
    }
}
