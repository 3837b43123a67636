//! Bugs in what rules ask for.

use polc_compiler::field::{
    DPORT, Field, ICMP, ICMP_CODE, ICMP_TYPE, ICMPV6, IP_FRAGMENT, SPORT, TCP_FLAGS, TCP_MSS,
};
use polc_compiler::ir::{Cube, Ir};
use polc_compiler::packet::addr::exact_prefix;
use polc_compiler::packet::interval::Int;
use polc_compiler::packet::{AddrSet, Families, IntervalSet};

use super::{replace_cubes, rules};

/// `not` of addresses: more than half of a family, and not all of it. The other family is lost; where
/// both are negated, that is IPv6.
pub(super) fn negated_family(ir: &mut Ir) {
    each_address_set(ir, |set| {
        let left = if is_negated(&set.v4) {
            Families::V4
        } else if is_negated(&set.v6) {
            Families::V6
        } else {
            return;
        };
        *set = set.only(left);
    });
}

fn is_negated<T: Int>(set: &IntervalSet<T>) -> bool {
    !set.is_full() && set.count() > T::MAX.wide() / 2
}

/// `tcp.flags & mask == value` becomes `tcp.flags == value`, and so under `not`.
pub(super) fn exact_flags(ir: &mut Ir) {
    replace_cubes(rules(ir), |cube| {
        let mut cube = cube.clone();
        if let Some(set) = cube.fields.get_mut(&TCP_FLAGS) {
            let all = TCP_FLAGS.all();
            let rest = all.difference(set);
            if let Some(value) = masked(set) {
                *set = IntervalSet::one(value);
            } else if let Some(value) = masked(&rest) {
                *set = all.difference(&IntervalSet::one(value));
            }
        }
        vec![cube]
    });
}

/// The value of the bits that are asked, when a set of flags is that of one value of some of them:
/// more than none, and not all.
fn masked(set: &IntervalSet<u64>) -> Option<u64> {
    let values = || (0..=TCP_FLAGS.largest()).filter(|value| set.contains(*value));
    let ones = values().reduce(|a, b| a & b)?;
    let zeros = values().fold(TCP_FLAGS.largest(), |all, value| all & !value);
    let free = (TCP_FLAGS.largest() & !(ones | zeros)).count_ones();
    let masked = (1..8).contains(&free) && set.count() == 1 << free;
    masked.then_some(ones)
}

/// Of each prefix of 8 bits or more, the first half.
pub(super) fn long_prefix(ir: &mut Ir) {
    each_address_set(ir, |set| {
        set.v4 = halved(&set.v4, 32);
        set.v6 = halved(&set.v6, 128);
    });
}

fn halved<T: Int + TryFrom<u128>>(set: &IntervalSet<T>, bits: u32) -> IntervalSet<T> {
    let half = |(first, last): (T, T)| {
        let (low, high) = (first.wide(), last.wide());
        let is_prefix = exact_prefix(low, high, bits).is_some_and(|len| (8..bits).contains(&len));
        let middle = T::try_from(low + (high - low) / 2).ok();
        (first, middle.filter(|_| is_prefix).unwrap_or(last))
    };
    set.ranges().iter().copied().map(half).collect()
}

fn each_address_set(ir: &mut Ir, mut change: impl FnMut(&mut AddrSet)) {
    replace_cubes(rules(ir), |cube| {
        let mut cube = cube.clone();
        change(&mut cube.saddr);
        change(&mut cube.daddr);
        change(&mut cube.original);
        vec![cube]
    });
}

/// Source and destination ports change places.
pub(super) fn swapped_ports(ir: &mut Ir) {
    replace_cubes(rules(ir), |cube| {
        let mut cube = cube.clone();
        let ports = [SPORT, DPORT].map(|field| cube.fields.remove(&field));
        for (field, set) in [DPORT, SPORT].into_iter().zip(ports) {
            cube.fields.extend(set.map(|set| (field, set)));
        }
        vec![cube]
    });
}

/// The fields that later fragments do not have.
const OF_FIRST: [Field; 6] = [SPORT, DPORT, TCP_FLAGS, TCP_MSS, ICMP_TYPE, ICMP_CODE];

/// `ip.fragment` asks for a transport header, too; without `ip.fragment`, whoever asks for one is
/// content with a fragment.
pub(super) fn fragments(ir: &mut Ir) {
    let asked = |cube: &Cube| cube.field(IP_FRAGMENT) == Some(&IntervalSet::one(1));
    if ir.guard.iter().flat_map(|rule| &rule.cubes).any(asked) {
        replace_cubes(&mut ir.guard, |cube| {
            if asked(cube) {
                first_fragments(cube)
            } else {
                vec![cube.clone()]
            }
        });
        return;
    }
    replace_cubes(&mut ir.guard, |cube| {
        let mut any = cube.clone();
        any.fields.retain(|field, _| !OF_FIRST.contains(field));
        let asks = any.fields.len() < cube.fields.len();
        let whole = !cube.fields.contains_key(&IP_FRAGMENT);
        let fragments = any.with_field(IP_FRAGMENT, &IntervalSet::one(1));
        let more = (asks && whole).then_some(fragments);
        std::iter::once(cube.clone()).chain(more).collect()
    });
}

/// The packets of a cube that have a transport header, as far as its protocols have one.
fn first_fragments(cube: &Cube) -> Vec<Cube> {
    let ported: IntervalSet<u64> = DPORT.def().protocols.iter().map(|p| (*p, *p)).collect();
    let known = ported
        .union(&IntervalSet::one(ICMP))
        .union(&IntervalSet::one(ICMPV6));
    let icmp = |number: u64, families: Families| {
        let both = cube.clone().with_proto(&IntervalSet::one(number));
        let cube = both.with_families(families);
        cube.with_field(ICMP_TYPE, &ICMP_TYPE.all())
    };
    vec![
        cube.clone()
            .with_proto(&ported)
            .with_field(DPORT, &DPORT.all()),
        icmp(ICMP, Families::V4),
        icmp(ICMPV6, Families::V6),
        Cube {
            proto: cube.proto.difference(&known),
            ..cube.clone()
        },
    ]
}
