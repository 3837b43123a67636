//! POL106

use std::collections::BTreeSet;

use super::order_sensitive_pair::is_order_sensitive;
use super::{Context, lint};
use crate::diagnostic::Diagnostic;

lint! {
    /// Two rules that do different things share packets, and neither is an exception to the other: each
    /// has packets of its own. What both mean, the first one decides.
    ///
    /// That is often what was meant: `deny from @blocked` before `allow https`. In a review it is a place
    /// to look at, for nothing but their order says who wins. Each rule is reported once, with the first
    /// one that it conflicts with.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// policy web owner sre
    ///
    /// to host {
    ///   deny  from 192.0.2.0/24  as blocked
    ///   allow https              as site
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
    ///   allow https from not 192.0.2.0/24 as site
    ///   default deny
    /// }
    ///
    /// ensure allow https from 198.51.100.0/24 to host
    /// ```
    pub(super) static LINT: "POL106" "conflicting-rules" Note, Audit, Exact;
    "Two rules that do different things share packets."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let mut known = BTreeSet::new();
    for (first, second) in &cx.reach().conflicts {
        let (Some(earlier), Some(later)) = (first.of(cx.ir), second.of(cx.ir)) else {
            continue;
        };
        if is_order_sensitive((*first, earlier), (*second, later)) || !known.insert(*second) {
            continue;
        }
        let title = format!(
            "`{}` shares packets with `{}`, which does something else and goes before",
            later.name, earlier.name
        );
        out.push(
            LINT.report(title, later.span)
                .related(earlier.span, "what both mean, this one decides")
                .help("make sure that this order is meant, or say in the condition what is left"),
        );
    }
}
