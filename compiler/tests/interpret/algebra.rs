//! The interpreter and the algebra of cubes agree on which packets are in a cube.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use polc_compiler::field::{DPORT, Field, IP_TTL, SPORT};
use polc_compiler::interpret::{Packet, Place, State, View, holds};
use polc_compiler::ir::cube::PrincipalKind;
use polc_compiler::ir::{Atom, Cube, Side, Stage};
use polc_compiler::packet::{AddrSet, Families, IfaceSet, IntervalSet, Pattern};
use proptest::prelude::*;

const NAMES: [&str; 4] = ["eth0", "eth1", "wg0", "wg1"];

/// One of a few addresses of each family, so that sets are hit.
fn addr(v4: bool, n: u8) -> IpAddr {
    if v4 {
        Ipv4Addr::new(10, 0, 0, n).into()
    } else {
        Ipv6Addr::from(u128::from(n)).into()
    }
}

fn addrs() -> impl Strategy<Value = AddrSet> {
    let range = (any::<bool>(), 0u8..8, 0u8..8)
        .prop_map(|(v4, a, b)| AddrSet::range(addr(v4, a.min(b)), addr(v4, a.max(b))).unwrap());
    let some = proptest::collection::vec(range, 1..4)
        .prop_map(|parts| parts.iter().fold(AddrSet::empty(), |all, p| all.union(p)));
    prop_oneof![
        Just(AddrSet::full()),
        some.clone(),
        some.prop_map(|s| s.complement())
    ]
}

fn ifaces() -> impl Strategy<Value = IfaceSet> {
    let patterns = ["eth0", "eth1", "wg*", "wg0", "lo", "*"];
    let some = proptest::sample::subsequence(patterns.to_vec(), 0..4);
    let some = some.prop_map(|l| l.into_iter().map(Pattern::parse).collect::<Vec<_>>());
    prop_oneof![
        some.clone().prop_map(IfaceSet::of),
        some.prop_map(IfaceSet::not)
    ]
}

fn side() -> impl Strategy<Value = Side> {
    let some = (any::<bool>(), ifaces()).prop_map(|(host, ifaces)| Side { host, ifaces });
    prop_oneof![Just(Side::any()), some]
}

fn numbers(max: u64) -> impl Strategy<Value = IntervalSet<u64>> {
    proptest::collection::vec((0..=max, 0..=max), 1..3)
        .prop_map(|l| l.into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect())
}

/// A sender that the policy names; the packet's source is host-only, so it may have it or not.
fn atom() -> Atom {
    Atom::Principal(PrincipalKind::User, "mail".to_owned())
}

fn cube() -> impl Strategy<Value = Cube> {
    let families = (any::<bool>(), any::<bool>()).prop_map(|(v4, v6)| Families { v4, v6 });
    let ends = (side(), side(), addrs(), addrs());
    let ports = proptest::option::of(numbers(9));
    let other = (
        numbers(20),
        ports,
        proptest::option::of(numbers(9)),
        proptest::option::of(any::<bool>()),
    );
    (families, ends, other).prop_filter_map("empty", |(families, ends, other)| {
        let (ingress, egress, saddr, daddr) = ends;
        let (proto, dport, ttl, sender) = other;
        let mut fields: BTreeMap<Field, IntervalSet<u64>> = BTreeMap::new();
        fields.extend(dport.map(|set| (DPORT, set)));
        fields.extend(ttl.map(|set| (IP_TTL, set)));
        Cube {
            families,
            ingress,
            egress,
            saddr,
            daddr,
            proto,
            fields,
            atoms: sender.map(|answer| (atom(), answer)).into_iter().collect(),
            ..Cube::any()
        }
        .normal()
    })
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        Just(Place::Host),
        proptest::sample::select(NAMES.to_vec()).prop_map(|n| Place::Iface(n.into())),
    ]
}

fn packet() -> impl Strategy<Value = Packet> {
    let ends = (place(), place(), any::<bool>(), 0u8..9, 0u8..9);
    let fields = (0u8..22, 0u64..=9, 0u64..=9, any::<bool>());
    (ends, fields).prop_map(|(ends, (proto, dport, ttl, sender))| {
        let (ingress, egress, v4, s, d) = ends;
        let sent = sender && ingress == Place::Host;
        Packet {
            detour: egress.clone(),
            ingress,
            egress,
            saddr: addr(v4, s),
            daddr: addr(v4, d),
            proto,
            fields: [(SPORT, 1), (DPORT, dport), (IP_TTL, ttl)].into(),
            principals: sent
                .then(|| (PrincipalKind::User, "mail".to_owned()))
                .into_iter()
                .collect(),
        }
    })
}

fn is_in(cube: &Cube, packet: &Packet) -> bool {
    let view = View::new(packet, Stage::Filter, 0);
    holds(cube, &view, &State::oracle([true; 0], BTreeMap::new())).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn cubes_hold_where_the_algebra_says(
        a in cube(),
        b in cube(),
        packets in proptest::collection::vec(packet(), 24),
    ) {
        let both = a.intersection(&b);
        let rest = a.difference(&b);
        let subset = a.is_subset(&b);
        for p in &packets {
            let (in_a, in_b) = (is_in(&a, p), is_in(&b, p));
            prop_assert_eq!(both.as_ref().is_some_and(|c| is_in(c, p)), in_a && in_b);
            let parts = rest.iter().filter(|c| is_in(c, p)).count();
            prop_assert_eq!(parts, usize::from(in_a && !in_b), "{:?}", rest);
            prop_assert!(!subset || !in_a || in_b);
        }
    }

    #[test]
    fn a_part_that_does_not_hold_says_what_it_has(a in cube(), p in packet()) {
        let view = View::new(&p, Stage::Filter, 0);
        if let Err(why) = holds(&a, &view, &State::oracle([true; 0], BTreeMap::new())) {
            prop_assert!(!why.what.is_empty() && !why.got.is_empty() && !why.wanted.is_empty());
            prop_assert_ne!(why.got, why.wanted);
        }
    }
}
