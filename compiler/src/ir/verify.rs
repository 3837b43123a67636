//! The invariants of the IR, checked after every pass.
//!
//! A violation is a defect of the compiler, not of the policy: it is reported as
//! [`Code::Internal`], at the rule, instead of handing a wrong artefact to a kernel.

use std::collections::BTreeSet;

use super::cube::families_of;
use super::{Cube, Ir, Nat, NatTarget, Rule, Stage, Verdict};
use crate::diagnostic::{Code, Diagnostic};
use crate::packet::{Families, IfaceSet};

/// Reports each rule that breaks an invariant; see [`super`] for their list.
pub fn verify(ir: &Ir, diagnostics: &mut Vec<Diagnostic>) {
    let mut names = BTreeSet::new();
    for (stage, rule) in ir.rules() {
        let mut broken = Vec::new();
        if !names.insert(&rule.name) {
            broken.push("its name is taken");
        }
        broken.extend(indices(ir, rule));
        broken.extend(verdict(stage, rule));
        if rule.cubes.is_empty() {
            broken.push("it has no cube");
        }
        for cube in &rule.cubes {
            broken.extend(normal(cube));
            broken.extend(sides(stage, cube));
        }
        for what in broken {
            let title = format!("the rule `{}` is not in normal form: {what}", rule.name);
            diagnostics.push(
                Diagnostic::error(Code::Internal, title, rule.span)
                    .help("this is a defect of polc: please report it with the policy"),
            );
        }
    }
}

fn indices(ir: &Ir, rule: &Rule) -> Option<&'static str> {
    let log = rule.effects.log.iter().filter_map(|l| l.at);
    let mut buckets = rule.limits.iter().map(|l| l.bucket).chain(log);
    let proxy = match rule.verdict {
        Some(Verdict::Proxy(index)) => index < ir.proxies.len(),
        _ => true,
    };
    let ok = buckets.all(|b| b < ir.buckets.len())
        && rule.effects.add.is_none_or(|set| set < ir.dynamic.len())
        && rule.block < ir.blocks.len()
        && proxy;
    (!ok).then_some("it points at something that is not there")
}

fn verdict(stage: Stage, rule: &Rule) -> Option<&'static str> {
    let Some(verdict) = &rule.verdict else {
        return rule.is_default.then_some("a default decides nothing");
    };
    let belongs = match stage {
        Stage::Guard => matches!(verdict, Verdict::Allow | Verdict::Deny | Verdict::Notrack),
        Stage::Steer => matches!(
            verdict,
            Verdict::Direct
                | Verdict::Redirect { .. }
                | Verdict::Dnat(_)
                | Verdict::Proxy(_)
                | Verdict::Route { .. }
                | Verdict::Deny
        ),
        Stage::Filter => {
            matches!(verdict, Verdict::Allow | Verdict::Deny | Verdict::Reject(_))
        }
        Stage::Egress => {
            matches!(
                verdict,
                Verdict::Masquerade | Verdict::Snat(_) | Verdict::Direct
            )
        }
    };
    if !belongs {
        return Some("its verdict is of another stage");
    }
    match verdict {
        Verdict::Dnat(nat) | Verdict::Snat(nat) => targets(nat, rule),
        _ => None,
    }
}

fn targets(nat: &Nat, rule: &Rule) -> Option<&'static str> {
    let Families { v4, v6 } = families_of(&rule.cubes);
    let is_v4 = |t: &NatTarget| match t {
        NatTarget::Addr(addr, _) | NatTarget::Prefix { to: addr, .. } => addr.is_ipv4(),
    };
    let ok = (!v4 || !nat.v4.is_empty())
        && (!v6 || !nat.v6.is_empty())
        && nat.v4.iter().all(is_v4)
        && !nat.v6.iter().any(is_v4);
    (!ok).then_some("a family has no target of its own")
}

fn normal(cube: &Cube) -> Option<&'static str> {
    if cube.clone().normal().as_ref() != Some(cube) {
        return Some("a cube is empty or has addresses of a family that it lacks");
    }
    for (field, set) in &cube.fields {
        let def = field.def();
        let has = |p: &u64| def.protocols.contains(p);
        let carried = def.protocols.is_empty()
            || cube
                .proto
                .ranges()
                .iter()
                .all(|(a, b)| (*a..=*b).all(|p| has(&p)));
        if !carried {
            return Some("a field is asked of protocols that do not have it");
        }
        if set.ranges().last().is_some_and(|(_, last)| *last > def.max) {
            return Some("a field has a value that does not exist");
        }
    }
    None
}

fn sides(stage: Stage, cube: &Cube) -> Option<&'static str> {
    let unrouted = cube.egress.ifaces.is_full() || cube.egress.ifaces.is_empty();
    let ok = match stage {
        Stage::Guard => !cube.ingress.host && cube.egress.is_any(),
        Stage::Steer if cube.ingress.host => cube.ingress.ifaces == IfaceSet::empty(),
        Stage::Steer => unrouted,
        Stage::Filter => true,
        Stage::Egress => !cube.egress.host,
    };
    (!ok).then_some("it asks for a side that its stage cannot see")
}
