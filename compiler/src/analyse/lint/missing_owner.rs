//! POL704

use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::ir::{Rule, Stage, Verdict};

lint! {
    /// A rule that lets something through has neither an `owner` nor a `ticket`, and nor has what it
    /// stands in.
    ///
    /// Years later nobody dares to delete it, for nobody knows whom to ask. An owner of the policy
    /// counts for all of its rules.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow https
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow https owner web-team
    ///   default deny
    /// }
    /// ```
    pub(super) static LINT: "POL704" "missing-owner" Note, Strict, Syntactic;
    "Nobody is named as responsible for a rule."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let meta = &cx.policy.meta;
    if meta.owner.is_some() || meta.ticket.is_some() {
        return;
    }
    let opens = |stage: Stage, rule: &Rule| match rule.verdict {
        Some(Verdict::Allow) => stage == Stage::Filter,
        Some(Verdict::Deny | Verdict::Reject(_) | Verdict::Direct) | None => false,
        Some(_) => rule.admit,
    };
    for (stage, rule) in cx.ir.rules() {
        let owned = rule.owner.is_some() || rule.ticket.is_some();
        if opens(stage, rule) && !rule.is_default && !owned {
            let title = "nobody is named as responsible for this";
            let help = "add `owner TEAM` or `ticket ID` to it, or an owner to the policy";
            out.push(LINT.report(title, rule.span).help(help));
        }
    }
}
