//! POL605

use super::{Context, lint};
use crate::diagnostic::Diagnostic;

lint! {
    /// Raw text has a chain of its own that drops packets. What the policy allows may be denied there,
    /// and nothing that polc says about the policy takes that into account: no claim, no test, no
    /// query.
    ///
    /// In nftables an accept ends one chain only. Each other chain of the same hook is asked as well,
    /// and one that drops is enough.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow https owner web-team
    ///   default deny
    /// }
    ///
    /// raw nft "chain mine { type filter hook input priority 10; policy accept; tcp dport 443 drop; }"
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   deny  https when ip.ttl < 5
    ///   allow https owner web-team
    ///   default deny
    /// }
    /// ```
    pub(super) static LINT: "POL605" "accept-is-not-final" Note, Audit, Heuristic;
    "Raw text may deny what the policy allows."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    for raw in &cx.policy.raw {
        let words: Vec<&str> = raw.text.split(|c: char| !c.is_alphanumeric()).collect();
        let denies = ["drop", "reject"].iter().any(|word| words.contains(word));
        if words.contains(&"hook") && denies {
            let title = "this chain may deny what the policy allows";
            let help = "say it in the policy's own rules, where claims and tests see it";
            out.push(LINT.report(title, raw.span).help(help));
        }
    }
}
