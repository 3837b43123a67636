//! How steer's rules are shared out.
//!
//! Netfilter steers in two places: a mangle chain (marks, proxies, effects) and a NAT chain. A
//! policy has one list of rules. Where it needs both chains, both evaluate the list: in the mangle
//! chain a NAT rule accepts, in the NAT chain a rule without NAT accepts, up to the last NAT rule.
//! They agree because a rule's conditions are the same in both, but for those whose answer
//! changes from one asking to the next (buckets, dynamic sets, marks, the time). Such a rule is
//! decided in the mangle chain, which leaves its answer in a bit of the flow's label.

use std::collections::{BTreeMap, BTreeSet};

use super::Role;
use super::label::ANSWERS;
use super::sides::{Hook, Place, applies, names_loopback};
use crate::field::{TCP, UDP};
use crate::ir::{Atom, Ir, Mark, Proxy, Rule, Stage, Verdict};
use crate::packet::IntervalSet;
use crate::source::Span;

/// The two chains of incoming or of own traffic.
pub(crate) struct Pair {
    pub(crate) mangle: Hook,
    pub(crate) nat: Hook,
}

/// Of incoming traffic.
pub(crate) const PRE: Pair = Pair {
    mangle: Hook::SteerPre,
    nat: Hook::NatPre,
};
/// Of this host's own.
pub(crate) const OUT: Pair = Pair {
    mangle: Hook::SteerOut,
    nat: Hook::NatOut,
};

/// The bits of flows' labels by the index of the rule whose answer they are.
pub(crate) type Labels = BTreeMap<usize, u8>;

/// Which of the two chains exist, and what each does of the rules.
pub(crate) struct Plan<'a> {
    pub(crate) mangle: bool,
    pub(crate) last_nat: Option<usize>,
    pub(crate) in_mangle: Vec<(&'a Rule, Role)>,
    pub(crate) nat: Vec<(&'a Rule, Role)>,
    /// The first rule for whose answer there is no bit.
    pub(crate) excess: Option<Span>,
}

/// Shares out the rules between the chains of `pair`. With `restores` marks are restored in the
/// mangle chain, which is needed then.
pub(crate) fn plan<'a>(ir: &'a Ir, pair: &Pair, labels: &mut Labels, restores: bool) -> Plan<'a> {
    let rules = &ir.steer;
    let here = |rule: &Rule| {
        let hook = pair.mangle;
        let place = Place {
            hook,
            loopback: false,
        };
        applies(rule, place) || names_loopback(rule, hook)
    };
    let here: Vec<bool> = rules.iter().map(here).collect();
    let used = |i: usize| here.get(i).copied().unwrap_or(false);
    // What `strict tcp` refuses comes to no rule.
    let mangle = restores
        || !ir.proxies.is_empty()
        || rules
            .iter()
            .enumerate()
            .any(|(i, r)| used(i) && (ir.strict_tcp || needs_mangle(r)));
    let last_nat = rules
        .iter()
        .enumerate()
        .rposition(|(i, r)| used(i) && rewrites(r));
    let mut plan = Plan {
        mangle,
        last_nat,
        in_mangle: vec![],
        nat: vec![],
        excess: None,
    };
    for (i, rule) in rules.iter().enumerate() {
        let refuses = matches!(rule.verdict, None | Some(Verdict::Deny));
        let in_nat = last_nat.is_some_and(|last| i <= last) && !refuses && used(i);
        let label = if mangle && in_nat && changeable(rule) {
            let next = labels.len();
            let label = *labels
                .entry(i)
                .or_insert(u8::try_from(next).unwrap_or(u8::MAX));
            if usize::from(label) >= ANSWERS {
                plan.excess = plan.excess.or(Some(rule.span));
            }
            Some(label)
        } else {
            None
        };
        plan.in_mangle.push((rule, Role::Mangle { label }));
        if !mangle {
            plan.nat.push((rule, Role::Whole));
        } else if in_nat {
            plan.nat.push((rule, Role::Nat { label }));
        }
    }
    plan
}

/// Whether the rule does what only a mangle chain can do for each of its flows.
fn needs_mangle(rule: &Rule) -> bool {
    let effects = &rule.effects;
    let decides = match rule.verdict {
        None | Some(Verdict::Proxy(_) | Verdict::Route { .. } | Verdict::Deny) => true,
        Some(Verdict::Direct) => rule.admit,
        _ => false,
    };
    decides
        || effects.log.is_some()
        || effects.count
        || effects.mark.is_some()
        || effects.add.is_some()
}

fn rewrites(rule: &Rule) -> bool {
    matches!(
        rule.verdict,
        Some(Verdict::Redirect { .. } | Verdict::Dnat(_))
    )
}

/// Whether the rule's conditions may hold at one asking and not at the next.
fn changeable(rule: &Rule) -> bool {
    !rule.limits.is_empty()
        || rule.cubes.iter().any(|c| {
            let atom = c.atoms.keys().any(|a| matches!(a, Atom::Dynamic { .. }));
            let field =
                |name: &str| ["meta.mark", "ct.mark", "time.hour", "time.day"].contains(&name);
            atom || c.fields.keys().any(|f| field(f.name()))
        })
}

/// A mark that later packets of a flow get again.
pub(crate) struct Restored {
    pub(crate) mark: Mark,
    /// Only in the direction of the first packet.
    pub(crate) original: bool,
}

/// The marks that rules set, but for those of proxies, in order and once each.
pub(crate) fn marks(ir: &Ir) -> Vec<Restored> {
    let mut out: Vec<Restored> = Vec::new();
    for (stage, rule) in ir.rules() {
        let tracked = stage != Stage::Guard;
        if let Some(mark) = rule
            .effects
            .mark
            .filter(|m| tracked && m.value & m.mask != 0)
            && out.iter().all(|r| r.mark != mark)
        {
            let original = matches!(rule.verdict, Some(Verdict::Route { .. }));
            out.push(Restored { mark, original });
        }
    }
    out
}

/// The protocols that a proxy takes.
pub(crate) fn protocols(proxy: &Proxy) -> IntervalSet<u64> {
    let tcp = proxy.tcp.then_some((TCP, TCP));
    let udp = proxy.udp.then_some((UDP, UDP));
    tcp.into_iter().chain(udp).collect()
}

/// The proxies that take traffic of this host.
pub(crate) fn of_host(ir: &Ir) -> BTreeSet<usize> {
    let place = Place {
        hook: Hook::SteerOut,
        loopback: false,
    };
    let rules = ir.steer.iter().filter(|r| applies(r, place));
    rules
        .filter_map(|r| match r.verdict {
            Some(Verdict::Proxy(id)) => Some(id),
            _ => None,
        })
        .collect()
}
