//! The network around a machine: its interfaces, its addresses, and where the others are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use fastrand::Rng;
use polc_compiler::field::{DPORT, Field, GID, SPORT, UID};
use polc_compiler::interpret::Place;
use polc_compiler::ir::{Cube, Ir, NatTarget, Verdict};
use polc_compiler::packet::{AddrSet, IntervalSet, Pattern};

use crate::values::Values;

/// The routing table of everything that no rule sends elsewhere.
pub(crate) const MAIN: u32 = 254;

/// The most interfaces, and the most addresses of a family that the policy speaks of.
const MOST_INTERFACES: usize = 5;
const MOST_ADDRESSES: usize = 48;
const MOST_PORTS: usize = 48;
const MOST_SENDERS: usize = 4;

/// Beside fewer addresses there are others: flows of ICMP are told by their addresses alone.
const FEWEST_ADDRESSES: usize = 24;

/// Ports that every machine is asked about.
const PORTS: [u16; 8] = [22, 53, 80, 443, 1000, 8080, 2000, 2001];

/// An interface.
#[derive(Clone, Debug)]
pub(crate) struct Interface {
    pub(crate) name: Arc<str>,
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Ipv6Addr,
}

/// A network.
#[derive(Clone, Debug)]
pub(crate) struct Net {
    pub(crate) interfaces: Vec<Interface>,
    /// Addresses of the machine that no interface has.
    pub(crate) own: BTreeSet<IpAddr>,
    /// The interface behind which an address is.
    pub(crate) hosts: BTreeMap<IpAddr, usize>,
    /// The interface behind which everything else is, by table.
    pub(crate) defaults: BTreeMap<u32, usize>,
    /// Ports that packets have.
    pub(crate) ports: Vec<u16>,
    /// Users and groups that send.
    pub(crate) senders: Vec<(u32, u32)>,
    /// What else headers hold.
    pub(crate) values: Values,
    /// Whether there are packets of IPv6, or of IPv4, alone.
    pub(crate) only: Option<bool>,
    /// Whether interfaces run programs by links, which take longer to attach than filters.
    pub(crate) linked: bool,
    all: Vec<IpAddr>,
}

impl Net {
    /// A network in which packets meet what a policy speaks of.
    pub(crate) fn around(ir: &Ir, rng: &mut Rng) -> Self {
        let interfaces = names(ir, rng).into_iter().zip(1..);
        let interfaces: Vec<Interface> = interfaces
            .map(|(name, at): (_, u8)| Interface {
                name,
                v4: Ipv4Addr::new(10, 9, at, 1),
                v6: Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, at.into(), 1),
            })
            .collect();
        let count = interfaces.len();
        let mut all = addresses(ir, rng);
        let mut own = BTreeSet::new();
        let mut hosts = BTreeMap::new();
        for addr in &all {
            if rng.u8(..4) == 0 {
                own.insert(*addr);
            } else {
                hosts.insert(*addr, rng.usize(..count));
            }
        }
        // What nobody asks about.
        for v6 in [false, true] {
            let asked = all.iter().filter(|addr| addr.is_ipv6() == v6).count();
            let others = FEWEST_ADDRESSES.saturating_sub(asked).max(2);
            all.extend((1..).take(others).map(|number| other(v6, number)));
        }
        for interface in interfaces.iter().take(3) {
            all.extend([IpAddr::from(interface.v4), interface.v6.into()]);
        }
        let tables = ir.steer.iter().filter_map(|rule| match rule.verdict {
            Some(Verdict::Route { table }) => Some(table),
            _ => None,
        });
        let defaults = tables
            .chain([MAIN])
            .map(|table| (table, rng.usize(..count)));
        Self {
            defaults: defaults.collect(),
            interfaces,
            own,
            hosts,
            ports: ports(ir, rng),
            senders: senders(ir, rng),
            values: Values::around(ir, rng),
            only: None,
            linked: true,
            all,
        }
    }

    /// The addresses that packets have.
    pub(crate) fn addresses(&self) -> &[IpAddr] {
        &self.all
    }

    /// Whether an address is one of the machine.
    pub(crate) fn is_own(&self, addr: IpAddr) -> bool {
        let of_interface = |i: &Interface| addr == IpAddr::from(i.v4) || addr == IpAddr::from(i.v6);
        addr.is_loopback() || self.own.contains(&addr) || self.interfaces.iter().any(of_interface)
    }

    /// The interface by which an address is reached; none if it is the machine's.
    pub(crate) fn leads(&self, addr: IpAddr, table: u32) -> Option<usize> {
        if self.is_own(addr) {
            return None;
        }
        let host = self.hosts.get(&addr).filter(|_| table == MAIN);
        let default = self.defaults.get(&table).or(self.defaults.get(&MAIN));
        host.or(default).copied()
    }

    /// The same, as the interpreter has it.
    pub(crate) fn place(&self, addr: IpAddr, table: u32) -> Place {
        self.leads(addr, table)
            .map_or(Place::Host, |at| self.iface(at))
    }

    pub(crate) fn iface(&self, at: usize) -> Place {
        let name = self.interfaces.get(at).map(|i| Arc::clone(&i.name));
        Place::Iface(name.unwrap_or_else(|| "none".into()))
    }

    /// The address of an interface of the same family as another one.
    pub(crate) fn address(&self, at: usize, like: IpAddr) -> IpAddr {
        match (self.interfaces.get(at), like) {
            (Some(interface), IpAddr::V4(_)) => interface.v4.into(),
            (Some(interface), IpAddr::V6(_)) => interface.v6.into(),
            (None, like) => like,
        }
    }
}

fn cubes(ir: &Ir) -> impl Iterator<Item = &Cube> {
    let rules = ir.rules().flat_map(|(_, rule)| &rule.cubes);
    rules
        .chain(ir.blocks.iter().flat_map(|block| &block.scope))
        .chain(ir.proxies.iter().flat_map(|proxy| &proxy.bypass))
}

/// The ends of the ranges of a field's values that the policy asks about, and what is beside them, as far as they
/// are from `first` to `last`.
pub(crate) fn ends(ir: &Ir, field: &str, (first, last): (u64, u64)) -> BTreeSet<u64> {
    let within = IntervalSet::range(first, last);
    let mut ends = BTreeSet::new();
    let fields = cubes(ir).flat_map(|cube| &cube.fields);
    for (_, asked) in fields.filter(|(asked, _)| asked.name() == field) {
        for (first, last) in asked.intersection(&within).ranges() {
            ends.extend([
                first.saturating_sub(1),
                *first,
                *last,
                last.saturating_add(1),
            ]);
        }
    }
    ends.retain(|end| within.contains(*end));
    ends
}

/// An interface of some kinds that the policy tells apart, and one that it does not name. (Each costs eBPF a tenth
/// of a second to put programs there.)
fn names(ir: &Ir, rng: &mut Rng) -> Vec<Arc<str>> {
    let mut patterns = BTreeSet::new();
    for side in cubes(ir).flat_map(|cube| [&cube.ingress, &cube.egress]) {
        let included = side.ifaces.include().into_iter().flatten();
        patterns.extend(included.chain(side.ifaces.exclude()).cloned());
    }
    let unnamed = unnamed(&patterns);
    let own = patterns.iter().filter_map(|p| p.own_name(&patterns));
    let own = own.filter(|name| name != "lo" && Some(name) != unnamed.as_ref());
    let mut names: Vec<String> = own.collect();
    rng.shuffle(&mut names);
    names.truncate(rng.usize(2..=MOST_INTERFACES));
    names.extend(unnamed);
    names.into_iter().map(Arc::from).collect()
}

/// The name of an interface that none of these means, but for one that means all.
fn unnamed(patterns: &BTreeSet<Pattern>) -> Option<String> {
    let all = Pattern::Prefix(String::new());
    let is_named = |name: &String| patterns.iter().any(|p| *p != all && p.matches(name));
    let letters = ('a'..='z').map(String::from);
    let mut stems = ["other".to_owned()].into_iter().chain(letters);
    stems.find_map(|stem| {
        let mut names = (0..=patterns.len()).map(|number| format!("{stem}{number}"));
        names.find(|name| !is_named(name))
    })
}

/// The ends of the ranges of addresses that the policy asks about, and what is beside them.
fn addresses(ir: &Ir, rng: &mut Rng) -> Vec<IpAddr> {
    let mut v4 = BTreeSet::new();
    let mut v6 = BTreeSet::new();
    let mut add = |set: &AddrSet| {
        for (first, last) in set.v4.ranges() {
            v4.extend([
                first.saturating_sub(1),
                *first,
                *last,
                last.saturating_add(1),
            ]);
        }
        for (first, last) in set.v6.ranges() {
            v6.extend([
                first.saturating_sub(1),
                *first,
                *last,
                last.saturating_add(1),
            ]);
        }
    };
    for cube in cubes(ir) {
        [&cube.saddr, &cube.daddr, &cube.original]
            .into_iter()
            .for_each(&mut add);
    }
    ir.dynamic.iter().for_each(|set| add(&set.initial));
    for (_, rule) in ir.rules() {
        let Some(Verdict::Dnat(nat) | Verdict::Snat(nat)) = &rule.verdict else {
            continue;
        };
        for target in nat.v4.iter().chain(&nat.v6) {
            match target {
                NatTarget::Addr(addr, _) => add(&AddrSet::one(*addr)),
                NatTarget::Prefix { to, len, .. } => {
                    AddrSet::prefix(*to, *len).iter().for_each(&mut add);
                }
            }
        }
    }
    let mut v4: Vec<IpAddr> = v4
        .into_iter()
        .map(|bits| Ipv4Addr::from(bits).into())
        .collect();
    let mut v6: Vec<IpAddr> = v6
        .into_iter()
        .map(|bits| Ipv6Addr::from(bits).into())
        .collect();
    for list in [&mut v4, &mut v6] {
        list.retain(|addr| is_plain(*addr));
        rng.shuffle(list);
        list.truncate(MOST_ADDRESSES);
    }
    v4.extend(v6);
    v4
}

/// An address that policies seldom ask about.
fn other(v6: bool, number: u8) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, number.into()).into()
    } else {
        Ipv4Addr::new(203, 0, 113, number).into()
    }
}

/// Whether the kernel sends packets from and to an address on like any other's.
fn is_plain(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => {
            let first = addr.octets()[0];
            !addr.is_loopback() && first != 0 && !addr.is_multicast() && !addr.is_broadcast()
        }
        IpAddr::V6(addr) => {
            // The lowest ones are no address, the loopback one, and those of IPv4.
            let lowest = addr.segments().starts_with(&[0; 5]);
            !lowest && !addr.is_multicast() && !addr.is_unicast_link_local()
        }
    }
}

/// The ports that the policy asks about, and what is beside them.
fn ports(ir: &Ir, rng: &mut Rng) -> Vec<u16> {
    let of = |field: Field| ends(ir, field.name(), (0, field.largest()));
    let ports = of(SPORT).into_iter().chain(of(DPORT));
    let taken: Vec<u16> = ir
        .proxies
        .iter()
        .flat_map(|p| [p.v4.map(|(_, port)| port), p.v6.map(|(_, port)| port)])
        .flatten()
        .collect();
    let ports = ports.filter_map(|port| u16::try_from(port).ok());
    let free = |port: &u16| *port != 0 && !taken.contains(port);
    let ports: BTreeSet<u16> = ports.filter(free).collect();
    let mut ports: Vec<u16> = ports.into_iter().collect();
    rng.shuffle(&mut ports);
    ports.truncate(MOST_PORTS);
    let others = PORTS.iter().filter(|port| free(port));
    let all: BTreeSet<u16> = ports.into_iter().chain(others.copied()).collect();
    all.into_iter().collect()
}

/// Users and groups that the policy asks about, and the machine's own.
fn senders(ir: &Ir, rng: &mut Rng) -> Vec<(u32, u32)> {
    let mut numbers = [BTreeSet::new(), BTreeSet::new()];
    for cube in cubes(ir) {
        for (field, numbers) in [UID, GID].iter().zip(&mut numbers) {
            let ranges = cube
                .fields
                .get(field)
                .into_iter()
                .flat_map(IntervalSet::ranges);
            let ends = ranges.flat_map(|(first, last)| [*first, *last, last.saturating_add(1)]);
            // The kernel keeps the last ones.
            numbers.extend(ends.filter_map(|n| u32::try_from(n).ok().filter(|n| *n < 0x7fff_ffff)));
        }
    }
    let [users, groups] = numbers.map(|set| set.into_iter().collect::<Vec<u32>>());
    if users.is_empty() && groups.is_empty() {
        return vec![(0, 0)];
    }
    let mut one = |list: &[u32]| {
        let at = rng.usize(..=list.len());
        list.get(at).copied().unwrap_or(0)
    };
    let mut senders = vec![(0, 0)];
    senders.extend((0..2 * MOST_SENDERS).map(|_| (one(&users), one(&groups))));
    senders
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::Subject;

    fn interfaces(rules: &str, seed: u64) -> Vec<String> {
        let policy = format!("policy interfaces\nfrom any {{\n{rules}\n}}\ndefault deny\n");
        let subject = Subject::new(&policy).unwrap();
        let net = Net::around(&subject.ir, &mut Rng::with_seed(seed));
        net.interfaces.iter().map(|i| i.name.to_string()).collect()
    }

    #[test]
    fn every_interface_that_a_policy_names_is_there_for_some_seed() {
        let rules = "allow in a0\nallow in b0\nallow in c0\nallow in d*\nallow in d1\nallow in e0\nallow in f0\nallow out g0";
        let all: BTreeSet<String> = (0..60).flat_map(|seed| interfaces(rules, seed)).collect();
        let wanted = ["a0", "b0", "c0", "d0", "d1", "e0", "f0", "g0", "other0"];
        assert_eq!(all.into_iter().collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn one_interface_is_of_no_name_that_the_policy_has() {
        for (rules, unnamed) in [
            ("allow in eth0", "other0"),
            ("allow in other0", "other1"),
            ("allow in other*", "a0"),
            ("allow in *\nallow in other0", "other1"),
        ] {
            for seed in 0..20 {
                let names = interfaces(rules, seed);
                assert_eq!(names.last().map(String::as_str), Some(unnamed), "{rules}");
                let different: BTreeSet<&String> = names.iter().collect();
                assert_eq!(different.len(), names.len(), "{names:?}");
            }
        }
    }

    #[test]
    fn a_pattern_has_an_interface_that_no_narrower_one_means() {
        assert!((0..20).any(|seed| {
            let names = interfaces("allow in eth*\nallow in eth7, eth70", seed);
            names.contains(&"eth0".to_owned())
        }));
    }
}
