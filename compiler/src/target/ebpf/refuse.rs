//! What programs cannot do yet, or never can: an error at the rule that asks for it.

use super::{Ebpf, Hook, limit, parse, rate};
use crate::diagnostic::{Code, Diagnostic};
use crate::field::Field;
use crate::ir::{Atom, BucketId, Cube, Down, DynamicId, Ir, Rate, Rule, Side, Stage, Verdict};
use crate::target::{Capability, strict, unsupported};

/// One error for each thing in a policy that no program can be made for.
pub(super) fn policy(ir: &Ir) -> Vec<Diagnostic> {
    let mut errors = guard(ir, super::guard_hook(ir));
    errors.extend(filter(ir));
    errors.extend(steered(ir));
    errors.extend(strict(ir));
    errors.extend(ir.raw.iter().map(|raw| {
        let title = format!("target `ebpf` has no place for text for `{}`", raw.target);
        Diagnostic::error(Code::Unsupported, title, raw.span).help("build for `nftables`")
    }));
    errors
}

/// One error for each rule of steer that `strict tcp` would have to look before.
fn strict(ir: &Ir) -> Vec<Diagnostic> {
    let moves = strict::moves(ir).map(|rule| (Capability::StrictMoved, rule));
    let remembers = strict::remembers(ir).map(|rule| (Capability::StrictAsked, rule));
    let refused = moves.chain(remembers);
    refused
        .map(|(capability, rule)| unsupported(&Ebpf, capability, rule.span))
        .collect()
}

/// One error for each rule of steer and egress that no program can be made for.
pub(super) fn steered(ir: &Ir) -> Vec<Diagnostic> {
    let of = |stage| {
        of_stage(ir, stage, |rule| {
            let asks = asks_too_much(ir, rule, Hook::Egress, super::filter::reads);
            asks.or_else(|| goes_on_its_own(ir, rule))
                .or_else(|| leaves_by_loopback(stage, rule))
        })
    };
    let mut errors = of(Stage::Steer);
    errors.extend(of(Stage::Egress));
    errors
}

/// What this host sends to itself keeps its source.
fn leaves_by_loopback(stage: Stage, rule: &Rule) -> Option<String> {
    let by_loopback = |cube: &Cube| {
        let ifaces = &cube.egress.ifaces;
        ifaces.include().is_some() && ifaces.contains("lo")
    };
    let some = stage == Stage::Egress && rule.cubes.iter().any(by_loopback);
    some.then(|| "the interface `lo`".to_owned())
}

/// What this host sends itself is at the loopback interface when its proxy is asked for, and cannot go back.
fn goes_on_its_own(ir: &Ir, rule: &Rule) -> Option<String> {
    let Some(Verdict::Proxy(proxy)) = rule.verdict else {
        return None;
    };
    let own = rule.cubes.iter().any(|cube| cube.ingress.host);
    let direct = ir
        .proxies
        .get(proxy)
        .is_some_and(|p| p.down == Down::Direct);
    (own && direct).then(|| "`down direct` of a proxy of this host's own traffic".to_owned())
}

/// One error for each rule of a guard that no program can be made for.
pub(super) fn guard(ir: &Ir, hook: Hook) -> Vec<Diagnostic> {
    of_stage(ir, Stage::Guard, |rule| {
        let asks = || asks_too_much(ir, rule, hook, parse::reads);
        let live = rule.buckets().any(|bucket| counts_flows(ir, bucket));
        live.then(|| "limits of live flows".to_owned())
            .or_else(asks)
    })
}

/// One error for each rule and section of a filter that no program can be made for.
pub(super) fn filter(ir: &Ir) -> Vec<Diagnostic> {
    of_stage(ir, Stage::Filter, |rule| {
        counts_loopback(ir, rule)
            .or_else(|| marks_known_flows(ir, rule))
            .or_else(|| asks_too_much(ir, rule, Hook::Egress, super::filter::reads))
    })
}

/// A rule that would change the mark of a flow that is known.
fn marks_known_flows(ir: &Ir, rule: &Rule) -> Option<String> {
    let stateless = ir.blocks.get(rule.block).is_some_and(|b| b.stateless);
    (stateless && rule.effects.mark.is_some()).then(|| "`mark` without flow lookup".to_owned())
}

/// A rule that counts flows of what this host sends to itself, which are known when they come in.
fn counts_loopback(ir: &Ir, rule: &Rule) -> Option<String> {
    let names = |side: &Side| side.ifaces.include().is_some() && side.ifaces.contains("lo");
    let mut cubes = rule.cubes.iter();
    let some = cubes.any(|cube| names(&cube.ingress) || names(&cube.egress));
    let counts = rule.buckets().any(|bucket| counts_flows(ir, bucket));
    (some && counts).then(|| "limits of live flows at the interface `lo`".to_owned())
}

fn of_stage(ir: &Ir, stage: Stage, what: impl Fn(&Rule) -> Option<String>) -> Vec<Diagnostic> {
    let errors = ir.stage(stage).iter().filter_map(|rule| {
        let (what, stage) = (what(rule)?, stage.name());
        let title = format!("target `ebpf` cannot express {what} in {stage}");
        Some(Diagnostic::error(Code::Unsupported, title, rule.span).help("build for `nftables`"))
    });
    errors.collect()
}

fn asks_too_much(ir: &Ir, rule: &Rule, hook: Hook, reads: fn(Field) -> bool) -> Option<String> {
    let mut fields = rule.cubes.iter().flat_map(|cube| cube.fields.keys());
    let unread = fields.find(|field: &&Field| !reads(**field));
    if let Some(field) = unread {
        return Some(format!("`{}`", field.name()));
    }
    let asks = |atoms: bool, what: &str| atoms.then(|| what.to_owned());
    let effects = &rule.effects;
    let impossible = |bucket: BucketId| impossible(ir.buckets.get(bucket)?.rate);
    let sets = rule.cubes.iter().flat_map(|cube| cube.atoms.keys());
    let sets = sets.filter_map(|atom| match atom {
        Atom::Dynamic { set, .. } => Some(*set),
        Atom::Principal(..) => None,
    });
    let begins = |set: DynamicId| {
        let set = ir.dynamic.get(set);
        set.is_some_and(|set| set.idle.is_some() && !set.initial.is_empty())
    };
    asks(
        sets.chain(effects.add).any(begins),
        "a dynamic set that begins with elements and forgets them",
    )
    .or_else(|| {
        let mut impossible = rule.buckets().filter_map(impossible);
        impossible.next()
    })
    .or_else(|| asks(effects.mark.is_some() && hook == Hook::Xdp, "`mark`"))
    .or_else(|| {
        let untracked = matches!(rule.verdict, Some(Verdict::Notrack));
        asks(untracked && hook == Hook::Xdp, "`notrack`")
    })
}

/// Whether a bucket limits live flows, of which guard knows nothing.
fn counts_flows(ir: &Ir, bucket: BucketId) -> bool {
    let bucket = ir.buckets.get(bucket);
    bucket.is_some_and(|bucket| matches!(bucket.rate, Rate::Flows { .. }))
}

/// What is impossible about a rate.
fn impossible(rate: Rate) -> Option<String> {
    let what = match rate {
        Rate::Flows { count } if count > limit::MOST => {
            format!("a limit of more than {} live flows", limit::MOST)
        }
        Rate::Flows { .. } => return None,
        _ if rate::terms(rate).is_none() => "more than a token a nanosecond".to_owned(),
        _ => return None,
    };
    Some(what)
}
