//! Lists of networks and hosts, as large as routing tables and blocklists are.
//!
//! Lengths are distributed as in the routing tables of the day: two in three IPv4 networks are a /24,
//! half of the IPv6 networks a /48. Most of them are in few places, as addresses are given out.
//! Networks have gaps between them and none is in another one, as in lists of what belongs to
//! somebody: a set of them has as many ranges as the list has lines.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::dice::Dice;

/// Shares of prefix lengths in parts of a hundred thousand, the shortest first.
const LENGTHS4: [(u32, u8); 14] = [
    (1, 11),
    (4, 12),
    (10, 13),
    (25, 14),
    (50, 15),
    (700, 16),
    (500, 17),
    (900, 18),
    (2_000, 19),
    (4_200, 20),
    (5_000, 21),
    (12_000, 22),
    (10_000, 23),
    (64_610, 24),
];
const LENGTHS6: [(u32, u8); 14] = [
    (3_000, 29),
    (12_000, 32),
    (1_000, 33),
    (1_000, 34),
    (6_000, 36),
    (1_000, 38),
    (9_000, 40),
    (2_000, 42),
    (9_000, 44),
    (4_000, 46),
    (3_000, 47),
    (48_000, 48),
    (700, 56),
    (300, 64),
];

/// The first 12 bits of what registries give out.
const REGISTRIES: [u32; 6] = [0x240, 0x260, 0x280, 0x2a0, 0x2a1, 0x2c0];

/// How many places networks are in.
const PLACES: usize = 40_000;

/// How often a place is looked for that is free.
const TRIES: usize = 1000;

/// So many IPv4 networks, or as many as there is room for.
pub fn networks4(count: usize, seed: u64) -> Vec<(Ipv4Addr, u8)> {
    let mut dice = Dice::new(seed);
    let places = places4(&mut dice);
    let networks = networks(&mut dice, (32, &LENGTHS4, count), |dice, (len, crowded)| {
        let upper = if len > 16 && !crowded && dice.chance(80) {
            busy(dice, &places)
        } else {
            256 + dice.bits() % (223 << 8)
        };
        u128::from(upper << 16 | dice.bits() & 0xffff)
    });
    let address = |addr| Ipv4Addr::from(u32::try_from(addr).unwrap_or_default());
    let networks = networks.into_iter();
    networks.map(|(addr, len)| (address(addr), len)).collect()
}

/// So many different IPv4 hosts, a quarter of them anywhere.
pub fn hosts4(count: usize, seed: u64) -> Vec<Ipv4Addr> {
    let mut dice = Dice::new(seed);
    let places = places4(&mut dice);
    let mut out = BTreeSet::new();
    while out.len() < count {
        let addr = if dice.chance(25) {
            dice.bits()
        } else {
            busy(&mut dice, &places) << 16 | dice.bits() & 0xffff
        };
        out.insert(Ipv4Addr::from(addr));
    }
    out.into_iter().collect()
}

/// So many IPv6 networks, or as many as there is room for.
pub fn networks6(count: usize, seed: u64) -> Vec<(Ipv6Addr, u8)> {
    let mut dice = Dice::new(seed);
    let places: Vec<u32> = (0..PLACES).map(|_| place6(&mut dice)).collect();
    let networks = networks(
        &mut dice,
        (128, &LENGTHS6, count),
        |dice, (len, crowded)| {
            let upper = if len > 32 && !crowded {
                busy(dice, &places)
            } else if len > 32 {
                dice.pick(&places).copied().unwrap_or_default()
            } else {
                place6(dice)
            };
            // Numbers are given out from the start of what a place has.
            let within = dice.bits() >> if crowded { 0 } else { dice.bits() % 13 };
            u128::from(u64::from(upper) << 32 | u64::from(within)) << 64
        },
    );
    let networks = networks.into_iter();
    networks.map(|(addr, len)| (addr.into(), len)).collect()
}

/// Networks of so many bits, in order, each at an address that `address` proposes for its length,
/// and for whether its first choices were taken.
fn networks(
    dice: &mut Dice,
    (bits, lengths, count): (u8, &[(u32, u8)], usize),
    mut address: impl FnMut(&mut Dice, (u8, bool)) -> u128,
) -> BTreeMap<u128, u8> {
    let mut lens: Vec<u8> = (0..count).map(|_| dice.weighted(lengths, bits)).collect();
    // The large ones find no room later.
    lens.sort_unstable();
    let host = |len: u8| {
        u128::MAX
            .checked_shr((128 - bits + len).into())
            .unwrap_or(0)
    };
    let mut out: BTreeMap<u128, u8> = BTreeMap::new();
    for len in lens {
        let found = (0..TRIES).find_map(|tried| {
            let first = address(dice, (len, tried > 1)) & !host(len);
            let behind = first.saturating_add(host(len)).saturating_add(1);
            let before = out.range(..=behind).next_back();
            let free = before.is_none_or(|(other, len)| (other | host(*len)) + 1 < first);
            free.then_some(first)
        });
        if let Some(first) = found {
            out.insert(first, len);
        }
    }
    out
}

fn places4(dice: &mut Dice) -> Vec<u32> {
    let mut places = Vec::with_capacity(PLACES);
    while places.len() < PLACES {
        let place = dice.bits() & 0xffff;
        if (1..224).contains(&(place >> 8)) {
            places.push(place);
        }
    }
    places
}

/// A /32 of a registry.
fn place6(dice: &mut Dice) -> u32 {
    let registry = dice.pick(&REGISTRIES).copied().unwrap_or_default();
    registry << 20 | dice.bits() & 0xf_ffff
}

/// One of the places, the first ones more often.
fn busy(dice: &mut Dice, places: &[u32]) -> u32 {
    let most = dice.between(0, places.len().saturating_sub(1));
    let at = dice.between(0, most);
    places.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_their_size_and_are_a_function_of_the_seed() {
        assert_eq!(networks4(500, 1).len(), 500);
        assert_eq!(hosts4(500, 1), hosts4(500, 1));
        assert_ne!(networks6(500, 1), networks6(500, 2));
        let networks = networks4(2000, 3);
        let long = networks.iter().filter(|(_, len)| *len == 24).count();
        assert!((1200..1400).contains(&long), "{long}");
    }

    #[test]
    fn networks_have_gaps_between_them() {
        let range = |(addr, len): (Ipv4Addr, u8)| {
            let first = u32::from(addr);
            (first, first | u32::MAX.checked_shr(len.into()).unwrap_or(0))
        };
        let ranges: Vec<_> = networks4(50_000, 1).into_iter().map(range).collect();
        assert!(ranges.is_sorted_by(|a, b| a.1 + 1 < b.0));
        let networks = networks6(50_000, 1).into_iter();
        let ends = |(addr, len): (Ipv6Addr, u8)| {
            let first = u128::from(addr);
            (
                first,
                first | u128::MAX.checked_shr(len.into()).unwrap_or(0),
            )
        };
        let ranges: Vec<_> = networks.map(ends).collect();
        assert!(ranges.is_sorted_by(|a, b| a.1 + 1 < b.0));
        assert_eq!(ranges.len(), 50_000);
    }
}
