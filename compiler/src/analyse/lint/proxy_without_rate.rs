//! POL304

use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::interpret::RuleId;
use crate::ir::{Stage, Verdict};

lint! {
    /// Flows from the world go to a proxy, and no rate bounds them: neither at the rule nor in guard.
    ///
    /// Each flow costs the proxy a socket, or two, and memory. Some thousand senders are enough to
    /// leave it none. `within 100 flows per source` at the rule hands over what the proxy can serve;
    /// a guard that denies what is `over` a rate does as well.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// zone wan = eth0
    ///
    /// proxy box {
    ///   listen tcp at 127.0.0.1:12345, [::1]:12345
    ///   mark   0x1/0xff
    ///   table  100
    ///   down   deny
    /// }
    ///
    /// steer { proxy tcp/443 from wan to host via box }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// zone wan = eth0
    ///
    /// proxy box {
    ///   listen tcp at 127.0.0.1:12345, [::1]:12345
    ///   mark   0x1/0xff
    ///   table  100
    ///   down   deny
    /// }
    ///
    /// steer {
    ///   proxy tcp/443 from wan to host via box within 100 flows per source
    ///   deny  tcp/443 from wan to host
    /// }
    /// ```
    pub(super) static LINT: "POL304" "tproxy-without-ratelimit" Warning, Default, Exact;
    "The world reaches a proxy without any rate."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    if cx.ir.guard.iter().any(|rule| !rule.limits.is_empty()) {
        return;
    }
    for (index, rule) in cx.ir.steer.iter().enumerate() {
        if !matches!(rule.verdict, Some(Verdict::Proxy(_))) || !rule.limits.is_empty() {
            continue;
        }
        let id = RuleId {
            stage: Stage::Steer,
            index,
        };
        if let Some(opening) = cx.opens_to_world(id) {
            let title = "the world reaches this proxy without any rate";
            let help = format!(
                "add `within 100 flows per source`; for example it gets {}",
                opening.example
            );
            out.push(LINT.report(title, rule.span).help(help));
        }
    }
}
