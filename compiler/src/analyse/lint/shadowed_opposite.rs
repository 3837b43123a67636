//! POL103

use super::unreachable_rule::{hidden, is_opposed, report};
use super::{Context, lint};
use crate::diagnostic::Diagnostic;

lint! {
    /// No packet comes to a rule: earlier rules take all that it means, and at least one of them does
    /// something else.
    ///
    /// The rule says the opposite of what happens. Most often a `deny` stands behind the `allow` that it
    /// was to restrict: what was to be closed is open.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow https                    as site
    ///   deny  tcp/443 from 192.0.2.66  as abuser
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   deny  tcp/443 from 192.0.2.66  as abuser
    ///   allow https                    as site
    ///   default deny
    /// }
    /// ```
    pub(super) static LINT: "POL103" "shadowed-opposite" Error, Default, Exact;
    "Earlier rules that do something else leave a rule nothing."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    for (reach, rule) in hidden(cx).filter(|(reach, rule)| is_opposed(cx, reach, rule)) {
        let diagnostic = report(cx, &LINT, reach, rule);
        out.extend(diagnostic.map(|d| d.help("put it before them, or delete it")));
    }
}
