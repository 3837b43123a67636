//! POL404

use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::field::{DPORT, SPORT, TCP_FLAGS};
use crate::ir::{Bucket, Cube, KeyKind, Rate, Rule, Sense, Verdict};

lint! {
    /// A rate in guard that all senders share counts every packet of TCP: the answers to this host's
    /// own connections, too, and those of sessions that have long been admitted.
    ///
    /// When a flood uses the rate up, it is those that stall. Guard knows no flows, so the rule must
    /// tell what opens one: `when tcp.flags == syn`. Or give each source a rate of its own.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// guard on eth0 {
    ///   deny tcp over 1000 packets/s
    ///   default allow
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// guard on eth0 {
    ///   deny tcp over 1000 packets/s when tcp.flags == syn
    ///   default allow
    /// }
    /// ```
    pub(super) static LINT: "POL404" "limit-on-established" Warning, Default, Syntactic;
    "A shared rate in guard counts answers and old sessions."
}

const TCP: u64 = 6;

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    for rule in cx
        .ir
        .guard
        .iter()
        .filter(|r| r.verdict == Some(Verdict::Deny))
    {
        let shared = rule.limits.iter().filter(|l| l.sense == Sense::Over);
        let mut shared = shared.filter_map(|l| cx.ir.buckets.get(l.bucket));
        if shared.any(is_shared) && counts_answers(rule) {
            let title = "this rate counts answers and old sessions, too";
            let help = "say `when tcp.flags == syn`, or give each source a rate: `per source`";
            out.push(LINT.report(title, rule.span).help(help));
        }
    }
}

/// Whether others than the sender can use it up.
fn is_shared(bucket: &Bucket) -> bool {
    let by_source = bucket.key.is_some_and(|key| key.kind != KeyKind::Dest);
    !by_source && !matches!(bucket.rate, Rate::Flows { .. })
}

fn counts_answers(rule: &Rule) -> bool {
    let asks = |cube: &Cube| {
        let mut fields = [TCP_FLAGS, SPORT, DPORT].into_iter();
        fields.any(|field| cube.field(field).is_some())
    };
    let any = |cube: &Cube| cube.saddr.is_full() && cube.proto.contains(TCP) && !asks(cube);
    rule.cubes.iter().any(any)
}
