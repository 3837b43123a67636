//! Guard: every packet, before defragmentation and connection tracking.

use super::{GUARD, base, finish, judge, loopback, unconditional_icmp};
use crate::target::nftables::Build;
use crate::target::nftables::action::Role;
use crate::target::nftables::sides::{Hook, Place};
use crate::target::nftables::tree::{Base, Chain, Verdict as Then};

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
    rules.extend(unconditional_icmp(build));
    let place = Place {
        hook,
        loopback: false,
    };
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
