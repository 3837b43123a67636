//! Egress: the source address of a flow that leaves.

use super::{NAT_POST, base, finish, judge, loopback};
use crate::target::netfilter::Role;
use crate::target::netfilter::sides::{Hook, Place};
use crate::target::nftables::Build;
use crate::target::nftables::tree::{Base, Chain, Verdict as Then};

const PRIORITY: i32 = 100;

pub(super) fn chain(build: &mut Build) -> Option<Chain> {
    let ir = build.ir;
    if ir.egress.is_empty() {
        return None;
    }
    build.features.add("NAT in inet tables", "5.2");
    if ir
        .egress
        .iter()
        .any(|r| r.cubes.iter().any(|c| !c.ingress.is_any()))
    {
        build
            .features
            .add("ingress interface in postrouting", "5.7");
    }
    let hook = Hook::Post;
    let all = ir.egress.iter().map(|r| (r, Role::Whole));
    let mut rules = loopback(build, NAT_POST, hook, all);
    let place = Place {
        hook,
        loopback: false,
    };
    let all = ir.egress.iter().map(|r| (r, Role::Whole));
    judge(build, &mut rules, place, all);
    finish(&mut rules, Then::Accept);
    let at = Base {
        kind: "nat",
        hook: "postrouting",
        priority: PRIORITY,
        drop: false,
    };
    Some(base(NAT_POST, at, rules))
}
