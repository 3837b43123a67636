//! POL105

use std::collections::BTreeSet;

use super::{Context, duplicate_rule, lint};
use crate::analyse::model::Source;
use crate::analyse::reach::{Redundant, Status};
use crate::diagnostic::Diagnostic;
use crate::interpret::RuleId;

lint! {
    /// Without a rule nothing would change: what it decides, later rules decide the same way.
    ///
    /// It hides that the later rule is wider than one may think. Who deletes the narrow rule to close
    /// something closes nothing.
    ///
    /// A rule with a rate, a counter, or a log entry under its own name does something that no other
    /// does, and is not meant.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow https from 192.0.2.0/24
    ///   allow https from 192.0.0.0/16
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow https from 192.0.0.0/16
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Fix
    ///
    /// The rule is deleted, unless it stands in a template or a test counts on its name. That is done for
    /// one rule at a time: of two that make each other superfluous, one is needed.
    pub(super) static LINT: "POL105" "redundant-rule" Warning, Default, Exact, fix;
    "Without a rule nothing would change."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let needed = hiding(cx);
    // What is deleted at the same time may be what makes this one superfluous.
    let mut alone = needed.is_empty();
    for reach in &cx.reach().rules {
        if reach.redundant != Redundant::Yes || needed.contains(&reach.id) {
            continue;
        }
        let Some(rule) = reach.id.of(cx.ir) else {
            continue;
        };
        let title = format!("without `{}` nothing would change", rule.name);
        let diagnostic = LINT
            .report(title, rule.span)
            .at("what it decides, later rules decide the same way")
            .help("delete it, or narrow the later ones");
        let deletable = alone
            && cx.is_own(rule.span)
            && !cx.is_shared(rule.span)
            && !duplicate_rule::is_tested(cx, rule);
        let fix = deletable.then(|| cx.delete(rule.span, "delete the rule"));
        out.push(match fix.flatten() {
            Some(fix) => {
                alone = false;
                diagnostic.fix(fix)
            }
            None => diagnostic,
        });
    }
}

/// The rules that hide others: those are the superfluous ones.
fn hiding(cx: &Context) -> BTreeSet<RuleId> {
    let rules = cx.reach().rules.iter();
    let hidden = rules.filter(|reach| reach.status == Status::Unreachable);
    let by = hidden.flat_map(|reach| {
        let blockers = reach.blockers.iter().filter_map(|blocker| match blocker {
            Source::Rule(id) => Some(*id),
            Source::Fact(_) => None,
        });
        blockers.chain(reach.duplicate_of)
    });
    by.collect()
}
