//! Rules alike but for one key.
//!
//! In a run of adjacent plain rules with one and the same final verdict, order does not matter:
//! whichever holds first, the outcome is the same. So the run is a union of products of sets, and
//! `A × X ∪ A × Y = A × (X ∪ Y)` joins any two that differ in the values of one key only. Keys
//! are taken one after the other, each in one pass over the run.

use std::collections::HashMap;

use super::{comments, is_plain};
use crate::packet::IntervalSet;
use crate::packet::interval::Int;
use crate::target::nftables::fields::Key;
use crate::target::nftables::tree::{Match, Rule, Values, Verdict};

/// The same rules with fewer of them.
pub(super) fn merge(rules: Vec<Rule>) -> Vec<Rule> {
    let mut out = Vec::with_capacity(rules.len());
    let mut run: Vec<Rule> = Vec::new();
    for rule in rules {
        let ends = is_plain(&rule) && rule.verdict.as_ref().is_some_and(Verdict::is_terminal);
        if !run
            .last()
            .is_none_or(|last| ends && last.verdict == rule.verdict)
        {
            out.append(&mut joined(std::mem::take(&mut run)));
        }
        if ends {
            run.push(rule);
        } else {
            out.push(rule);
        }
    }
    out.append(&mut joined(run));
    out
}

/// A run of rules with one verdict, joined as far as it goes.
fn joined(mut run: Vec<Rule>) -> Vec<Rule> {
    let mut done: Vec<Key> = Vec::new();
    while run.len() > 1 {
        let keys = run.iter().flat_map(|r| &r.matches).filter_map(mergeable);
        let Some(key) = keys.map(|(key, _)| key).find(|k| !done.contains(k)) else {
            break;
        };
        done.push(key);
        run = by(key, run);
    }
    run
}

/// The key and values of a condition that can take more values.
fn mergeable(condition: &Match) -> Option<(Key, &Values)> {
    match condition {
        Match::Test {
            key,
            negate: false,
            values,
        } if !key.style.is_bits() => match values {
            Values::Numbers(_) | Values::V4(_) | Values::V6(_) | Values::Names(_) => {
                Some((*key, values))
            }
            Values::Prefix(_) | Values::Set(_) | Values::Masked { .. } => None,
        },
        _ => None,
    }
}

/// Joins the rules that differ in `key` only.
fn by(key: Key, run: Vec<Rule>) -> Vec<Rule> {
    let mut groups: Vec<(Vec<Rule>, usize)> = Vec::new();
    let mut known: HashMap<(usize, Vec<Match>), usize> = HashMap::new();
    for rule in run {
        let place = rule
            .matches
            .iter()
            .position(|m| mergeable(m).is_some_and(|(k, _)| k == key));
        let Some(place) = place else {
            groups.push((vec![rule], 0));
            continue;
        };
        let rest = rule.matches.iter().enumerate();
        let rest = rest
            .filter(|(i, _)| *i != place)
            .map(|(_, m)| m.clone())
            .collect();
        let next = groups.len();
        let group = *known.entry((place, rest)).or_insert(next);
        match groups.get_mut(group) {
            Some((group, _)) => group.push(rule),
            None => groups.push((vec![rule], place)),
        }
    }
    groups
        .into_iter()
        .filter_map(|(rules, place)| one(rules, place))
        .collect()
}

/// One rule for a group that differs at `place` only.
fn one(rules: Vec<Rule>, place: usize) -> Option<Rule> {
    if rules.len() > 1 {
        let values: Vec<&Values> = rules
            .iter()
            .filter_map(|r| mergeable(r.matches.get(place)?).map(|(_, v)| v))
            .collect();
        let union = union(&values)?;
        let comment = comments(rules.iter());
        let mut rule = rules.into_iter().next()?;
        if let Some(Match::Test { values, .. }) = rule.matches.get_mut(place) {
            *values = union;
        }
        rule.comment = comment;
        return Some(rule);
    }
    rules.into_iter().next()
}

fn union(all: &[&Values]) -> Option<Values> {
    fn ranges<'a, T: Int + 'a>(sets: impl Iterator<Item = &'a IntervalSet<T>>) -> IntervalSet<T> {
        sets.flat_map(|s| s.ranges().iter().copied()).collect()
    }
    Some(match all.first()? {
        Values::Numbers(_) => Values::Numbers(ranges(all.iter().filter_map(|v| match v {
            Values::Numbers(set) => Some(set),
            _ => None,
        }))),
        Values::V4(_) => Values::V4(ranges(all.iter().filter_map(|v| match v {
            Values::V4(set) => Some(set),
            _ => None,
        }))),
        Values::V6(_) => Values::V6(ranges(all.iter().filter_map(|v| match v {
            Values::V6(set) => Some(set),
            _ => None,
        }))),
        Values::Names(_) => Values::Names(
            all.iter()
                .filter_map(|v| match v {
                    Values::Names(names) => Some(names.iter().cloned()),
                    _ => None,
                })
                .flatten()
                .collect(),
        ),
        Values::Prefix(_) | Values::Set(_) | Values::Masked { .. } => return None,
    })
}
