//! A section's rules behind one test of its interfaces.
//!
//! Take a run of adjacent rules of one section, and for each the conditions about interfaces that
//! it begins with. Where these are all the same, `I a → v; I b → w` is `I → jump c` with
//! `c: a → v; b → w`: the chain is entered exactly when the first conditions hold, and a packet
//! that no rule inside decides returns to the rule after the run. Where they are several, no two of
//! which hold for one packet (`eth1` and `wg*`, which need a rule each), rules of different ones
//! may change places, so each gets its own run, and equal runs share the chain.

use std::collections::BTreeSet;
use std::sync::Arc;

use polc_bundle::ObjectKind;

use crate::ir::Block;
use crate::target::nftables::fields::{IIFNAME, OIFNAME};
use crate::target::nftables::names::{Names, comment};
use crate::target::nftables::tree::{Chain, Match, Rule, Values, Verdict};

/// A chain for fewer rules costs more than it saves.
const FEWEST: usize = 2;

/// The most different interface conditions of one run.
const WAYS: usize = 8;

/// Moves runs of `chain` into chains of their own, which are added to `out`. Only rules that are
/// `movable` are part of a run.
pub(super) fn split(
    chain: &mut Chain,
    out: &mut Vec<Chain>,
    names: &mut Names,
    blocks: &[Block],
    movable: &dyn Fn(&Rule) -> bool,
) {
    let rules = std::mem::take(&mut chain.rules);
    let mut run: Vec<Rule> = Vec::new();
    for rule in rules {
        let continues = run
            .last()
            .is_none_or(|last| last.block == rule.block && last.block.is_some());
        if !continues || !movable(&rule) {
            flush(&mut run, &mut chain.rules, out, names, blocks);
        }
        if movable(&rule) {
            run.push(rule);
        } else {
            chain.rules.push(rule);
        }
    }
    flush(&mut run, &mut chain.rules, out, names, blocks);
}

/// Ends a run of rules of one section.
fn flush(
    run: &mut Vec<Rule>,
    kept: &mut Vec<Rule>,
    out: &mut Vec<Chain>,
    names: &mut Names,
    blocks: &[Block],
) {
    let rules = std::mem::take(run);
    let block = rules
        .first()
        .and_then(|r| r.block)
        .and_then(|b| blocks.get(b));
    let Some(block) = block.filter(|_| rules.len() >= FEWEST) else {
        kept.extend(rules);
        return;
    };
    let ways: Vec<usize> = rules.iter().map(interfaces).collect();
    let mut groups: Vec<(Vec<Match>, Vec<Rule>)> = Vec::new();
    for (rule, way) in rules.iter().zip(&ways) {
        let (prefix, rest) = rule.matches.split_at(*way);
        let inner = Rule {
            matches: rest.to_vec(),
            block: None,
            ..rule.clone()
        };
        match groups.iter_mut().find(|(p, _)| p == prefix) {
            Some((_, group)) => group.push(inner),
            None => groups.push((prefix.to_vec(), vec![inner])),
        }
        if groups.len() > WAYS {
            kept.extend(rules);
            return;
        }
    }
    let apart = groups
        .iter()
        .enumerate()
        .all(|(i, (a, _))| groups.iter().skip(i + 1).all(|(b, _)| disjoint(a, b)));
    let worth = groups
        .iter()
        .all(|(prefix, group)| !prefix.is_empty() && group.len() >= FEWEST);
    if !apart || !worth {
        kept.extend(rules);
        return;
    }
    let mut made: Vec<(Vec<Rule>, Arc<str>)> = Vec::new();
    for (prefix, group) in groups {
        let ends = group.last().is_some_and(Rule::is_final);
        let known = made.iter().find(|(rules, _)| *rules == group);
        let name = if let Some((_, name)) = known {
            name.clone()
        } else {
            let name = names.unique(ObjectKind::Chain, &block.label);
            made.push((group.clone(), name.clone()));
            out.push(Chain {
                name: name.clone(),
                base: None,
                rules: group,
            });
            name
        };
        kept.push(Rule {
            matches: prefix,
            verdict: Some(if ends {
                Verdict::Goto(name)
            } else {
                Verdict::Jump(name)
            }),
            comment: Some(comment(&block.label)),
            ..Rule::default()
        });
    }
}

/// How many conditions about interfaces the rule begins with.
fn interfaces(rule: &Rule) -> usize {
    let about =
        |m: &&Match| matches!(m, Match::Test { key, .. } if [IIFNAME, OIFNAME].contains(key));
    rule.matches.iter().take_while(about).count()
}

/// Whether no packet satisfies both.
fn disjoint(a: &[Match], b: &[Match]) -> bool {
    let positive = |m: &Match| match m {
        Match::Test {
            key,
            negate: false,
            values,
        } => Some((*key, values.clone())),
        _ => None,
    };
    a.iter().filter_map(positive).any(|(key, left)| {
        b.iter()
            .filter_map(positive)
            .any(|(other, right)| key == other && apart(&left, &right))
    })
}

fn apart(a: &Values, b: &Values) -> bool {
    let none =
        |names: &BTreeSet<String>, prefix: &str| !names.iter().any(|n| n.starts_with(prefix));
    match (a, b) {
        (Values::Names(a), Values::Names(b)) => a.is_disjoint(b),
        (Values::Names(names), Values::Prefix(prefix))
        | (Values::Prefix(prefix), Values::Names(names)) => none(names, prefix),
        (Values::Prefix(a), Values::Prefix(b)) => {
            !a.starts_with(b.as_str()) && !b.starts_with(a.as_str())
        }
        _ => false,
    }
}
