//! What a table does with a packet: for tests of rewrites.

use std::collections::BTreeMap;

use crate::target::nftables::fields::Key;
use crate::target::nftables::tree::{Chain, Match, Rule, Values, Verdict};

/// A packet: the values of the keys that it has.
#[derive(Clone, Debug, Default)]
pub(super) struct Packet {
    pub(super) numbers: BTreeMap<&'static str, u128>,
    pub(super) names: BTreeMap<&'static str, String>,
    /// Answers to questions in nft's own words.
    pub(super) texts: BTreeMap<String, bool>,
}

/// Everything observable: statements carried out, buckets asked, and the verdict in the end.
pub(super) fn run(chains: &[Chain], base: &str, packet: &Packet) -> Vec<String> {
    let mut trace = Vec::new();
    let verdict = chain(chains, base, packet, &mut trace);
    trace.push(verdict.unwrap_or_else(|| "policy".to_owned()));
    trace
}

/// The final verdict; `None` when the end is reached.
fn chain(all: &[Chain], name: &str, packet: &Packet, trace: &mut Vec<String>) -> Option<String> {
    let rules = &all.iter().find(|c| *c.name == *name).unwrap().rules;
    for rule in rules {
        if !holds(rule, packet, trace) {
            continue;
        }
        trace.extend(rule.statements.iter().cloned());
        let verdict = match &rule.verdict {
            Some(Verdict::Map(keys, entries)) => entries
                .iter()
                .find(|(tuple, _)| tuple_holds(keys, tuple, packet))
                .map(|(_, v)| v),
            other => other.as_ref(),
        };
        match verdict {
            None => {}
            Some(Verdict::Jump(to)) => {
                if let Some(verdict) = chain(all, to, packet, trace) {
                    return Some(verdict);
                }
            }
            Some(Verdict::Goto(to)) => return chain(all, to, packet, trace),
            Some(Verdict::Return) => return None,
            Some(other) => return Some(other.to_string()),
        }
    }
    None
}

fn holds(rule: &Rule, packet: &Packet, trace: &mut Vec<String>) -> bool {
    rule.matches.iter().all(|m| match m {
        Match::Test {
            key,
            negate,
            values,
        } => value_holds(*key, values, packet).is_some_and(|inside| inside != *negate),
        Match::Tuple { keys, entries } => entries.iter().any(|e| tuple_holds(keys, e, packet)),
        Match::Text(text) => packet.texts.get(text).copied().unwrap_or(false),
        Match::Ask(text) => {
            trace.push(text.clone());
            packet.texts.get(text).copied().unwrap_or(false)
        }
    })
}

fn tuple_holds(keys: &[Key], tuple: &[Values], packet: &Packet) -> bool {
    keys.iter()
        .zip(tuple)
        .all(|(k, v)| value_holds(*k, v, packet) == Some(true))
}

/// Whether the key's value is among `values`; `None` when the packet does not have it.
fn value_holds(key: Key, values: &Values, packet: &Packet) -> Option<bool> {
    if let Some(name) = packet.names.get(key.expr) {
        return Some(match values {
            Values::Names(names) => names.contains(name),
            Values::Prefix(prefix) => name.starts_with(prefix.as_str()),
            _ => false,
        });
    }
    let number = *packet.numbers.get(key.expr)?;
    Some(match values {
        Values::Numbers(set) => set.contains(u64::try_from(number).unwrap()),
        Values::V4(set) => set.contains(u32::try_from(number).unwrap()),
        Values::V6(set) => set.contains(number),
        Values::Masked { mask, value } => number & u128::from(*mask) == u128::from(*value),
        Values::Names(_) | Values::Prefix(_) | Values::Set(_) => false,
    })
}
