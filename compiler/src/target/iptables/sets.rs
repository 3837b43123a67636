//! Sets of addresses and ports: one range is written into the rule, more are a set of ipset's, once
//! for each content. A set's name carries a hash of its content, so that rules with other contents
//! ask another set, and the rules' own replacement puts it in force.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use polc_bundle::Family;

use super::names;
use super::tree::suffix;
use crate::packet::addr::prefixes;
use crate::packet::interval::Int;
use crate::packet::{IntervalSet, addr};

/// A set of ipset's.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    pub(crate) name: Arc<str>,
    /// What the policy calls it.
    pub(crate) policy_name: Option<String>,
    pub(crate) kind: Kind,
    /// What it is loaded with, one element a string.
    pub(crate) elements: Vec<String>,
}

/// A type of sets, with its parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Prefixes, loaded once.
    Nets(Family),
    /// Ports, loaded once.
    Ports,
    /// Addresses that the kernel adds: how many, and after how many seconds one leaves.
    Dynamic {
        family: Family,
        size: u32,
        timeout: Option<u64>,
    },
}

/// The sets of a policy, of both families.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    sets: BTreeMap<Arc<str>, Set>,
    order: Vec<Arc<str>>,
}

impl Pool {
    /// A set of these addresses.
    pub(crate) fn nets<T: Addr>(&mut self, set: &IntervalSet<T>, label: Option<&str>) -> Arc<str> {
        let ranges = set.ranges().iter();
        let elements: Vec<String> = ranges
            .flat_map(|(first, last)| prefixes(*first, *last, T::BITS))
            .map(|(at, len)| T::prefix(at, len))
            .collect();
        self.add(Kind::Nets(T::FAMILY), elements, label)
    }

    /// A set of these ports.
    pub(crate) fn ports(&mut self, set: &IntervalSet<u64>) -> Arc<str> {
        let range = |(first, last): &(u64, u64)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        };
        let elements = set.ranges().iter().map(range).collect();
        self.add(Kind::Ports, elements, Some("ports"))
    }

    fn add(&mut self, kind: Kind, elements: Vec<String>, label: Option<&str>) -> Arc<str> {
        let tag = match kind {
            Kind::Nets(Family::V4) => "4",
            Kind::Nets(Family::V6) => "6",
            Kind::Ports | Kind::Dynamic { .. } => "",
        };
        let content = format!("{kind:?} {}", elements.join(" "));
        let name = names::object(tag, label.unwrap_or("set"), &content);
        self.push(Set {
            name: name.clone(),
            policy_name: label.map(ToOwned::to_owned),
            kind,
            elements,
        });
        name
    }

    /// Adds a set if there is none of its name.
    pub(crate) fn push(&mut self, set: Set) {
        let name = set.name.clone();
        if self.sets.insert(name.clone(), set).is_none() {
            self.order.push(name);
        }
    }

    /// Every set, in the order of first use.
    pub(crate) fn sets(&self) -> impl Iterator<Item = &Set> {
        self.order.iter().filter_map(|name| self.sets.get(name))
    }
}

/// An address as an integer.
pub(crate) trait Addr: Int {
    /// Its family.
    const FAMILY: Family;
    /// Its length.
    const BITS: u32;
    /// A prefix.
    fn prefix(at: u128, len: u32) -> String;
    /// A range.
    fn range(first: Self, last: Self) -> String;
}

impl Addr for u32 {
    const FAMILY: Family = Family::V4;
    const BITS: u32 = 32;
    fn prefix(at: u128, len: u32) -> String {
        let addr = Ipv4Addr::from(u32::try_from(at).unwrap_or(u32::MAX));
        format!("{addr}/{len}")
    }
    fn range(first: Self, last: Self) -> String {
        addr::range4(first, last)
    }
}

impl Addr for u128 {
    const FAMILY: Family = Family::V6;
    const BITS: u32 = 128;
    fn prefix(at: u128, len: u32) -> String {
        format!("{}/{len}", Ipv6Addr::from(at))
    }
    fn range(first: Self, last: Self) -> String {
        addr::range6(first, last)
    }
}

/// The word for a family in ipset's language.
fn inet(family: Family) -> &'static str {
    match family {
        Family::V4 => "inet",
        Family::V6 => "inet6",
    }
}

impl Set {
    /// Whether the kernel adds to it.
    pub(crate) fn is_dynamic(&self) -> bool {
        matches!(self.kind, Kind::Dynamic { .. })
    }

    /// The contents, one element a line.
    pub(crate) fn lines(&self) -> String {
        let mut text = self.elements.join("\n");
        text.push('\n');
        text
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match self.kind {
            Kind::Nets(family) => {
                let most = self.elements.len().max(1);
                let buckets = most.next_power_of_two().clamp(64, 1 << 20);
                let family = inet(family);
                write!(
                    f,
                    "create {name} hash:net family {family} hashsize {buckets} maxelem {most}"
                )?;
            }
            Kind::Ports => write!(f, "create {name} bitmap:port range 0-65535")?,
            Kind::Dynamic {
                family,
                size,
                timeout,
            } => {
                let family = inet(family);
                write!(f, "create {name} hash:ip family {family} maxelem {size}")?;
                if let Some(seconds) = timeout {
                    write!(f, " timeout {seconds}")?;
                }
            }
        }
        for element in &self.elements {
            write!(f, "\nadd {name} {element}")?;
        }
        Ok(())
    }
}

/// The tag of a set that the kernel adds to.
pub(crate) fn dynamic_name(family: Family, wish: &str, parameters: &str) -> Arc<str> {
    let tag = suffix(family).trim_start_matches('v');
    names::object(tag, wish, parameters)
}
