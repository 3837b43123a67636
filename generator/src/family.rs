//! Large policies about five fields, of the kinds that filters in the field have.
//!
//! Prefix lengths, ports and protocols are distributed as in the seed files of well-known filter
//! generators. Broad rules tend to stand behind narrow ones, as they do where people keep order.
//! Some rules are dead, as they are where people do not: a few repeat or narrow an earlier one,
//! and about one in a hundred is covered by several earlier rules together and by none alone.

use std::net::Ipv4Addr;

use crate::dice::Dice;
use crate::filters::{self, ALL_PORTS, Action, Filter, masked};

/// A kind of filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Access lists of routers: narrow destinations, no source ports.
    Acl,
    /// Corporate firewalls: many rules for any source or any destination, ranges of ports.
    Firewall,
    /// Chains of a host's packet filter: narrow on both sides, source ports, many protocols.
    Chain,
}

impl Kind {
    /// All.
    pub const ALL: [Self; 3] = [Self::Acl, Self::Firewall, Self::Chain];

    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Acl => "acl",
            Self::Firewall => "firewall",
            Self::Chain => "chain",
        }
    }
}

/// A policy with so many rules in one section about forwarded traffic.
pub fn family(kind: Kind, rules: usize, seed: u64) -> String {
    filters::policy(kind.name(), family_filters(kind, rules, seed))
}

/// The same rules as filters with their actions, in order.
pub fn family_filters(kind: Kind, rules: usize, seed: u64) -> Vec<(Action, Filter)> {
    let mut maker = Maker {
        dice: Dice::new(seed),
        weights: Weights::of(kind),
        sites: Vec::new(),
        known: Vec::new(),
        placed: Vec::new(),
    };
    maker.fill(rules);
    maker.ordered().collect()
}

type Lengths = [(u32, u8); 10];

/// How often rules ask what: in percent.
struct Weights {
    source: Lengths,
    dest: Lengths,
    sport: [(u32, Ports); 5],
    dport: [(u32, Ports); 5],
    proto: [(u32, Option<u8>); 6],
}

/// Classes of port ranges.
#[derive(Clone, Copy)]
enum Ports {
    All,
    High,
    Low,
    Range,
    One,
}

impl Weights {
    fn of(kind: Kind) -> Self {
        let lengths = |w: [u32; 10]| {
            let lens = [0, 8, 14, 16, 20, 22, 24, 27, 30, 32];
            let mut out = [(0, 0); 10];
            for (slot, pair) in out.iter_mut().zip(w.into_iter().zip(lens)) {
                *slot = pair;
            }
            out
        };
        let ports = |[all, high, low, range, one]: [u32; 5]| {
            [
                (all, Ports::All),
                (high, Ports::High),
                (low, Ports::Low),
                (range, Ports::Range),
                (one, Ports::One),
            ]
        };
        let protos = |[any, icmp, tcp, udp, gre, esp]: [u32; 6]| {
            [
                (any, None),
                (icmp, Some(1)),
                (tcp, Some(6)),
                (udp, Some(17)),
                (gre, Some(47)),
                (esp, Some(50)),
            ]
        };
        match kind {
            Kind::Acl => Self {
                source: lengths([8, 1, 2, 9, 8, 10, 25, 8, 6, 23]),
                dest: lengths([1, 0, 1, 2, 4, 6, 20, 10, 8, 48]),
                sport: ports([99, 1, 0, 0, 0]),
                dport: ports([24, 2, 0, 10, 64]),
                proto: protos([8, 4, 70, 16, 1, 1]),
            },
            Kind::Firewall => Self {
                source: lengths([34, 1, 2, 8, 4, 4, 14, 3, 2, 28]),
                dest: lengths([28, 1, 2, 6, 4, 4, 15, 4, 4, 32]),
                sport: ports([72, 18, 1, 2, 7]),
                dport: ports([26, 10, 2, 16, 46]),
                proto: protos([5, 6, 55, 28, 3, 3]),
            },
            Kind::Chain => Self {
                source: lengths([12, 2, 3, 8, 5, 6, 18, 4, 4, 38]),
                dest: lengths([10, 2, 3, 6, 4, 5, 18, 5, 5, 42]),
                sport: ports([74, 8, 1, 5, 12]),
                dport: ports([38, 6, 1, 12, 43]),
                proto: protos([6, 8, 50, 32, 2, 2]),
            },
        }
    }
}

/// Ports that many rules ask for, the most frequent first.
const SERVICES: [u16; 24] = [
    80, 443, 22, 53, 25, 21, 23, 110, 143, 161, 123, 389, 445, 139, 993, 995, 1433, 1521, 3306,
    3389, 5060, 8080, 8443, 514,
];

/// A filter and where it belongs: smaller numbers come first.
type Placed = (u32, Action, Filter);

struct Maker {
    dice: Dice,
    weights: Weights,
    /// The /16 networks that the rules are about.
    sites: Vec<u32>,
    /// Addresses that rules have named: others are about their networks.
    known: Vec<u32>,
    placed: Vec<Placed>,
}

impl Maker {
    fn fill(&mut self, rules: usize) {
        self.sites = (0..48).map(|_| self.dice.bits() & 0xffff_0000).collect();
        while self.placed.len() < rules {
            match self.dice.between(0, 999) {
                0..=9 => self.shadowed_by_several(),
                10..=39 => self.shadowed_by_one(),
                _ => {
                    let filter = self.filter();
                    let place = self.place(&filter);
                    self.put(place, filter);
                }
            }
        }
        self.placed.truncate(rules);
    }

    fn ordered(mut self) -> impl Iterator<Item = (Action, Filter)> {
        self.placed.sort_by_key(|(place, ..)| *place);
        self.placed
            .into_iter()
            .map(|(_, action, filter)| (action, filter))
    }

    fn put(&mut self, place: u32, filter: Filter) {
        let action = self
            .dice
            .weighted(&[(62, Action::Allow), (38, Action::Deny)], Action::Deny);
        self.placed.push((place, action, filter));
    }

    /// Broad filters come late, mostly.
    fn place(&mut self, filter: &Filter) -> u32 {
        let narrow = u32::from(filter.source.1) + u32::from(filter.dest.1);
        let ports = u32::from(filter.dport.1.abs_diff(filter.dport.0)) >> 12;
        let breadth = (64 - narrow) * 4 + ports * 2 + u32::from(filter.proto.is_none()) * 16;
        breadth * 1000 + self.dice.bits() % 160_000
    }

    fn filter(&mut self) -> Filter {
        let proto = self.dice.weighted(&self.weights.proto, None);
        let source = self.dice.weighted(&self.weights.source, 0);
        let mut dest = self.dice.weighted(&self.weights.dest, 32);
        let mut dport = self.ports(false);
        let (mut sport, narrow) = (self.ports(true), source + dest >= 16);
        if proto.is_some_and(|p| p != 6 && p != 17) {
            (sport, dport) = (ALL_PORTS, ALL_PORTS);
        }
        // Nobody writes a rule in the middle that leaves nothing to those behind it.
        if !narrow && (dport.0 != dport.1 || proto.is_none()) {
            dest = 32;
        }
        Filter {
            source: self.prefix(source),
            dest: self.prefix(dest),
            sport,
            dport,
            proto,
        }
    }

    /// A prefix of about this length, often a network around an address that is known.
    fn prefix(&mut self, len: u8) -> (Ipv4Addr, u8) {
        let slack = match len {
            20 | 22 | 27 => self.dice.bits() % 3,
            _ => 0,
        };
        let len = len + u8::try_from(slack).unwrap_or(0);
        if len == 0 {
            return (Ipv4Addr::UNSPECIFIED, 0);
        }
        let again = self
            .dice
            .chance(45)
            .then(|| self.dice.pick(&self.known).copied());
        let addr = again.flatten().unwrap_or_else(|| {
            // The first sites are the busy ones.
            let busy = self.dice.between(0, self.sites.len() - 1);
            let at = self.dice.between(0, busy);
            let site = self.sites.get(at).copied().unwrap_or_default();
            let addr = site | self.dice.bits() & 0xffff;
            self.known.push(addr);
            addr
        });
        (masked(addr.into(), len), len)
    }

    fn ports(&mut self, source: bool) -> (u16, u16) {
        let classes = if source {
            &self.weights.sport
        } else {
            &self.weights.dport
        };
        match self.dice.weighted(classes, Ports::All) {
            Ports::All => ALL_PORTS,
            Ports::High => (1024, u16::MAX),
            Ports::Low => (0, 1023),
            Ports::Range => {
                let first = self.port();
                let sizes = [1, 2, 5, 10, 31, 100, 500];
                let size = self.dice.pick(&sizes).copied().unwrap_or(1);
                (first, first.saturating_add(size))
            }
            Ports::One => {
                let port = self.port();
                (port, port)
            }
        }
    }

    fn port(&mut self) -> u16 {
        if self.dice.chance(75) {
            let busy = self.dice.between(0, SERVICES.len() - 1);
            let at = self.dice.between(0, busy);
            return SERVICES.get(at).copied().unwrap_or(80);
        }
        u16::try_from(1 + self.dice.between(0, 60_000)).unwrap_or(1)
    }

    /// A filter that an earlier one covers: the same, or a part of it.
    fn shadowed_by_one(&mut self) {
        let Some((place, _, mut filter)) = self.dice.pick(&self.placed).copied() else {
            return;
        };
        if self.dice.chance(60) {
            let len = filter.dest.1.saturating_add(4).min(32);
            filter.dest = (filter.dest.0, len);
        }
        if filter.proto.is_none() && self.dice.chance(50) {
            filter.proto = Some(6);
        }
        let behind = place + 1 + self.dice.bits() % 50_000;
        self.put(behind, filter);
    }

    /// Filters that together, but not alone, cover one behind them.
    fn shadowed_by_several(&mut self) {
        let mut whole = self.filter();
        if whole.source.1 == 0 || whole.source.1 > 29 {
            whole.source = self.prefix(24);
        }
        let (addr, len) = whole.source;
        let half = |at: u32, len: u8| {
            let bit = at.checked_shl(32 - u32::from(len)).unwrap_or(0);
            (Ipv4Addr::from(u32::from(addr) | bit), len)
        };
        let mut parts = vec![half(0, len + 1), half(1, len + 1)];
        if self.dice.chance(60) {
            parts.pop();
            parts.extend([half(2, len + 2), half(3, len + 2)]);
        }
        let place = self.place(&whole);
        for source in parts {
            let mut part = Filter { source, ..whole };
            // Each reaches further than it must, in its own way.
            match self.dice.between(0, 3) {
                0 if part.dest.1 > 1 => {
                    let len = part.dest.1 - 1;
                    part.dest = (masked(part.dest.0, len), len);
                }
                1 => part.dport.0 = part.dport.0.saturating_sub(7),
                2 => part.sport = ALL_PORTS,
                _ => {}
            }
            if part.proto.is_some_and(|p| p != 6 && p != 17) {
                (part.sport, part.dport) = (ALL_PORTS, ALL_PORTS);
            }
            let before = place.saturating_sub(1 + self.dice.bits() % 60_000);
            self.put(before, part);
        }
        self.put(place, whole);
    }
}
