//! What the interpreter says of a packet, in the terms of a comparison.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::fate::{Kind, socket};
use crate::analyse::model::{Model, V4, V6, Witness};
use crate::field::DPORT;
use crate::interpret::{Decision, Outcome, Packet, RuleId, Sourced, State, Steered, judge};
use crate::ir::{Down, Mark};

/// Everything of a decision that somebody could notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The outcome.
    pub outcome: Outcome,
    /// Where it goes, when it passes.
    pub goes: Option<Seen>,
    /// From which source, when it passes and not from its own.
    pub source: Option<Sourced>,
    /// Its mark in the end, when it passes.
    pub mark: u32,
    /// Its flow's mark in the end, when it passes.
    pub flow_mark: u32,
    /// Whether guard takes it out of connection tracking, when it passes.
    pub notrack: bool,
    /// The texts of its log entries, in order; with `true` they are names of rules.
    pub logged: Vec<(String, bool)>,
    /// The dynamic sets that it was put into.
    pub added: Vec<String>,
}

/// Where a packet goes that steer sends elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// To this port of this host.
    Redirect(Option<u64>),
    /// To this address and port.
    Dnat(IpAddr, Option<u64>),
    /// To this proxy.
    Proxy(Option<(IpAddr, u16)>, Mark, u32, Down),
    /// By this table.
    Route(u32),
}

/// Runs a witness through the interpreter. `target` is the one that each choice falls on. `names`
/// are the names that count for those rules in log entries.
pub fn observe(
    model: &Model,
    witness: &Witness,
    target: Option<usize>,
    names: &BTreeMap<RuleId, String>,
) -> (Decision, Observed) {
    let mut state = State::oracle(witness.within.clone(), witness.members.clone());
    state.choose_target(target);
    let decision = judge(model.ir, &witness.packet, &mut state, 0);
    let observed = reduce(model, &witness.packet, &decision, names);
    (decision, observed)
}

fn reduce(
    model: &Model,
    packet: &Packet,
    decision: &Decision,
    names: &BTreeMap<RuleId, String>,
) -> Observed {
    let passes = decision.outcome == Outcome::Allow;
    let port = |port: Option<u16>| port.map(u64::from).or_else(|| packet.field(DPORT));
    let family = if packet.saddr.is_ipv4() { V4 } else { V6 };
    let goes = match decision.steered {
        None | Some(Steered::Direct) => None,
        Some(Steered::Redirect { port: own }) => Some(Seen::Redirect(port(own))),
        Some(Steered::Dnat { addr, port: own }) => Some(Seen::Dnat(addr, port(own))),
        Some(Steered::Route { table }) => Some(Seen::Route(table)),
        Some(Steered::Proxy(id)) => model
            .ir
            .proxies
            .get(id)
            .map(|p| Seen::Proxy(socket(family, p.v4, p.v6), p.mark, p.table, p.down)),
    };
    let entry = |id: &RuleId| {
        let rule = id.of(model.ir)?;
        let text = rule.effects.log.as_ref()?.text.clone();
        let name = || {
            names
                .get(id)
                .cloned()
                .unwrap_or_else(|| rule.name.to_string())
        };
        Some((text.clone().unwrap_or_else(name), text.is_none()))
    };
    let mut logged: Vec<(String, bool)> = decision.logged.iter().filter_map(entry).collect();
    logged.sort_unstable();
    let sets = decision
        .added
        .iter()
        .filter_map(|at| model.ir.dynamic.get(*at));
    let mut added: Vec<String> = sets.map(|s| model.space.dynamic_label(s)).collect();
    added.sort_unstable();
    added.dedup();
    Observed {
        outcome: decision.outcome,
        goes: goes.filter(|_| passes),
        source: decision.sourced.filter(|s| passes && *s != Sourced::Own),
        mark: if passes { decision.mark } else { 0 },
        flow_mark: if passes { decision.flow_mark } else { 0 },
        notrack: decision.notrack && passes,
        logged,
        added,
    }
}

/// How two observations differ; `None` when they do not.
pub fn compare(a: &Observed, b: &Observed) -> Option<Kind> {
    match (a.outcome, b.outcome) {
        (Outcome::Allow, Outcome::Allow) => {
            if a.goes != b.goes || a.source != b.source {
                return Some(Kind::Retargeted);
            }
            if (a.mark, a.flow_mark, a.notrack) != (b.mark, b.flow_mark, b.notrack) {
                return Some(Kind::Marked);
            }
        }
        (Outcome::Allow, _) => return Some(Kind::Denied),
        (_, Outcome::Allow) => return Some(Kind::Allowed),
        (x, y) if x != y => return Some(Kind::Refused),
        _ => {}
    }
    (a.logged != b.logged || a.added != b.added).then_some(Kind::Effects)
}
