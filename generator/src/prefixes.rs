//! Lists of networks and hosts, as large as routing tables and blocklists are.
//!
//! Lengths are distributed as in the routing tables of the day: three in five IPv4 networks are a
//! /24, half of the IPv6 networks a /48. Most of them are in few places, as addresses are given out.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::dice::Dice;

/// Shares of prefix lengths in parts of ten thousand.
const LENGTHS4: [(u32, u8); 15] = [
    (2, 8),
    (2, 11),
    (4, 12),
    (7, 13),
    (13, 14),
    (20, 15),
    (140, 16),
    (90, 17),
    (140, 18),
    (250, 19),
    (450, 20),
    (500, 21),
    (1200, 22),
    (1000, 23),
    (6100, 24),
];
const LENGTHS6: [(u32, u8); 14] = [
    (400, 29),
    (1300, 32),
    (100, 33),
    (100, 34),
    (300, 36),
    (100, 38),
    (800, 40),
    (100, 42),
    (700, 44),
    (300, 46),
    (100, 47),
    (4800, 48),
    (200, 56),
    (600, 64),
];

/// How many places networks are in.
const PLACES: usize = 40_000;

/// So many different IPv4 networks.
pub fn networks4(count: usize, seed: u64) -> Vec<(Ipv4Addr, u8)> {
    let mut dice = Dice::new(seed);
    let places = places4(&mut dice);
    let mut out = BTreeSet::new();
    while out.len() < count {
        let len = dice.weighted(&LENGTHS4, 24);
        let host = u32::MAX.checked_shr(len.into()).unwrap_or(0);
        let addr = busy(&mut dice, &places) << 16 | dice.bits() & 0xffff;
        out.insert((Ipv4Addr::from(addr & !host), len));
    }
    out.into_iter().collect()
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

/// So many different IPv6 networks.
pub fn networks6(count: usize, seed: u64) -> Vec<(Ipv6Addr, u8)> {
    let mut dice = Dice::new(seed);
    let places: Vec<u32> = (0..PLACES / 2)
        .map(|_| 0x2000_0000 | dice.bits() & 0x0fff_fff8)
        .collect();
    let mut out = BTreeSet::new();
    while out.len() < count {
        let len = dice.weighted(&LENGTHS6, 48);
        let host = u128::MAX.checked_shr(len.into()).unwrap_or(0);
        let upper = u64::from(busy(&mut dice, &places)) << 32;
        // Numbers are given out from the start of what a place has.
        let within = u64::from(dice.bits() & 0xffff) << 16 << (dice.bits() % 8);
        let addr = u128::from(upper | within | u64::from(dice.bits() & 0xf)) << 64;
        out.insert((Ipv6Addr::from(addr & !host), len));
    }
    out.into_iter().collect()
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
        let long = networks4(2000, 3)
            .iter()
            .filter(|(_, len)| *len == 24)
            .count();
        assert!((1000..1500).contains(&long), "{long}");
    }
}
