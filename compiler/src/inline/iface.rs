//! The interfaces between which a policy distinguishes.
//!
//! Two names are of one class when every set of interfaces in the policy has both or neither. A
//! class stands for all of its interfaces: what holds for one holds for each.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ir::{Cube, Ir, Side};
use crate::packet::{IfaceSet, Pattern};

/// One name for each class of interfaces. `lo` is none of them.
#[derive(Clone, Debug)]
pub(super) struct Classes {
    sets: BTreeSet<IfaceSet>,
    names: Vec<Arc<str>>,
}

/// Names for interfaces that a policy does not name.
const UNNAMED: [&str; 4] = ["other", "other0", "another0", "zz0"];

impl Classes {
    /// The classes of one side of the packets.
    pub(super) fn of(ir: &Ir, side: impl Fn(&Cube) -> &Side) -> Self {
        let rules = ir.rules().flat_map(|(_, r)| r.cubes.iter());
        let blocks = ir.blocks.iter().flat_map(|b| b.scope.iter());
        let senders = ir.proxies.iter().flat_map(|p| p.bypass.iter());
        let cubes = rules.chain(blocks).chain(senders);
        Self::new(cubes.map(|c| side(c).ifaces.clone()).collect())
    }

    /// The classes that `sets` make.
    pub(super) fn new(sets: BTreeSet<IfaceSet>) -> Self {
        let patterns: BTreeSet<&Pattern> = sets
            .iter()
            .flat_map(|s| s.include().into_iter().flatten().chain(s.exclude()))
            .collect();
        // The name of nothing that is named: last, so that named ones are shown first.
        let unnamed = UNNAMED
            .iter()
            .find(|n| !patterns.iter().any(|p| p.matches(n)))
            .or(UNNAMED.first());
        let candidates = patterns
            .iter()
            .filter_map(|p| example(p, &patterns))
            .chain(unnamed.map(|n| (*n).to_owned()));
        let mut seen = BTreeSet::new();
        let mut names = Vec::new();
        for name in candidates.filter(|n| n != "lo") {
            let member: Vec<bool> = sets.iter().map(|s| s.contains(&name)).collect();
            if seen.insert(member) {
                names.push(name.into());
            }
        }
        Self { sets, names }
    }

    /// One name of each class.
    pub(super) fn all(&self) -> Vec<Arc<str>> {
        self.names.clone()
    }

    /// One name of each class that `within` has a part of.
    pub(super) fn within(&self, within: &IfaceSet) -> Vec<Arc<str>> {
        let mut sets = self.sets.clone();
        sets.insert(within.clone());
        let finer = Self::new(sets);
        finer
            .names
            .into_iter()
            .filter(|n| within.contains(n))
            .collect()
    }
}

/// An interface that `pattern` means, and no narrower pattern if there is one.
fn example(pattern: &Pattern, all: &BTreeSet<&Pattern>) -> Option<String> {
    let prefix = match pattern {
        Pattern::Name(name) => return Some(name.clone()),
        Pattern::Prefix(prefix) => prefix,
    };
    let narrower = |name: &str| {
        all.iter()
            .any(|p| *p != pattern && pattern.covers(p) && p.matches(name))
    };
    // With a digit behind it a prefix looks like an interface.
    let endings = ('0'..='9').chain('a'..='z').map(|c| format!("{prefix}{c}"));
    let names: Vec<String> = endings
        .chain([prefix.clone()])
        .filter(|n| Pattern::problem(n).is_none())
        .collect();
    let alone = names.iter().find(|n| !narrower(n));
    alone.or(names.first()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(sets: &[IfaceSet]) -> Vec<String> {
        let classes = Classes::new(sets.iter().cloned().collect());
        classes.names.iter().map(ToString::to_string).collect()
    }

    fn of(names: &[&str]) -> IfaceSet {
        IfaceSet::of(names.iter().map(|n| Pattern::parse(n)))
    }

    #[test]
    fn interfaces_that_no_set_tells_apart_are_one_class() {
        assert_eq!(classes(&[]), ["other"]);
        assert_eq!(classes(&[of(&["eth0", "eth1"])]), ["eth0", "other"]);
        let sets = [of(&["eth0"]), of(&["eth*"]), IfaceSet::not_loopback()];
        assert_eq!(classes(&sets), ["eth0", "eth1", "other"]);
        let sets = [of(&["eth0"]), of(&["eth0", "eth1"])];
        assert_eq!(classes(&sets), ["eth0", "eth1", "other"]);
        let everything = [of(&["*"]), of(&["a0"])];
        assert_eq!(classes(&everything), ["a0", "0"]);
    }

    #[test]
    fn a_part_of_the_interfaces_has_its_classes() {
        let classes = Classes::new([of(&["eth0"]), of(&["eth*"])].into());
        let names = |set: &IfaceSet| -> Vec<String> {
            let names = classes.within(set);
            names.iter().map(ToString::to_string).collect()
        };
        assert_eq!(names(&of(&["eth*"])), ["eth0", "eth1"]);
        assert_eq!(names(&of(&["eth7"])), ["eth7"]);
        assert_eq!(names(&of(&["wg0", "eth0"])), ["eth0", "wg0"]);
    }
}
