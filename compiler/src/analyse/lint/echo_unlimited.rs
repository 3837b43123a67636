//! POL506

use super::{Context, Origin, Question, lint};
use crate::diagnostic::Diagnostic;
use crate::field::{ICMP, ICMP_TYPE, ICMPV6};
use crate::ir::{Cube, Rule};
use crate::packet::{Families, IntervalSet};

lint! {
    /// A rule lets in echo requests from the world, however many come.
    ///
    /// Each is answered, so a flood of them costs twice, and with a forged source the answers flood
    /// somebody else. A few for each source are enough for everybody who measures.
    ///
    /// A rate of the rule is a limit, and so is one in guard that denies what exceeds it.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow ping
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow ping within 10/s burst 20 per source/24,/56
    ///   default deny
    /// }
    /// ```
    pub(super) static LINT: "POL506" "echo-unlimited" Note, Default, Exact;
    "Echo requests from the world have no limit."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let echo = |families, protocol, kind| {
        Cube::any()
            .with_families(families)
            .with_proto(&IntervalSet::one(protocol))
            .with_field(ICMP_TYPE, &IntervalSet::one(kind))
    };
    let asked = [echo(Families::V4, ICMP, 8), echo(Families::V6, ICMPV6, 128)];
    let question = Question {
        origin: Origin::World,
        asked: &asked,
        empty: true,
    };
    for (id, rule) in cx.admitting().filter(|(_, rule)| speaks_of_icmp(rule)) {
        if let Ok(Some(opening)) = cx.decided(id, question) {
            let help = format!(
                "say how many with `within`, such as `within 10/s per source`; for example, this gets \
                 in: {}",
                opening.example
            );
            let title = "echo requests from the world have no limit";
            out.push(LINT.report(title, rule.span).help(help));
        }
    }
}

fn speaks_of_icmp(rule: &Rule) -> bool {
    let mut cubes = rule.cubes.iter();
    cubes.any(|c| [Some(ICMP), Some(ICMPV6)].contains(&c.proto.single()))
}
