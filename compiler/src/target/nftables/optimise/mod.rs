//! Rewrites of the table that keep every packet's fate.
//!
//! Three, in this order, each with its argument in its own module:
//!
//! 1. [`blocks`]: rules of one section that share their interfaces become a chain, entered once.
//! 2. [`merge`]: rules with one verdict that differ in one key become one rule with a set.
//! 3. [`table`]: rules that ask for exact values of the same keys become a verdict map.
//!
//! What counts, logs, marks or asks a bucket is left as it stands: how often it happens matters.
//!
//! Never `nft -o`: it changes what rules mean.

mod blocks;
mod merge;
mod table;

#[cfg(test)]
mod evaluate;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::names::Names;
use super::tree::{Chain, Match, Rule, Table, Verdict};
use crate::ir::Block;
use crate::target::netfilter::text::quotable;

/// Rewrites every chain.
pub(super) fn run(table: &mut Table, names: &mut Names, sections: &[Block]) {
    let deciding = deciding(&table.chains);
    let movable = |rule: &Rule| match &rule.verdict {
        Some(Verdict::Goto(chain)) => deciding.contains(chain),
        Some(Verdict::Return) => false,
        _ => true,
    };
    let mut chains = Vec::with_capacity(table.chains.len());
    for mut chain in std::mem::take(&mut table.chains) {
        blocks::split(&mut chain, &mut chains, names, sections, &movable);
        chains.push(chain);
    }
    for chain in &mut chains {
        chain.rules = table::build(merge::merge(std::mem::take(&mut chain.rules)));
    }
    table.chains = chains;
}

/// The chains that decide about every packet that gets into them. Where a packet goes on that
/// leaves another chain at its end depends on the chain that it came from, so a rule that goes there
/// cannot move.
fn deciding(chains: &[Chain]) -> BTreeSet<Arc<str>> {
    let mut known = BTreeSet::new();
    loop {
        let leaves = |rule: &Rule| match &rule.verdict {
            Some(Verdict::Goto(chain)) => !known.contains(chain),
            Some(Verdict::Return) => true,
            _ => false,
        };
        let decides = |chain: &&Chain| {
            chain.rules.last().is_some_and(Rule::is_final) && !chain.rules.iter().any(leaves)
        };
        let found: BTreeSet<Arc<str>> = chains
            .iter()
            .filter(decides)
            .map(|c| Arc::clone(&c.name))
            .collect();
        if found.len() == known.len() {
            return known;
        }
        known = found;
    }
}

/// Whether the rule does nothing but decide, and its conditions can be asked any number of times.
fn is_plain(rule: &Rule) -> bool {
    rule.statements.is_empty() && !rule.matches.iter().any(|m| matches!(m, Match::Ask(_)))
}

/// The longest comment of several rules, in bytes.
const COMMENT: usize = 127;

/// One comment for several rules: their names, as many as there is room for.
fn comments<'a>(rules: impl Iterator<Item = &'a Rule>) -> Option<Arc<str>> {
    let mut out = String::new();
    let mut last = None;
    for comment in rules.filter_map(|r| r.comment.as_ref()) {
        if last == Some(comment) {
            continue;
        }
        last = Some(comment);
        if out.is_empty() {
            out.push_str(comment);
        } else if out.len() + comment.len() + 6 <= COMMENT {
            out.push_str(", ");
            out.push_str(comment);
        } else {
            out.push_str(", …");
            break;
        }
    }
    (!out.is_empty()).then(|| quotable(&out, COMMENT).into())
}
