//! Sets of addresses of both families.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::Families;
use super::interval::{Int, IntervalSet};

/// A set of IPv4 and IPv6 addresses. Its label, the policy's name for it, takes no part in
/// comparisons.
#[derive(Clone)]
pub struct AddrSet {
    /// The IPv4 addresses, in host order.
    pub v4: IntervalSet<u32>,
    /// The IPv6 addresses, in host order.
    pub v6: IntervalSet<u128>,
    /// What the policy calls it.
    pub label: Option<Arc<str>>,
}

impl AddrSet {
    /// No address.
    pub fn empty() -> Self {
        Self {
            v4: IntervalSet::empty(),
            v6: IntervalSet::empty(),
            label: None,
        }
    }

    /// Every address of both families.
    pub fn full() -> Self {
        Self {
            v4: IntervalSet::full(),
            v6: IntervalSet::full(),
            label: None,
        }
    }

    /// One address.
    pub fn one(addr: IpAddr) -> Self {
        Self::range(addr, addr).unwrap_or_else(Self::empty)
    }

    /// The addresses that share the first `len` bits of `addr`; `None` when `len` is too long
    /// for the family.
    pub fn prefix(addr: IpAddr, len: u8) -> Option<Self> {
        match addr {
            IpAddr::V4(a) if len <= 32 => {
                let host = u32::MAX.checked_shr(u32::from(len)).unwrap_or(0);
                let first = u32::from(a) & !host;
                Some(Self {
                    v4: IntervalSet::range(first, first | host),
                    ..Self::empty()
                })
            }
            IpAddr::V6(a) if len <= 128 => {
                let host = u128::MAX.checked_shr(u32::from(len)).unwrap_or(0);
                let first = u128::from(a) & !host;
                Some(Self {
                    v6: IntervalSet::range(first, first | host),
                    ..Self::empty()
                })
            }
            _ => None,
        }
    }

    /// The addresses from `first` to `last`; `None` when the families differ.
    pub fn range(first: IpAddr, last: IpAddr) -> Option<Self> {
        match (first, last) {
            (IpAddr::V4(a), IpAddr::V4(b)) => Some(Self {
                v4: IntervalSet::range(a.into(), b.into()),
                ..Self::empty()
            }),
            (IpAddr::V6(a), IpAddr::V6(b)) => Some(Self {
                v6: IntervalSet::range(a.into(), b.into()),
                ..Self::empty()
            }),
            _ => None,
        }
    }

    /// The same addresses under a name.
    #[must_use]
    pub fn named(self, label: &str) -> Self {
        Self {
            label: Some(label.into()),
            ..self
        }
    }

    /// Whether it has no address.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether it has every address of both families.
    pub fn is_full(&self) -> bool {
        self.v4.is_full() && self.v6.is_full()
    }

    /// The families of which it has an address.
    pub fn families(&self) -> Families {
        Families {
            v4: !self.v4.is_empty(),
            v6: !self.v6.is_empty(),
        }
    }

    /// Whether `addr` is in it.
    pub fn contains(&self, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(a) => self.v4.contains(a.into()),
            IpAddr::V6(a) => self.v6.contains(a.into()),
        }
    }

    /// Addresses of either. Keeps the label when one side adds nothing.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        if self.is_empty() {
            return other.clone();
        }
        if other.is_empty() {
            return self.clone();
        }
        Self {
            v4: self.v4.union(&other.v4),
            v6: self.v6.union(&other.v6),
            label: None,
        }
    }

    /// Addresses of both. Keeps the label when one side takes nothing away.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        if self.is_full() {
            return other.clone();
        }
        if other.is_full() {
            return self.clone();
        }
        let out = Self {
            v4: self.v4.intersection(&other.v4),
            v6: self.v6.intersection(&other.v6),
            label: None,
        };
        if out == *self { self.clone() } else { out }
    }

    /// Addresses of `self` that are not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        if other.is_empty() {
            return self.clone();
        }
        Self {
            v4: self.v4.difference(&other.v4),
            v6: self.v6.difference(&other.v6),
            label: None,
        }
    }

    /// Addresses of both families that are not in it.
    #[must_use]
    pub fn complement(&self) -> Self {
        let label = self.label.as_ref().map(|l| format!("not-{l}").into());
        Self {
            v4: self.v4.complement(),
            v6: self.v6.complement(),
            label,
        }
    }

    /// Whether every address is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.v4.is_subset(&other.v4) && self.v6.is_subset(&other.v6)
    }

    /// Whether the two share an address.
    pub fn intersects(&self, other: &Self) -> bool {
        self.v4.intersects(&other.v4) || self.v6.intersects(&other.v6)
    }

    /// Only the addresses of some families.
    #[must_use]
    pub fn only(&self, families: Families) -> Self {
        Self {
            v4: if families.v4 {
                self.v4.clone()
            } else {
                IntervalSet::empty()
            },
            v6: if families.v6 {
                self.v6.clone()
            } else {
                IntervalSet::empty()
            },
            label: self.label.clone(),
        }
    }

    /// How many ranges it is stored as.
    pub fn range_count(&self) -> usize {
        self.v4.ranges().len() + self.v6.ranges().len()
    }
}

impl PartialEq for AddrSet {
    fn eq(&self, other: &Self) -> bool {
        self.v4 == other.v4 && self.v6 == other.v6
    }
}

impl Eq for AddrSet {}

impl fmt::Debug for AddrSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// How many ranges are written out before a set is abbreviated.
const SHOWN: usize = 12;

/// A named set as `@name`, any other written out, long ones abbreviated with their counts.
impl fmt::Display for AddrSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(label) = &self.label {
            return write!(f, "@{label}");
        }
        if self.is_full() {
            return f.write_str("any");
        }
        f.write_str("{")?;
        let v4 = self.v4.ranges().iter().map(|(a, b)| range4(*a, *b));
        let v6 = self.v6.ranges().iter().map(|(a, b)| range6(*a, *b));
        for (i, text) in v4.chain(v6).take(SHOWN).enumerate() {
            write!(f, "{}{text}", if i == 0 { " " } else { ", " })?;
        }
        if self.range_count() > SHOWN {
            write!(f, ", … {} ranges", self.range_count())?;
        }
        f.write_str(" }")
    }
}

/// A range of IPv4 addresses as an address, a prefix, or `first-last`.
pub fn range4(first: u32, last: u32) -> String {
    let text = |n: u32| Ipv4Addr::from(n).to_string();
    match exact_prefix(u128::from(first), u128::from(last), 32) {
        Some(32) => text(first),
        Some(len) => format!("{}/{len}", text(first)),
        None => format!("{}-{}", text(first), text(last)),
    }
}

/// A range of IPv6 addresses as an address, a prefix, or `first-last`.
pub fn range6(first: u128, last: u128) -> String {
    let text = |n: u128| Ipv6Addr::from(n).to_string();
    match exact_prefix(first, last, 128) {
        Some(128) => text(first),
        Some(len) => format!("{}/{len}", text(first)),
        None => format!("{}-{}", text(first), text(last)),
    }
}

/// The prefix length when `first..=last` is exactly one prefix of `bits`-bit addresses.
pub fn exact_prefix(first: u128, last: u128, bits: u32) -> Option<u32> {
    let host = first ^ last;
    let aligned = host & host.wrapping_add(1) == 0 && first & host == 0;
    aligned.then(|| bits - (u128::BITS - host.leading_zeros()))
}

/// The fewest prefixes that cover exactly `first..=last`, as (address, length), in order.
pub fn prefixes<T: Int>(first: T, last: T, bits: u32) -> Vec<(u128, u32)> {
    let mut out = Vec::new();
    let (mut at, last) = (first.wide(), last.wide());
    while at <= last {
        let mut size = at.trailing_zeros().min(bits);
        let fits = |size: u32| {
            let host = u128::MAX.checked_shr(u128::BITS - size).unwrap_or(0);
            at | host <= last
        };
        while !fits(size) {
            size -= 1;
        }
        out.push((at, bits - size));
        let host = u128::MAX.checked_shr(u128::BITS - size).unwrap_or(0);
        match (at | host).checked_add(1) {
            Some(next) => at = next,
            None => break,
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(text: &str) -> AddrSet {
        let (addr, len) = text.split_once('/').unwrap();
        AddrSet::prefix(addr.parse().unwrap(), len.parse().unwrap()).unwrap()
    }

    #[test]
    fn prefixes_are_ranges() {
        assert_eq!(set("10.1.2.3/8").v4.ranges(), [(0x0a00_0000, 0x0aff_ffff)]);
        assert!(set("0.0.0.0/0").v4.is_full());
        assert_eq!(
            set("192.0.2.1/32"),
            AddrSet::one("192.0.2.1".parse().unwrap())
        );
        assert!(set("::/0").v6.is_full());
        assert!(AddrSet::prefix("10.0.0.0".parse().unwrap(), 33).is_none());
    }

    #[test]
    fn a_complement_spans_both_families() {
        let rest = set("10.0.0.0/8").complement();
        assert!(rest.v6.is_full());
        assert!(!rest.contains("10.2.3.4".parse().unwrap()));
        assert!(rest.contains("11.0.0.0".parse().unwrap()));
    }

    #[test]
    fn ranges_print_as_briefly_as_they_can() {
        assert_eq!(range4(0x0a00_0000, 0x0aff_ffff), "10.0.0.0/8");
        assert_eq!(range4(1, 1), "0.0.0.1");
        assert_eq!(range4(1, 4), "0.0.0.1-0.0.0.4");
        assert_eq!(range4(0, u32::MAX), "0.0.0.0/0");
        assert_eq!(range6(0, u128::MAX), "::/0");
        assert_eq!(set("fd00::/8").to_string(), "{ fd00::/8 }");
    }

    proptest! {
        #[test]
        fn prefixes_cover_exactly(a in any::<u32>(), b in any::<u32>()) {
            let (first, last) = (a.min(b), a.max(b));
            let mut next = u128::from(first);
            for (addr, len) in prefixes(first, last, 32) {
                prop_assert_eq!(addr, next);
                next = addr + (1u128 << (32 - len));
            }
            prop_assert_eq!(next, u128::from(last) + 1);
        }
    }

    #[test]
    fn the_whole_of_ipv6_is_one_prefix() {
        assert_eq!(prefixes(0u128, u128::MAX, 128), [(0, 0)]);
        assert_eq!(prefixes(u128::MAX, u128::MAX, 128), [(u128::MAX, 128)]);
    }
}
