//! The base chains of a policy, one file for each stage.

mod egress;
mod filter;
mod guard;
mod sockets;
mod steer;

use super::Build;
use super::sides::end_key;
use super::tree::{Base, Chain, Match, Rule as Line, Verdict as Then};
use crate::ir::Rule;
use crate::target::Capability;
use crate::target::netfilter::sides::{Hook, Place, names_loopback};
use crate::target::netfilter::{Role, check};

/// The names of base chains. They are taken first, so that no other chain has them.
const GUARD: &str = "guard";
const STEER_PRE: &str = "steer_pre";
const STEER_OUT: &str = "steer_out";
const NAT_PRE: &str = "nat_pre";
const NAT_OUT: &str = "nat_out";
const INPUT: &str = "input";
const FORWARD: &str = "forward";
const OUTPUT: &str = "output";
const NAT_POST: &str = "nat_post";
/// The chain whose one rule carries the generation.
pub(super) const GENERATION: &str = "generation";

/// Every base chain that the policy needs. Other chains are left in the build.
pub(super) fn chains(build: &mut Build) -> Vec<Chain> {
    for name in [
        GENERATION, GUARD, STEER_PRE, STEER_OUT, NAT_PRE, NAT_OUT, INPUT, FORWARD, OUTPUT, NAT_POST,
    ] {
        build.names.unique(polc_bundle::ObjectKind::Chain, name);
    }
    for rule in check::stale_marks(build.ir) {
        build.unsupported(Capability::StaleMark, rule.span);
    }
    let mut chains = Vec::new();
    chains.extend(guard::chain(build));
    chains.extend(steer::chains(build));
    chains.extend(filter::chains(build));
    chains.extend(egress::chain(build));
    chains
}

/// A base chain.
fn base(name: &str, base: Base, rules: Vec<Line>) -> Chain {
    Chain {
        name: name.into(),
        base: Some(base),
        rules,
    }
}

/// Neighbour discovery and packet-too-big of both families.
fn unconditional_icmp(build: &Build) -> Vec<Line> {
    if build.ir.strict_icmp {
        return vec![];
    }
    vec![
        Line::text("icmpv6 type { 2, 133-136 }", Then::Accept),
        Line::text("icmp type 3 icmp code 4", Then::Accept),
    ]
}

/// Refuses packets that fit no flow and cannot open one. Packet-too-big about packets that are not
/// tracked is among these, and passes.
fn invalid(build: &mut Build) -> Line {
    let mut lines = unconditional_icmp(build);
    let then = if lines.is_empty() {
        Then::Drop
    } else {
        lines.push(Line::new(vec![], Then::Drop));
        Then::Goto(build.chain("invalid", lines))
    };
    Line::text("ct state invalid", then)
}

/// What `strict tcp` refuses: a new flow that no SYN opens. `flows` are further conditions.
pub(super) fn strict_tcp(build: &Build, flows: &str) -> Option<Line> {
    let text =
        format!("{flows}meta l4proto tcp ct state new tcp flags & (fin | syn | rst | ack) != syn");
    build.ir.strict_tcp.then(|| Line::text(&text, Then::Drop))
}

/// Takes loopback traffic out of a chain: it passes, unless a rule names `lo`, in which case those
/// rules judge it first.
fn loopback<'a>(
    build: &mut Build,
    chain: &str,
    hook: Hook,
    rules: impl Iterator<Item = (&'a Rule, Role)>,
) -> Vec<Line> {
    let Some(end) = hook.loopback() else {
        return vec![];
    };
    let place = Place {
        hook,
        loopback: true,
    };
    let mut inner = Vec::new();
    for (rule, role) in rules {
        if names_loopback(rule, hook) {
            build.emit(&mut inner, rule, place, role);
        }
    }
    let is_loopback = Match::Text(format!("{} \"lo\"", end_key(end).expr));
    if inner.is_empty() {
        return vec![Line::new(vec![is_loopback], Then::Accept)];
    }
    inner.push(Line::new(vec![], Then::Accept));
    let chain = build.chain(&format!("{chain}_lo"), inner);
    vec![Line::new(vec![is_loopback], Then::Goto(chain))]
}

/// Writes the rules up to the first that takes everything, which is returned: what follows it
/// decides nothing.
fn judge<'a>(
    build: &mut Build,
    out: &mut Vec<Line>,
    place: Place,
    rules: impl Iterator<Item = (&'a Rule, Role)>,
) -> Option<&'a Rule> {
    for (rule, duty) in rules {
        build.emit(out, rule, place, duty);
        if out.last().is_some_and(Line::is_final) {
            return Some(rule);
        }
    }
    None
}

/// Ends a chain with `last` unless it ends already.
fn finish(rules: &mut Vec<Line>, last: Then) {
    if !rules.last().is_some_and(Line::is_final) {
        rules.push(Line::new(vec![], last));
    }
}
