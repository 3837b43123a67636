//! Bugs in what is remembered from packet to packet.

use std::collections::BTreeSet;

use polc_compiler::field::{TCP, TCP_FLAGS};
use polc_compiler::ir::{Bucket, Cube, Effects, Ir, Rate, Rule, Verdict};
use polc_compiler::packet::IntervalSet;

/// One more token in each bucket of packets or flows on which a decision depends.
pub(super) fn large_burst(ir: &mut Ir) {
    for bucket in asked(ir) {
        if let Rate::Packets { burst, .. } = &mut bucket.rate {
            *burst += 1;
        }
    }
}

/// Twice as many tokens in a while, in the same buckets.
pub(super) fn fast_refill(ir: &mut Ir) {
    for bucket in asked(ir) {
        if let Rate::Packets { count, .. } = &mut bucket.rate {
            *count *= 2;
        }
    }
}

/// One more live flow at each limit.
pub(super) fn large_limit(ir: &mut Ir) {
    for bucket in asked(ir) {
        if let Rate::Flows { count } = &mut bucket.rate {
            *count += 1;
        }
    }
}

/// Dynamic sets that forget nothing.
pub(super) fn lost_timeout(ir: &mut Ir) {
    let adds: BTreeSet<_> = ir
        .rules()
        .filter_map(|(_, rule)| rule.effects.add)
        .collect();
    for (id, set) in ir.dynamic.iter_mut().enumerate() {
        if adds.contains(&id) {
            set.idle = None;
        }
    }
}

/// The buckets on which decisions depend.
fn asked(ir: &mut Ir) -> impl Iterator<Item = &mut Bucket> {
    let limits = ir.rules().flat_map(|(_, rule)| &rule.limits);
    let asked: BTreeSet<_> = limits.map(|limit| limit.bucket).collect();
    let buckets = ir.buckets.iter_mut().enumerate();
    buckets.filter_map(move |(id, bucket)| asked.contains(&id).then_some(bucket))
}

/// Filter begins with a rule that lets pass whatever has an ACK, where its last default would decide.
pub(super) fn stale_flow(ir: &mut Ir) {
    const ACK: u64 = 0x10;
    let Some(default) = ir.filter.last().filter(|rule| rule.is_default) else {
        return;
    };
    let acks = (0..=TCP_FLAGS.largest()).filter(|flags| flags & ACK != 0);
    let acks: IntervalSet<u64> = acks.map(|flags| (flags, flags)).collect();
    let of = |cube: &Cube| {
        let tcp = cube.clone().with_proto(&IntervalSet::one(TCP));
        tcp.with_field(TCP_FLAGS, &acks).normal()
    };
    let rule = Rule {
        // No rule of a policy can be called so.
        name: "stale-flow#fault".into(),
        cubes: default.cubes.iter().filter_map(of).collect(),
        named: false,
        is_default: false,
        effects: Effects::default(),
        verdict: Some(Verdict::Allow),
        ..default.clone()
    };
    ir.strict_tcp = false;
    ir.filter.insert(0, rule);
}
