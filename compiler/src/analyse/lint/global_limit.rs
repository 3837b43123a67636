//! POL406

use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::field::{ICMP, ICMPV6};
use crate::interpret::RuleId;
use crate::ir::{Rule, Sense, Stage, Verdict};
use crate::packet::IntervalSet;

lint! {
    /// A rule allows the world a service within a rate that all senders share.
    ///
    /// One of them can use it up, and then nobody gets in: the rate that was meant as protection is
    /// the attack. A rate `per source` binds each sender for itself. Both together are fine, and so
    /// is a shared rate for ICMP alone, where nothing is lost.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow https within 100/s burst 200
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow https within 100/s burst 200 per source
    ///   default deny
    /// }
    /// ```
    pub(super) static LINT: "POL406" "per-packet-global-limit" Warning, Default, Exact;
    "All of the world shares one rate."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let icmp: IntervalSet<u64> = [(ICMP, ICMP), (ICMPV6, ICMPV6)].into_iter().collect();
    let only_icmp = |rule: &Rule| rule.cubes.iter().all(|c| c.proto.is_subset(&icmp));
    for (index, rule) in cx.ir.filter.iter().enumerate() {
        let mut within = rule.limits.iter().filter(|l| l.sense == Sense::Within);
        if within.next().is_none() || cx.is_limited_by_key(rule) || only_icmp(rule) {
            continue;
        }
        let id = RuleId {
            stage: Stage::Filter,
            index,
        };
        if rule.verdict != Some(Verdict::Allow) {
            continue;
        }
        if let Some(opening) = cx.opens_to_world(id) {
            let title = "one sender can use up this rate for all others";
            let help = format!(
                "say `per source`; for example it is taken by {}",
                opening.example
            );
            out.push(LINT.report(title, rule.span).help(help));
        }
    }
}
