//! POL708

use super::{Context, lint};
use crate::diagnostic::Diagnostic;

lint! {
    /// A policy of some size has neither a test nor a claim.
    ///
    /// Nothing says what it is meant to do, so a mistake in an edit is what it does from then on.
    /// `ensure` and `never` are proved for all packets; a `test` says what becomes of single flows.
    ///
    /// Policies of fewer than six rules, defaults not counted, are small enough to be read.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow https
    ///   allow smtp
    ///   allow submissions
    ///   allow imaps
    ///   allow pop3s
    ///   allow sieve
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow https
    ///   allow smtp
    ///   allow submissions
    ///   allow imaps
    ///   allow pop3s
    ///   allow sieve
    ///   default deny
    /// }
    ///
    /// never allow imap to host
    ///
    /// test "mail" {
    ///   allow tcp 198.51.100.7:40000 -> host:993
    /// }
    /// ```
    pub(super) static LINT: "POL708" "no-tests" Note, Default, Syntactic;
    "A policy has neither tests nor claims."
}

/// A policy of fewer rules can be read.
const SMALL: usize = 6;

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    if !cx.policy.tests.is_empty() || !cx.policy.claims.is_empty() {
        return;
    }
    let mut rules = cx.ir.rules().filter(|(_, rule)| !rule.is_default);
    if let Some((_, rule)) = rules.nth(SMALL - 1) {
        let title = "this policy has neither tests nor claims";
        let help = "say what it is for: `ensure allow …`, `never allow …`, or a `test`";
        out.push(LINT.report(title, rule.span).help(help));
    }
}
