//! Which of several targets a flow gets, and what a prefix maps an address to.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::decision::RuleId;
use super::jhash::jhash;
use crate::ir::{Balance, Nat, NatTarget};

/// The start value of the hash by which a source gets its target, the same in every build.
const SEED: u32 = 0x706f_6c63;

/// Whose turn it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    /// The next target of each rule that takes them in turn: each family has its own turns, and so
    /// have arriving flows and those of this host.
    next: BTreeMap<(RuleId, bool, bool), usize>,
    /// The target that every choice falls on.
    pub(super) told: Option<usize>,
}

/// A flow that is to be rewritten.
#[derive(Clone, Copy)]
pub(super) struct Subject {
    pub(super) rule: RuleId,
    pub(super) saddr: IpAddr,
    /// The address that is to be replaced.
    pub(super) addr: IpAddr,
    pub(super) arrives: bool,
}

impl Turns {
    /// The address and port that take the place of the subject's; `None` when its family has no
    /// target.
    ///
    /// `balance source` promises that a source keeps its target; which one that is, is what the
    /// kernel's hash says. At random, the first is as good as any. With `record` off, nobody's turn
    /// comes.
    pub(super) fn choose(
        &mut self,
        nat: &Nat,
        subject: Subject,
        record: bool,
    ) -> Option<(IpAddr, Option<u16>)> {
        let targets = if subject.saddr.is_ipv4() {
            &nat.v4
        } else {
            &nat.v6
        };
        let many = targets.len();
        let index = match (self.told, nat.balance) {
            _ if many < 2 => 0,
            (Some(told), _) => told % many,
            (None, Some(Balance::RoundRobin)) if record => {
                let key = (subject.rule, subject.saddr.is_ipv4(), subject.arrives);
                let next = self.next.entry(key).or_insert(0);
                let turn = *next;
                *next = (turn + 1) % many;
                turn
            }
            (None, Some(Balance::Random | Balance::RoundRobin)) => 0,
            (None, Some(Balance::Source) | None) => by_source(subject.saddr, many),
        };
        targets.get(index).map(|target| match *target {
            NatTarget::Addr(addr, port) => (addr, port),
            NatTarget::Prefix { to, len, .. } => (replace_prefix(subject.addr, to, len), None),
        })
    }
}

fn by_source(saddr: IpAddr, many: usize) -> usize {
    let hash = match saddr {
        IpAddr::V4(addr) => jhash(&addr.octets(), SEED),
        IpAddr::V6(addr) => jhash(&addr.octets(), SEED),
    };
    let scaled = (u64::from(hash) * many as u64) >> 32;
    usize::try_from(scaled).unwrap_or(0)
}

/// The bits behind the first `len`.
fn host_bits(len: u8, bits: u32) -> u128 {
    let all = u128::MAX >> (u128::BITS - bits);
    all.checked_shr(u32::from(len)).unwrap_or(0)
}

/// The first `len` bits of an address, the others cleared.
pub(super) fn prefix_of(addr: IpAddr, len: u8) -> IpAddr {
    replace(addr, |bits, width| bits & !host_bits(len, width))
}

/// `addr` with the first `len` bits of `to`.
fn replace_prefix(addr: IpAddr, to: IpAddr, len: u8) -> IpAddr {
    let to = match to {
        IpAddr::V4(to) => u128::from(u32::from(to)),
        IpAddr::V6(to) => u128::from(to),
    };
    replace(addr, |bits, width| {
        let host = host_bits(len, width);
        to & !host | bits & host
    })
}

fn replace(addr: IpAddr, change: impl Fn(u128, u32) -> u128) -> IpAddr {
    match addr {
        IpAddr::V4(addr) => {
            let bits = change(u128::from(u32::from(addr)), 32) & u128::from(u32::MAX);
            Ipv4Addr::from(u32::try_from(bits).unwrap_or(0)).into()
        }
        IpAddr::V6(addr) => Ipv6Addr::from(change(u128::from(addr), 128)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn prefixes_keep_or_replace_leading_bits() {
        for (from, len, expected) in [
            ("192.0.2.77", 24, "192.0.2.0"),
            ("192.0.2.77", 32, "192.0.2.77"),
            ("192.0.2.77", 0, "0.0.0.0"),
            ("2001:db8:1:2::9", 48, "2001:db8:1::"),
            ("2001:db8::9", 128, "2001:db8::9"),
        ] {
            assert_eq!(prefix_of(addr(from), len), addr(expected), "{from}/{len}");
        }
        let replaced = replace_prefix(addr("192.0.2.77"), addr("10.0.0.0"), 26);
        assert_eq!(replaced, addr("10.0.0.13"));
        let whole = replace_prefix(addr("2001:db8::9"), addr("fd00::1"), 128);
        assert_eq!(whole, addr("fd00::1"));
    }

    #[test]
    fn turns_are_taken_by_each_family_and_direction() {
        let target = |text| NatTarget::Addr(addr(text), None);
        let nat = Nat {
            v4: vec![target("10.0.0.1"), target("10.0.0.2")],
            v6: vec![],
            balance: Some(Balance::RoundRobin),
        };
        let mut turns = Turns::default();
        let subject = |arrives| Subject {
            rule: RuleId {
                stage: crate::ir::Stage::Steer,
                index: 0,
            },
            saddr: addr("192.0.2.1"),
            addr: addr("192.0.2.9"),
            arrives,
        };
        let mut next = |arrives, record| {
            let chosen = turns.choose(&nat, subject(arrives), record);
            chosen.map(|(to, _)| to.to_string())
        };
        let first = Some("10.0.0.1".to_owned());
        assert_eq!(next(true, true), first);
        assert_eq!(next(true, true), Some("10.0.0.2".to_owned()));
        assert_eq!(next(false, true), first);
        assert_eq!(next(true, false), first);
        assert_eq!(next(true, true), first);
        let six = Subject {
            saddr: addr("2001:db8::1"),
            ..subject(true)
        };
        assert_eq!(turns.choose(&nat, six, true), None);
    }
}
