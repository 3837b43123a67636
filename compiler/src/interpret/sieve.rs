//! A quick look at long lists: which rules a packet's protocol and addresses do not exclude.
//!
//! Of each rule it keeps the bounds of what its cubes ask, close together in memory, so that a
//! packet passes ten thousand rules in some microseconds. It excludes nothing that holds: the rules
//! that are left are asked in full.

use std::net::IpAddr;

use super::view::View;
use crate::ir::{Cube, Ir, Rule, Stage};
use crate::packet::interval::Int;
use crate::packet::{AddrSet, IntervalSet};

/// The bounds of the rules of some stages, for [`State::sieve`](super::State::sieve).
#[derive(Clone, Debug)]
pub struct Sieve {
    /// By stage, in the order of [`Stage::ALL`]; of each, IPv4 and IPv6.
    stages: Vec<[Vec<Bounds>; 2]>,
}

/// The smallest and the largest that a rule asks for; the smallest is larger when it asks for none.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    source: (u32, u32),
    dest: (u32, u32),
    protocol: (u8, u8),
}

impl Sieve {
    /// For the rules of a policy.
    pub fn new(ir: &Ir) -> Self {
        let stage = |stage: Stage| {
            [false, true].map(|v6| ir.stage(stage).iter().map(|r| Bounds::of(r, v6)).collect())
        };
        Self {
            stages: Stage::ALL.into_iter().map(stage).collect(),
        }
    }

    /// Whether the rule at this place of a stage may hold for a packet.
    pub(super) fn admits(&self, stage: Stage, index: usize, view: &View) -> bool {
        let Some([v4, v6]) = self.stages.get(stage as usize) else {
            return true;
        };
        let list = if view.saddr.is_ipv4() { v4 } else { v6 };
        list.get(index).is_none_or(|bounds| bounds.admit(view))
    }
}

impl Bounds {
    const NONE: Self = Self {
        source: (u32::MAX, 0),
        dest: (u32::MAX, 0),
        protocol: (u8::MAX, 0),
    };

    fn of(rule: &Rule, v6: bool) -> Self {
        let cubes = rule.cubes.iter().filter_map(|cube| Self::cube(cube, v6));
        cubes.fold(Self::NONE, |a, b| Self {
            source: around(a.source, b.source),
            dest: around(a.dest, b.dest),
            protocol: (
                a.protocol.0.min(b.protocol.0),
                a.protocol.1.max(b.protocol.1),
            ),
        })
    }

    /// `None` when no packet of the family is in the cube.
    fn cube(cube: &Cube, v6: bool) -> Option<Self> {
        let addresses = |set: &AddrSet| {
            if v6 {
                let (first, last) = bounds(&set.v6)?;
                Some((upper(first), upper(last)))
            } else {
                bounds(&set.v4)
            }
        };
        let (first, last) = bounds(&cube.proto)?;
        let number = |n: u64| u8::try_from(n).unwrap_or(u8::MAX);
        Some(Self {
            source: addresses(&cube.saddr)?,
            dest: addresses(&cube.daddr)?,
            protocol: (number(first), number(last)),
        })
    }

    fn admit(&self, view: &View) -> bool {
        let (source, dest) = (number(view.saddr), number(view.daddr));
        let within = |(first, last): (u32, u32), n: u32| first <= n && n <= last;
        let (first, last) = self.protocol;
        within(self.dest, dest)
            && within(self.source, source)
            && first <= view.packet.proto
            && view.packet.proto <= last
    }
}

fn bounds<T: Int>(set: &IntervalSet<T>) -> Option<(T, T)> {
    let ranges = set.ranges();
    Some((ranges.first()?.0, ranges.last()?.1))
}

fn around(a: (u32, u32), b: (u32, u32)) -> (u32, u32) {
    (a.0.min(b.0), a.1.max(b.1))
}

/// An address of 32 bits; of an IPv6 address the first ones.
fn number(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => upper(address.to_bits()),
    }
}

/// The first 32 bits.
fn upper(address: u128) -> u32 {
    u32::try_from(address >> 96).unwrap_or(u32::MAX)
}
