//! An address for `host`.
//!
//! A test does not say which addresses this machine has. `host` stands for one that the policy
//! does not speak of, where there is one: no set, zone or rule names it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ir::{Ir, NatTarget, Verdict};
use crate::packet::AddrSet;
use crate::policy::{Policy, Value};

/// The addresses that stand for this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Host {
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

/// What is taken first: the ends of the documentation networks.
const FIRST4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(192, 0, 2, 254),
    Ipv4Addr::new(198, 51, 100, 254),
    Ipv4Addr::new(203, 0, 113, 254),
];
const FIRST6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0xfffe),
    Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0xfffe),
];
/// The unicast addresses of the Internet, as far as they are one range.
const GLOBAL4: (Ipv4Addr, Ipv4Addr) =
    (Ipv4Addr::new(1, 0, 0, 1), Ipv4Addr::new(223, 255, 255, 254));
const GLOBAL6: (Ipv6Addr, Ipv6Addr) = (
    Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(
        0x3fff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xfffe,
    ),
);

impl Host {
    /// Chooses the addresses.
    pub(super) fn of(policy: &Policy, ir: &Ir) -> Self {
        let named = named(policy, ir);
        let free = |addr: &IpAddr| !named.contains(*addr);
        let free4 = FIRST4.into_iter().find(|a| free(&(*a).into()));
        let free6 = FIRST6.into_iter().find(|a| free(&(*a).into()));
        let rest = |first: IpAddr, last: IpAddr| {
            AddrSet::range(first, last).map(|all| all.difference(&named))
        };
        let rest4 = || {
            let rest = rest(GLOBAL4.0.into(), GLOBAL4.1.into())?;
            rest.v4.ranges().first().map(|r| Ipv4Addr::from(r.0))
        };
        let rest6 = || {
            let rest = rest(GLOBAL6.0.into(), GLOBAL6.1.into())?;
            rest.v6.ranges().first().map(|r| Ipv6Addr::from(r.0))
        };
        let [four, ..] = FIRST4;
        let [six, ..] = FIRST6;
        Self {
            v4: free4.or_else(rest4).unwrap_or(four),
            v6: free6.or_else(rest6).unwrap_or(six),
        }
    }

    /// The address of a family.
    pub(super) fn addr(self, v6: bool) -> IpAddr {
        if v6 { self.v6.into() } else { self.v4.into() }
    }
}

/// Every address that the policy speaks of.
fn named(policy: &Policy, ir: &Ir) -> AddrSet {
    let mut named = AddrSet::empty();
    let mut add = |set: &AddrSet| named = named.union(&smaller(set));
    for definition in &policy.definitions {
        match &definition.value {
            Value::Set(set) => add(set),
            Value::Zone(zone) => zone.net.iter().for_each(&mut add),
            _ => {}
        }
    }
    ir.dynamic.iter().for_each(|d| add(&d.initial));
    for (_, rule) in ir.rules() {
        for cube in &rule.cubes {
            [&cube.saddr, &cube.daddr, &cube.original]
                .into_iter()
                .for_each(&mut add);
        }
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
    named
}

/// Of each family, the addresses that a set names: its own, or where it has more than half of the
/// family (`not @bogons`) those that it leaves out.
fn smaller(set: &AddrSet) -> AddrSet {
    let v4 = set.v4.count() > 1 << 31;
    let v6 = set.v6.count() > 1 << 127;
    AddrSet {
        v4: if v4 {
            set.v4.complement()
        } else {
            set.v4.clone()
        },
        v6: if v6 {
            set.v6.complement()
        } else {
            set.v6.clone()
        },
        label: None,
    }
}
