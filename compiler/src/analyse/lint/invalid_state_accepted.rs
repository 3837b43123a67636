//! POL209

use super::{Context, Origin, Question, lint};
use crate::diagnostic::Diagnostic;
use crate::field::{TCP, TCP_FLAGS};
use crate::interpret::RuleId;
use crate::ir::{Cube, Stage, Verdict};
use crate::packet::IntervalSet;

lint! {
    /// A `stateless` section allows TCP packets with flags that no connection has: none at all, `syn`
    /// with `fin`, `syn` with `rst`.
    ///
    /// Elsewhere the flow lookup stops them: they fit no flow and open none. A stateless section skips
    /// it. Scanners send such packets to find out what a firewall and the machine behind it are, and some
    /// stacks answer them.
    ///
    /// There is one finding for a section.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// stateless from 192.0.2.0/24 to host {
    ///   allow tcp/53
    ///   default deny
    /// }
    /// to host { default deny }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// stateless from 192.0.2.0/24 to host {
    ///   deny  tcp when tcp.flags in { none, syn+fin, syn+rst, fin+psh+urg }
    ///   allow tcp/53
    ///   default deny
    /// }
    /// to host { default deny }
    /// ```
    pub(super) static LINT: "POL209" "invalid-state-accepted" Warning, Default, Exact;
    "A stateless section allows TCP packets with flags that make no sense."
}

/// None, `syn+fin`, `syn+rst`, `fin+psh+urg`.
const NONSENSE: [u64; 4] = [0, 0x03, 0x06, 0x29];

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let flags = NONSENSE.into_iter().map(|f| (f, f)).collect();
    let asked = [Cube::any()
        .with_proto(&IntervalSet::one(TCP))
        .with_field(TCP_FLAGS, &flags)];
    let question = Question {
        origin: Origin::Anywhere,
        asked: &asked,
        empty: false,
    };
    let mut known = None;
    for (index, rule) in cx.ir.filter.iter().enumerate() {
        let stateless = cx.ir.blocks.get(rule.block).is_some_and(|b| b.stateless);
        if !stateless || rule.verdict != Some(Verdict::Allow) || known == Some(rule.block) {
            continue;
        }
        let stage = Stage::Filter;
        if let Ok(Some(opening)) = cx.decided(RuleId { stage, index }, question) {
            known = Some(rule.block);
            let title = "no flow lookup stops TCP packets with nonsensical flags here";
            let help = format!(
                "put `deny tcp when tcp.flags in {{ none, syn+fin, syn+rst, fin+psh+urg }}` before \
                 it; for example, this passes: {}",
                opening.example
            );
            out.push(LINT.report(title, rule.span).help(help));
        }
    }
}
