//! Guard: every packet, before defragmentation and connection tracking.

use super::{GUARD, base, finish, judge, loopback, unconditional_icmp};
use crate::field::Field;
use crate::ir::{Cube, Rule};
use crate::target::netfilter::Role;
use crate::target::netfilter::sides::{Hook, Place};
use crate::target::nftables::Build;
use crate::target::nftables::tree::{Base, Chain, Rule as Line, Verdict as Then};

/// Before defragmentation (-400), so that fragments are seen.
const PRIORITY: i32 = -450;

pub(super) fn chain(build: &mut Build) -> Option<Chain> {
    let ir = build.ir;
    if ir.guard.is_empty() {
        return None;
    }
    let hook = Hook::Guard;
    let all = ir.guard.iter().map(|r| (r, Role::Whole));
    let mut rules = loopback(build, GUARD, hook, all);
    let place = Place {
        hook,
        loopback: false,
    };
    rules.extend(later_fragments(build, place));
    rules.extend(unconditional_icmp(build));
    let all = ir.guard.iter().map(|r| (r, Role::Whole));
    judge(build, &mut rules, place, all);
    finish(&mut rules, Then::Accept);
    let at = Base {
        kind: "filter",
        hook: "prerouting",
        priority: PRIORITY,
        drop: false,
    };
    Some(base(GUARD, at, rules))
}

/// Judges later fragments by the rules that ask nothing of the transport header, which they do not
/// have: the kernel would read its fields out of their payload.
fn later_fragments(build: &mut Build, place: Place) -> Vec<Line> {
    let ir = build.ir;
    let asks = |cube: &Cube| cube.fields.keys().copied().any(of_transport);
    if ir.strict_icmp && !ir.guard.iter().any(|r| r.cubes.iter().any(asks)) {
        return vec![];
    }
    let without = |rule: &Rule| Rule {
        cubes: rule.cubes.iter().filter(|c| !asks(c)).cloned().collect(),
        ..rule.clone()
    };
    let left: Vec<Rule> = ir.guard.iter().map(without).collect();
    let mut inner = Vec::new();
    judge(
        build,
        &mut inner,
        place,
        left.iter().map(|r| (r, Role::Whole)),
    );
    finish(&mut inner, Then::Accept);
    let chain = build.chain("guard_fragments", inner);
    let to = |condition| Line::text(condition, Then::Goto(chain.clone()));
    vec![to("ip frag-off & 0x1fff != 0"), to("frag frag-off != 0")]
}

/// Whether the field stands in a header that later fragments do not have.
fn of_transport(field: Field) -> bool {
    !field.def().protocols.is_empty()
}
