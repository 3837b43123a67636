//! What no target of netfilter can say, whatever the words.

use polc_bundle::Family;

use super::sides::{Hook, Place, applies};
use crate::field::{ICMP_TYPE, ICMPV6, TCP};
use crate::ir::{Block, BlockId, Cube, Effects, Ir, Rule, Stage, Verdict};
use crate::packet::IfaceSet;

/// Rules that would see a mark as an earlier rule of their stage has left it.
pub(crate) fn stale_marks(ir: &Ir) -> Vec<&Rule> {
    let mut out = Vec::new();
    for stage in Stage::ALL {
        let mut changed = false;
        for rule in ir.stage(stage) {
            let reads = rule.cubes.iter().any(|c| {
                c.fields
                    .keys()
                    .any(|f| matches!(f.name(), "meta.mark" | "ct.mark"))
            });
            if changed && reads {
                out.push(rule);
            }
            changed |= rule.verdict.is_none() && rule.effects.mark.is_some();
        }
    }
    out
}

/// Steer rules that send flows of this host elsewhere where filter asks by which interface these
/// leave: in the output hook the kernel still names the one of the first route.
pub(crate) fn moved_egress(ir: &Ir) -> Vec<&Rule> {
    let rest = IfaceSet::not_loopback();
    let asks = |c: &Cube| {
        let out = c.egress.ifaces.intersection(&rest);
        c.ingress.host && !out.is_empty() && !rest.is_subset(&out)
    };
    if !ir.governs.output || !ir.filter.iter().any(|r| r.cubes.iter().any(asks)) {
        return vec![];
    }
    let place = Place {
        hook: Hook::SteerOut,
        loopback: false,
    };
    let moves = |rule: &&Rule| {
        let elsewhere = matches!(rule.verdict, Some(Verdict::Dnat(_) | Verdict::Route { .. }));
        elsewhere && !rule.admit && applies(rule, place)
    };
    ir.steer.iter().filter(moves).collect()
}

/// Whether packets of the cube may belong to no flow that has an original destination, where rules ask for it: these
/// are not tracked, or fit no flow and are judged all the same.
pub(crate) fn may_lack_flow(ir: &Ir, cube: &Cube, family: Family) -> bool {
    let asks = match family {
        Family::V4 => !cube.original.v4.is_full(),
        Family::V6 => !cube.original.v6.is_full(),
    };
    asks && may_be_untracked(ir, cube, family)
}

/// Whether packets of the cube may belong to no flow.
pub(crate) fn may_be_untracked(ir: &Ir, cube: &Cube, family: Family) -> bool {
    let notrack = |rule: &Rule| matches!(rule.verdict, Some(Verdict::Notrack));
    let judged = |block: &Block| block.stateless && block.stage == Stage::Filter;
    let never_tracked = || {
        let types = cube.field(ICMP_TYPE);
        let kinds = (130..=136).chain([143, 151]);
        let mut kinds = kinds.filter(|kind| types.is_none_or(|types| types.contains(*kind)));
        family == Family::V6 && cube.proto.contains(ICMPV6) && kinds.next().is_some()
    };
    ir.guard.iter().any(notrack) || ir.blocks.iter().any(judged) || never_tracked()
}

/// What each stateless section is about, as a rule of its own.
pub(crate) fn stateless_scopes(ir: &Ir) -> Vec<Rule> {
    let stateless =
        |(_, block): &(BlockId, &Block)| block.stateless && block.stage == Stage::Filter;
    let scope = |(id, block): (BlockId, &Block)| Rule {
        name: block.label.clone(),
        named: true,
        span: block.span,
        block: id,
        is_default: false,
        cubes: block.scope.clone(),
        limits: vec![],
        effects: Effects::default(),
        verdict: Some(Verdict::Allow),
        admit: false,
        owner: None,
        ticket: None,
        note: None,
    };
    let blocks = ir.blocks.iter().enumerate();
    blocks.filter(stateless).map(scope).collect()
}

/// Whether steer admits any flow, which no filter is asked about then.
pub(crate) fn admits(ir: &Ir) -> bool {
    ir.steer.iter().any(is_admitting)
}

fn is_admitting(rule: &Rule) -> bool {
    let taken = matches!(
        rule.verdict,
        Some(Verdict::Proxy(_) | Verdict::Redirect { .. })
    );
    rule.admit || taken
}

/// Whether a rule of steer at `place` itself refuses flows that it would admit and no SYN opens.
pub(crate) fn asks_syn(ir: &Ir, rule: &Rule, place: Place) -> bool {
    let is_of_tcp = rule.cubes.iter().any(|cube| cube.proto.contains(TCP));
    is_admitting(rule) && is_of_tcp && may_lack_syn(ir, place)
}

/// Whether packets that `strict tcp` does not let open a flow come to steer's rules at `place`, and filter does not refuse
/// all of those that these admit.
pub(crate) fn may_lack_syn(ir: &Ir, place: Place) -> bool {
    let governs = ir.governs;
    let here = match place.hook {
        Hook::SteerOut => place.loopback || !governs.output,
        Hook::SteerPre => {
            let judges_all = governs.input && governs.forward;
            !place.loopback && !judges_all && !stateless_scopes(ir).is_empty()
        }
        _ => false,
    };
    ir.strict_tcp && here
}

/// Whether the rule refuses.
pub(crate) fn refuses(rule: &Rule) -> bool {
    matches!(rule.verdict, Some(Verdict::Deny | Verdict::Reject(_)))
}
