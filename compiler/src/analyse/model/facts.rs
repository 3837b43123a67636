//! What the language says of packets before any rule does, as sets of packets.

use super::Model;
use super::ifaces::HOST;
use super::space::Dim;
use super::view::{View, names_loopback};
use super::ways::groups;
use crate::field::{DPORT, ICMP, ICMP_CODE, ICMP_TYPE, ICMPV6, TCP, TCP_FLAGS, UDP};
use crate::ir::{Cube, Proxy, Side, Stage};
use crate::packet::cover::{Budget, OutOfBudget, subtract};
use crate::packet::{AddrSet, Families, IfaceSet, IntervalSet, Region, Values};

const FIN: u64 = 0x01;
const SYN: u64 = 0x02;
const RST: u64 = 0x04;
const PSH: u64 = 0x08;
const ACK: u64 = 0x10;
const URG: u64 = 0x20;
const ECN: u64 = 0xc0;

impl Model<'_> {
    /// Neighbour discovery and packet-too-big, unless the policy is strict about them.
    pub fn unconditional_icmp(&self, stage: Stage) -> Vec<Region> {
        if self.ir.strict_icmp {
            return Vec::new();
        }
        let regions = self.wherever(&unconditional_icmp());
        if stage != Stage::Guard {
            return regions;
        }
        let lo = Values::one(self.space.ifaces.loopback());
        let but_lo = self.space.ifaces.every().difference(&lo);
        let narrowed = |r: &Region| self.space.narrowed(r, &Dim::Ingress, but_lo.as_ref()?);
        regions.iter().filter_map(narrowed).collect()
    }

    /// Packets that belong to no flow whatever happens: neighbour, multicast listener and multicast
    /// router discovery.
    pub fn never_tracked(&self) -> Vec<Region> {
        let types = [(130, 136), (143, 143), (151, 151)].into_iter().collect();
        let v6 = Cube::any().with_families(Families::V6);
        let cube = v6.with_proto(&IntervalSet::one(ICMPV6));
        self.wherever(&[cube.with_field(ICMP_TYPE, &types)])
    }

    /// Packets that can open no flow, being answers, errors or nonsense, and are denied for it.
    /// They are judged all the same in sections without flow lookup.
    pub fn cannot_open(&self) -> Result<Vec<Region>, OutOfBudget> {
        let opens = |flags: u64| {
            let bits = flags & !(ECN | PSH);
            [SYN, SYN | URG, ACK, ACK | URG].contains(&bits)
        };
        let icmp = |families, protocol, questions: &[u64]| {
            let questions: IntervalSet<u64> = questions.iter().map(|q| (*q, *q)).collect();
            let types = ICMP_TYPE.all().difference(&questions);
            let cube = Cube::any()
                .with_families(families)
                .with_proto(&IntervalSet::one(protocol));
            cube.with_field(ICMP_TYPE, &types)
        };
        let v4 = icmp(Families::V4, ICMP, &[8, 13, 15, 17]);
        let untracked: Vec<u64> = (130..=136).chain([128, 139, 143, 151]).collect();
        let v6 = icmp(Families::V6, ICMPV6, &untracked);
        let group = Cube {
            daddr: group_addresses(),
            ..Cube::any()
        };
        // A connection has one receiver.
        let group = group.with_proto(&IntervalSet::one(TCP));
        let closed = self.wherever(&[tcp(|flags| !opens(flags)), group, v4, v6]);
        let unconditional = self.unconditional_icmp(Stage::Steer);
        let stateless = self.stateless();
        but(closed, unconditional.iter().chain(&stateless))
    }

    /// TCP packets that open no flow under `strict tcp`, and are denied for it.
    pub fn not_syn(&self) -> Result<Vec<Region>, OutOfBudget> {
        let mut touched = Vec::new();
        for region in self.no_syn() {
            for part in self.touched() {
                touched.extend(region.intersection(&part));
            }
        }
        let stateless = self.stateless();
        but(touched, stateless.iter())
    }

    /// TCP packets that `strict tcp` lets open no flow: when steer admits them, they are denied
    /// wherever they go.
    pub fn no_syn(&self) -> Vec<Region> {
        if !self.ir.strict_tcp {
            return Vec::new();
        }
        self.wherever(&[tcp(|flags| flags & (FIN | SYN | RST | ACK) != SYN)])
    }

    /// Packets of directions that the policy is about: filter governs them, or they arrive and
    /// there are rules that steer what arrives.
    pub(super) fn touched(&self) -> Vec<Region> {
        let any = Side::ifaces(IfaceSet::not_loopback());
        let governs = self.ir.governs;
        let steers = !self.ir.steer.is_empty();
        let lo = Side::ifaces(IfaceSet::of([crate::packet::Pattern::Name(
            "lo".to_owned(),
        )]));
        let rules = self.ir.filter.iter().flat_map(|r| &r.cubes);
        let names = |arriving: bool| {
            rules.clone().any(|c| {
                let (own, other) = if arriving {
                    (&c.ingress, &c.egress)
                } else {
                    (&c.egress, &c.ingress)
                };
                other.host && names_loopback(own)
            })
        };
        let directions = [
            (governs.input || steers, any.clone(), Side::host()),
            (governs.forward || steers, any.clone(), any.clone()),
            (governs.output, Side::host(), any),
            (names(true), lo.clone(), Side::host()),
            (names(false), Side::host(), lo),
        ];
        let cubes = directions.into_iter().filter(|(wanted, ..)| *wanted);
        let cubes: Vec<Cube> = cubes
            .map(|(_, ingress, egress)| Cube {
                ingress,
                egress,
                ..Cube::any()
            })
            .collect();
        self.regions(&cubes, View::of(Stage::Filter))
    }

    /// Packets that are judged one by one, without flow lookup.
    pub(super) fn stateless(&self) -> Vec<Region> {
        let blocks = self.ir.blocks.iter();
        let sections = blocks.filter(|b| b.stateless && b.stage == Stage::Filter);
        sections
            .flat_map(|b| self.regions(&b.scope, View::of(Stage::Filter)))
            .collect()
    }

    /// What arrives for a proxy's own socket, which takes only what steer gives it.
    pub(super) fn proxy_sockets(&self) -> Vec<Region> {
        let cubes: Vec<Cube> = self.ir.proxies.iter().flat_map(sockets).collect();
        self.regions(&cubes, View::of(Stage::Steer))
    }

    /// The packets that cubes mean wherever they come from and go to, loopback traffic too.
    pub(super) fn wherever(&self, cubes: &[Cube]) -> Vec<Region> {
        let (tables, view) = (self.tables(), View::of(Stage::Guard));
        cubes
            .iter()
            .flat_map(|c| tables.wherever(c, view))
            .collect()
    }

    /// The part of a region that is for one other machine: what a proxy takes, unless its rule says
    /// `to host`.
    pub fn away(&self, region: &Region) -> Option<Region> {
        let (ifaces, at) = (&self.space.ifaces, self.space.at_fixed());
        let local = Values::one(HOST).union(&Values::one(ifaces.loopback()));
        let elsewhere = region.dim(at.egress)?.difference(&local)?;
        let single = region
            .dim(at.destination)?
            .difference(&groups(self.space.family(region)))?;
        Some(
            region
                .with(at.egress, elsewhere)
                .with(at.destination, single),
        )
    }
}

/// The parts of regions that are in none of the others.
fn but<'r>(
    regions: Vec<Region>,
    other: impl Iterator<Item = &'r Region>,
) -> Result<Vec<Region>, OutOfBudget> {
    let other: Vec<&Region> = other.collect();
    let mut out = Vec::new();
    for region in regions {
        out.extend(subtract(&region, &other, &mut Budget::default())?);
    }
    Ok(out)
}

/// TCP packets whose flags are like that.
fn tcp(flags: impl Fn(u64) -> bool) -> Cube {
    let all = 0..=TCP_FLAGS.largest();
    let set = all.filter(|f| flags(*f)).map(|f| (f, f)).collect();
    Cube::any()
        .with_proto(&IntervalSet::one(TCP))
        .with_field(TCP_FLAGS, &set)
}

/// What is addressed to the sockets of a proxy.
fn sockets(proxy: &Proxy) -> Vec<Cube> {
    let tcp = proxy.tcp.then_some((TCP, TCP));
    let protocols = tcp
        .into_iter()
        .chain(proxy.udp.then_some((UDP, UDP)))
        .collect();
    let v4 = proxy.v4.map(|(a, port)| (std::net::IpAddr::from(a), port));
    let v6 = proxy.v6.map(|(a, port)| (std::net::IpAddr::from(a), port));
    let sockets = v4
        .into_iter()
        .chain(v6)
        .filter(|(addr, _)| !addr.is_loopback());
    sockets
        .map(|(addr, port)| {
            let here = addr.is_unspecified();
            let families = AddrSet::one(addr).families();
            Cube {
                ingress: Side::ifaces(IfaceSet::not_loopback()),
                egress: if here { Side::host() } else { Side::any() },
                daddr: if here {
                    AddrSet::full()
                } else {
                    AddrSet::one(addr)
                },
                ..Cube::any()
            }
            .with_families(families)
            .with_proto(&protocols)
            .with_field(DPORT, &IntervalSet::one(port.into()))
        })
        .collect()
}

/// Addresses that mean several receivers, of which this machine may be one.
fn group_addresses() -> AddrSet {
    AddrSet {
        v4: IntervalSet::from_ranges(vec![(0xe000_0000, 0xefff_ffff), (u32::MAX, u32::MAX)]),
        v6: IntervalSet::range(0xff << 120, u128::MAX),
        label: None,
    }
}

/// Neighbour discovery and packet-too-big.
fn unconditional_icmp() -> [Cube; 2] {
    let icmp = |families, protocol, types: IntervalSet<u64>| {
        Cube::any()
            .with_families(families)
            .with_proto(&IntervalSet::one(protocol))
            .with_field(ICMP_TYPE, &types)
    };
    let needed = IntervalSet::one(4);
    [
        icmp(Families::V4, ICMP, IntervalSet::one(3)).with_field(ICMP_CODE, &needed),
        icmp(
            Families::V6,
            ICMPV6,
            [(2, 2), (133, 136)].into_iter().collect(),
        ),
    ]
}
