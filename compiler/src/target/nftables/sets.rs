//! Sets of addresses: written into the rule when short, else named, once for each content.

use std::collections::HashMap;
use std::sync::Arc;

use polc_bundle::{Family, ObjectKind, sha256_hex};

use super::fields::{Address, address};
use super::names::{Names, mangle};
use super::tree::{Elements, Match, Set, Values};
use crate::packet::IntervalSet;
use crate::packet::interval::Int;

/// The most ranges that are written into a rule.
const INLINE: usize = 8;

/// A set is written out as single addresses when these are at most so many times its ranges:
/// a hash table loads several times faster than a tree and looks up faster.
const SPARSE: u128 = 4;

/// What is known of a set that was asked for before: where its ranges lie in memory identifies it,
/// which costs nothing, and holding it keeps the place from being used again.
pub(crate) struct Known<T> {
    _held: IntervalSet<T>,
    name: Arc<str>,
}

/// An address as an integer.
pub(crate) trait Addr: Int {
    /// Its family.
    const FAMILY: Family;
    /// Addresses written into a rule.
    fn values(set: IntervalSet<Self>) -> Values;
    /// Elements of a named set, which are single addresses or ranges.
    fn elements(set: IntervalSet<Self>, single: bool) -> Elements;
    /// The sets of the family that a pool knows.
    fn known(pool: &mut Pool) -> &mut HashMap<usize, Known<Self>>;
}

impl Addr for u32 {
    const FAMILY: Family = Family::V4;
    fn values(set: IntervalSet<Self>) -> Values {
        Values::V4(set)
    }
    fn elements(set: IntervalSet<Self>, single: bool) -> Elements {
        if single {
            Elements::Hosts4(set)
        } else {
            Elements::Ranges4(set)
        }
    }
    fn known(pool: &mut Pool) -> &mut HashMap<usize, Known<Self>> {
        &mut pool.known4
    }
}

impl Addr for u128 {
    const FAMILY: Family = Family::V6;
    fn values(set: IntervalSet<Self>) -> Values {
        Values::V6(set)
    }
    fn elements(set: IntervalSet<Self>, single: bool) -> Elements {
        if single {
            Elements::Hosts6(set)
        } else {
            Elements::Ranges6(set)
        }
    }
    fn known(pool: &mut Pool) -> &mut HashMap<usize, Known<Self>> {
        &mut pool.known6
    }
}

/// The named sets of a table.
#[derive(Default)]
pub(crate) struct Pool {
    sets: Vec<Set>,
    by_content: HashMap<String, Arc<str>>,
    known4: HashMap<usize, Known<u32>>,
    known6: HashMap<usize, Known<u128>>,
}

impl Pool {
    /// The condition that an address is in `set`.
    pub(crate) fn among<T: Addr>(
        &mut self,
        names: &mut Names,
        which: Address,
        set: &IntervalSet<T>,
        label: Option<&str>,
    ) -> Match {
        let (negate, length) = shorter(set);
        let chosen = || {
            if negate {
                set.complement()
            } else {
                set.clone()
            }
        };
        let values = if length <= INLINE {
            T::values(chosen())
        } else {
            let place = set.ranges().as_ptr() as usize;
            let known = T::known(self).get(&place).map(|k| k.name.clone());
            let name = known.unwrap_or_else(|| {
                let label = match label {
                    Some(label) if negate => label.strip_prefix("not-"),
                    label => label,
                };
                let chosen = chosen();
                let single = chosen.count() <= SPARSE * chosen.ranges().len() as u128;
                let name = self.add(names, T::elements(chosen, single), label);
                let known = Known {
                    _held: set.clone(),
                    name: name.clone(),
                };
                T::known(self).insert(place, known);
                name
            });
            Values::Set(name)
        };
        Match::Test {
            key: address(which, T::FAMILY),
            negate,
            values,
        }
    }

    /// Adds a set that the data plane fills.
    pub(crate) fn push(&mut self, set: Set) {
        self.sets.push(set);
    }

    /// Every set, in the order of first use.
    pub(crate) fn into_sets(self) -> Vec<Set> {
        self.sets
    }

    fn add(&mut self, names: &mut Names, elements: Elements, label: Option<&str>) -> Arc<str> {
        let (ty, suffix) = match elements {
            Elements::Hosts6(_) | Elements::Ranges6(_) => ("ipv6_addr", "v6"),
            _ => ("ipv4_addr", "v4"),
        };
        let hash = hash(&elements);
        if let Some(name) = self.by_content.get(&hash) {
            return name.clone();
        }
        let short = hash.get(..8).unwrap_or_default();
        let wish = format!("{}_{suffix}_{short}", mangle(label.unwrap_or("set")));
        let name = names.unique(ObjectKind::Set, &wish);
        self.by_content.insert(hash, name.clone());
        self.sets.push(Set {
            name: name.clone(),
            policy_name: label.map(Into::into),
            ty,
            elements,
            dynamic: None,
        });
        name
    }
}

/// Whether the complement has fewer ranges, and how many the one with fewer has.
fn shorter<T: Int>(set: &IntervalSet<T>) -> (bool, usize) {
    let n = set.ranges().len();
    let first = set.ranges().first().is_some_and(|r| r.0 == T::MIN);
    let last = set.ranges().last().is_some_and(|r| r.1 == T::MAX);
    let rest = n + 1 - usize::from(first) - usize::from(last);
    if 0 < rest && rest < n {
        (true, rest)
    } else {
        (false, n)
    }
}

/// The hash of a set's type and contents.
fn hash(elements: &Elements) -> String {
    let mut bytes = Vec::new();
    let mut tag = |text: &[u8]| bytes.extend_from_slice(text);
    match elements {
        Elements::None => {}
        Elements::Hosts4(set) | Elements::Ranges4(set) => {
            tag(if elements.is_interval() { b"r4" } else { b"h4" });
            for (a, b) in set.ranges() {
                tag(&a.to_be_bytes());
                tag(&b.to_be_bytes());
            }
        }
        Elements::Hosts6(set) | Elements::Ranges6(set) => {
            tag(if elements.is_interval() { b"r6" } else { b"h6" });
            for (a, b) in set.ranges() {
                tag(&a.to_be_bytes());
                tag(&b.to_be_bytes());
            }
        }
    }
    sha256_hex(&bytes)
}
