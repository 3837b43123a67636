//! Rules that ask for exact values of the same keys, as a verdict map.
//!
//! In a run of adjacent plain rules with the same keys, all conditions alike but for some that ask
//! for exact values, a packet has one value for each of those keys, so it can satisfy only rules
//! whose entries hold that tuple. Entries are kept for the first such rule, which is the one that
//! decides; that is right when its verdict does not come back here, so a run with a `jump` in which
//! a tuple stands twice is left as it is.

use std::collections::HashSet;

use super::{comments, is_plain};
use crate::packet::IntervalSet;
use crate::packet::interval::Int;
use crate::target::nftables::fields::Key;
use crate::target::nftables::tree::{Match, Rule, Values, Verdict};

/// A map for fewer rules costs more than it saves.
const FEWEST: usize = 4;

/// The most entries that one rule may become.
const ENTRIES: usize = 64;

/// The most values of one key in one rule.
const VALUES: u128 = 8;

/// The same rules, runs of them as maps.
pub(super) fn build(rules: Vec<Rule>) -> Vec<Rule> {
    let mut out = Vec::with_capacity(rules.len());
    let mut run = Run::default();
    for rule in rules {
        if !run.take(&rule) {
            std::mem::take(&mut run).end(&mut out);
            if !run.take(&rule) {
                out.push(rule);
            }
        }
    }
    run.end(&mut out);
    out
}

/// Rules that can be one map.
#[derive(Default)]
struct Run {
    rules: Vec<Rule>,
    /// The conditions in which they differ.
    differ: Vec<bool>,
    /// Whether a verdict may come back.
    jumps: bool,
}

impl Run {
    /// Adds a rule, if it fits.
    fn take(&mut self, rule: &Rule) -> bool {
        let simple = matches!(
            rule.verdict,
            Some(Verdict::Accept | Verdict::Drop | Verdict::Jump(_) | Verdict::Goto(_))
        );
        let entries: usize = rule
            .matches
            .iter()
            .map(|m| exact(m).map_or(1, |(_, values)| values.len()))
            .product();
        if !simple || !is_plain(rule) || entries > ENTRIES {
            return false;
        }
        let Some(first) = self.rules.first() else {
            let any = rule.matches.iter().any(|m| exact(m).is_some());
            if any {
                self.differ = vec![false; rule.matches.len()];
                self.rules.push(rule.clone());
                self.jumps = matches!(rule.verdict, Some(Verdict::Jump(_)));
            }
            return any;
        };
        if first.matches.len() != rule.matches.len() {
            return false;
        }
        let mut differ = self.differ.clone();
        for ((a, b), differs) in first.matches.iter().zip(&rule.matches).zip(&mut differ) {
            if a == b {
                continue;
            }
            match (exact(a), exact(b)) {
                (Some((left, _)), Some((right, _))) if left == right => *differs = true,
                _ => return false,
            }
        }
        self.differ = differ;
        self.jumps |= matches!(rule.verdict, Some(Verdict::Jump(_)));
        self.rules.push(rule.clone());
        true
    }

    /// Writes the run as a map, or as it stands when that is no gain.
    fn end(self, out: &mut Vec<Rule>) {
        if self.rules.len() < FEWEST || !self.differ.contains(&true) {
            out.extend(self.rules);
            return;
        }
        let mut seen: HashSet<Vec<Values>> = HashSet::new();
        let mut entries = Vec::new();
        for rule in &self.rules {
            let Some(verdict) = &rule.verdict else {
                continue;
            };
            for tuple in self.tuples(rule) {
                if seen.insert(tuple.clone()) {
                    entries.push((tuple, verdict.clone()));
                } else if self.jumps {
                    out.extend(self.rules);
                    return;
                }
            }
        }
        let Some(first) = self.rules.first() else {
            return;
        };
        let parts = || first.matches.iter().zip(&self.differ);
        let keys = parts().filter(|(_, d)| **d);
        let keys = keys
            .filter_map(|(m, _)| exact(m).map(|(key, _)| key))
            .collect();
        let matches = parts()
            .filter(|(_, d)| !**d)
            .map(|(m, _)| m.clone())
            .collect();
        out.push(Rule {
            matches,
            verdict: Some(Verdict::Map(keys, entries)),
            comment: comments(self.rules.iter()),
            ..Rule::default()
        });
    }

    /// The tuples of values that `rule` asks for.
    fn tuples(&self, rule: &Rule) -> Vec<Vec<Values>> {
        let parts = rule.matches.iter().zip(&self.differ).filter(|(_, d)| **d);
        parts
            .filter_map(|(m, _)| exact(m).map(|(_, values)| values))
            .fold(vec![vec![]], |tuples, values| {
                let with = |tuple: &Vec<Values>, v: &Values| {
                    let mut tuple = tuple.clone();
                    tuple.push(v.clone());
                    tuple
                };
                tuples
                    .iter()
                    .flat_map(|t| values.iter().map(move |v| with(t, v)))
                    .collect()
            })
    }
}

/// The key and the single values that a condition asks for, when these are few.
fn exact(condition: &Match) -> Option<(Key, Vec<Values>)> {
    fn points<T: Int>(
        set: &IntervalSet<T>,
        one: impl Fn(IntervalSet<T>) -> Values,
    ) -> Option<Vec<Values>> {
        let from = |(first, last): &(T, T)| {
            let last = *last;
            std::iter::successors(Some(*first), move |v| v.succ().filter(|v| *v <= last))
        };
        (set.count() <= VALUES).then(|| {
            let all = set.ranges().iter().flat_map(from);
            all.map(|v| one(IntervalSet::one(v))).collect()
        })
    }
    let Match::Test {
        key,
        negate: false,
        values,
    } = condition
    else {
        return None;
    };
    if !key.joins() {
        return None;
    }
    let list = match values {
        Values::Numbers(set) => points(set, Values::Numbers)?,
        Values::V4(set) => points(set, Values::V4)?,
        Values::V6(set) => points(set, Values::V6)?,
        Values::Names(names) if names.len() as u128 <= VALUES => names
            .iter()
            .map(|n| Values::Names([n.clone()].into()))
            .collect(),
        _ => return None,
    };
    Some((*key, list))
}
