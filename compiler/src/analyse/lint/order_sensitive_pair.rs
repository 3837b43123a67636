//! POL118

use super::admitting::{is_pass, is_refusal};
use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::interpret::RuleId;
use crate::ir::Rule;

lint! {
    /// A rule that refuses stands right behind one that allows some of the same packets, and neither is
    /// an exception to the other.
    ///
    /// The second one reads as if it refused all that it names. It comes too late for what the first one
    /// allows: below, `blocked` can still open the site. If the order is swapped, it cannot.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// policy web owner sre
    ///
    /// to host {
    ///   allow https              as site
    ///   deny  from 192.0.2.0/24  as blocked log "blocked" at 3/s
    ///   allow http               as old-site
    ///   default deny
    /// }
    ///
    /// ensure allow https from 198.51.100.0/24 to host
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// policy web owner sre
    ///
    /// to host {
    ///   deny  from 192.0.2.0/24  as blocked log "blocked" at 3/s
    ///   allow https              as site
    ///   allow http               as old-site
    ///   default deny
    /// }
    ///
    /// ensure allow https from 198.51.100.0/24 to host
    /// ```
    pub(super) static LINT: "POL118" "order-sensitive-pair" Note, Strict, Exact;
    "A rule that refuses comes too late for what its neighbour allows."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    for (first, second) in &cx.reach().conflicts {
        let (Some(earlier), Some(later)) = (first.of(cx.ir), second.of(cx.ir)) else {
            continue;
        };
        if is_order_sensitive((*first, earlier), (*second, later)) {
            let title = format!(
                "`{}` comes too late for what `{}` allows",
                later.name, earlier.name
            );
            let diagnostic = LINT.report(title, later.span);
            let text = "it allows some of what the next one refuses";
            out.push(
                diagnostic
                    .related(earlier.span, text)
                    .help("swap them, if it was to refuse that"),
            );
        }
    }
}

/// Whether two rules that conflict are neighbours of which the second one refuses what the first
/// one allows.
pub(super) fn is_order_sensitive(
    (first, earlier): (RuleId, &Rule),
    (second, later): (RuleId, &Rule),
) -> bool {
    first.index + 1 == second.index
        && earlier.block == later.block
        && earlier.verdict.as_ref().is_some_and(is_pass)
        && later.verdict.as_ref().is_some_and(is_refusal)
}
