//! From points of a space to packets that the interpreter can judge.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Model;
use super::space::{Dim, V4};
use crate::field::{CT_DIRECTION, CT_MARK, CT_STATE, DPORT, Field, Header, SPORT, TCP_FLAGS};
use crate::interpret::{Packet, Place, Tokens};
use crate::ir::DynamicId;
use crate::packet::{Region, Values};

/// A packet, and the answers of buckets, dynamic sets and balancing that go with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The packet.
    pub packet: Packet,
    /// What each bucket of the policy has for it.
    pub within: Vec<Tokens>,
    /// Whether its key is in a dynamic set; with `true` its destination is looked up.
    pub members: BTreeMap<(DynamicId, bool), bool>,
    /// Which target each choice of the space falls on.
    pub choices: Vec<usize>,
}

impl Model<'_> {
    /// The packet at a point.
    pub fn witness(&self, point: &[u128]) -> Witness {
        let value = |dim: &Dim| {
            let at = self.space.at(dim);
            at.and_then(|at| point.get(at)).copied()
        };
        let number = |dim: &Dim| value(dim).unwrap_or(0);
        let family = number(&Dim::Family);
        let place = |dim: &Dim| match self.space.ifaces.name(number(dim)) {
            Some(name) => Place::Iface(name.into()),
            None => Place::Host,
        };
        let within = (0..self.ir.buckets.len()).map(|bucket| {
            let at = self.bucket(bucket);
            at.map_or(Tokens::Enough, |at| {
                self.tokens(bucket, number(&Dim::Tokens(at)))
            })
        });
        let mut members = BTreeMap::new();
        for (id, set) in self.ir.dynamic.iter().enumerate() {
            for dest in [false, true] {
                if let Some(answer) = value(&Dim::Member(self.space.dynamic_label(set), dest)) {
                    members.insert((id, dest), answer == 1);
                }
            }
        }
        let choices = (0..self.space.choices.len()).map(|at| {
            let choice = usize::try_from(number(&Dim::Choice(at)));
            choice.unwrap_or(0)
        });
        Witness {
            packet: Packet {
                ingress: place(&Dim::Ingress),
                egress: place(&Dim::Egress),
                detour: place(&Dim::Detour),
                saddr: address(number(&Dim::Source), family),
                daddr: address(number(&Dim::Destination), family),
                proto: u8::try_from(number(&Dim::Protocol)).unwrap_or(u8::MAX),
                fields: self.fields(&value),
                principals: self.principals(&value),
            },
            within: within.collect(),
            members,
            choices: choices.collect(),
        }
    }

    /// The fields that the packet has: those of headers that it has.
    fn fields(&self, value: &impl Fn(&Dim) -> Option<u128>) -> BTreeMap<Field, u64> {
        let protocol = u64::try_from(value(&Dim::Protocol).unwrap_or(0)).unwrap_or(0);
        let mut fields = BTreeMap::new();
        for dim in &self.space.dims {
            let Dim::Field(field) = dim else { continue };
            if [CT_STATE, CT_MARK, CT_DIRECTION].contains(field) {
                // What the flow lookup finds is no part of the packet.
                continue;
            }
            let def = field.def();
            let carried = def.protocols.is_empty() || def.protocols.contains(&protocol);
            let has = |header| value(&Dim::Header(header)).is_none_or(|v| v == 1);
            let present = match def.header {
                Header::Network => true,
                Header::Mss => has(Header::Transport) && has(Header::Mss),
                header => has(header),
            };
            if let (true, true, Some(number)) = (carried, present, value(dim)) {
                fields.insert(*field, u64::try_from(number).unwrap_or(u64::MAX));
            }
        }
        fields
    }

    fn principals(
        &self,
        value: &impl Fn(&Dim) -> Option<u128>,
    ) -> BTreeSet<(crate::ir::cube::PrincipalKind, String)> {
        use crate::ir::cube::PrincipalKind;
        let mut out = BTreeSet::new();
        for dim in &self.space.dims {
            let number = value(dim).unwrap_or(0);
            match dim {
                Dim::Cgroup(name) if number == 1 => {
                    out.insert((PrincipalKind::Cgroup, name.clone()));
                }
                Dim::Principal(kind) => {
                    let index = number.checked_sub(1).and_then(|n| usize::try_from(n).ok());
                    let names = self.space.principals.get(kind);
                    let name = index.and_then(|at| names.and_then(|n| n.get(at)));
                    out.extend(name.map(|name| (*kind, name.clone())));
                }
                _ => {}
            }
        }
        out
    }

    /// A point of a region that reads well: a plain packet as far as the region lets it.
    pub fn plain(&self, region: &Region) -> Vec<u128> {
        let protocol = pick(region, self.space.at(&Dim::Protocol), &PLAIN_PROTOCOLS);
        let family = self.space.family(region);
        let dims = self.space.dims.iter().enumerate();
        dims.map(|(at, dim)| {
            let plain: &[u128] = match dim {
                Dim::Protocol => &PLAIN_PROTOCOLS,
                Dim::Source if family == V4 => &[0xc633_6407, 0x0a00_0007, 0xc0a8_0107],
                Dim::Destination if family == V4 => &[0xcb00_7109, 0x0a01_0009, 0xc0a8_0209],
                Dim::Source => &[0x2001_0db8_0001 << 80 | 7, 0xfd00_0001 << 96 | 7],
                Dim::Destination => &[0x2001_0db8_0002 << 80 | 9, 0xfd00_0002 << 96 | 9],
                Dim::Ingress | Dim::Egress | Dim::Detour => &[],
                Dim::Header(Header::Transport) => &[1],
                Dim::Field(f) if *f == SPORT => &[40000, 50000],
                Dim::Field(f) if *f == DPORT => &[443, 80, 22, 53, 8080, 40001],
                Dim::Field(f) if *f == TCP_FLAGS => &[0x02, 0x10],
                Dim::Field(f) if f.name() == "ip.ttl" => &[64],
                Dim::Field(f) if f.name().ends_with("length") => &[100, 1000],
                Dim::Field(f) if f.name() == "icmp.type" && protocol == Some(58) => &[128],
                Dim::Field(f) if f.name() == "icmp.type" => &[8],
                _ => &[0],
            };
            let values = region.dim(at);
            if let (Dim::Tokens(_), Some(values)) = (dim, values) {
                // As many as there can be.
                return values.bounds().1;
            }
            let preferred = pick(region, Some(at), plain);
            preferred.or_else(|| values.map(inner)).unwrap_or(0)
        })
        .collect()
    }

    /// The packet of a region that reads well.
    pub fn example(&self, region: &Region) -> Witness {
        self.witness(&self.plain(region))
    }
}

/// TCP, UDP, ICMP of both families.
const PLAIN_PROTOCOLS: [u128; 4] = [6, 17, 1, 58];

/// The first of `plain` that the region has in a dimension.
fn pick(region: &Region, at: Option<usize>, plain: &[u128]) -> Option<u128> {
    let values = region.dim(at?)?;
    plain.iter().copied().find(|p| values.contains(*p))
}

/// A number of the set that is not at the end of a wide range: a network's own address looks odd.
fn inner(values: &Values) -> u128 {
    let (first, _) = values.bounds();
    let next = first.saturating_add(1);
    let wide = values.contains(next) && values.contains(next.saturating_add(1));
    if wide { next } else { first }
}

fn address(number: u128, family: u128) -> IpAddr {
    if family == V4 {
        IpAddr::V4(Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)))
    } else {
        IpAddr::V6(Ipv6Addr::from(number))
    }
}
