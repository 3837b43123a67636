//! POL503

use super::admitting::{is_refusal, mirror};
use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::ir::{Rule, Verdict};
use crate::packet::Families;

lint! {
    /// A rule allows something on one family only, and on the other one the same is refused.
    ///
    /// Clients try both families. Where one is refused without a word they wait before they try the
    /// other, and a service that is there for some and slow for others is hard to understand.
    ///
    /// Rules are meant that are limited to a family by `only`, in sections about both; not those about
    /// certain addresses.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// policy web owner sre
    ///
    /// to host {
    ///   allow https only v4
    ///   default reject
    /// }
    ///
    /// ensure allow https to host only v4
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// policy web owner sre
    ///
    /// to host {
    ///   allow https
    ///   default reject
    /// }
    ///
    /// ensure allow https to host
    /// ```
    pub(super) static LINT: "POL503" "asymmetric-families" Warning, Strict, Exact;
    "What is allowed on one family is refused on the other."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let allowing = cx.ir.filter.iter();
    for rule in allowing.filter(|rule| rule.verdict == Some(Verdict::Allow)) {
        for (family, own, other) in [
            (Families::V4, "IPv4", "IPv6"),
            (Families::V6, "IPv6", "IPv4"),
        ] {
            let Some(asked) = mirror(rule, family).filter(|_| serves(cx, rule, family)) else {
                continue;
            };
            let Ok(Some((id, opening))) = cx.first_with(&asked, is_refusal) else {
                continue;
            };
            let Some(refuses) = id.of(cx.ir) else {
                continue;
            };
            let title = format!("this is allowed on {own}, and refused on {other}");
            let help = format!(
                "allow it on both; for example, `{}` refuses {}",
                refuses.name, opening.example
            );
            let diagnostic = LINT.report(title, rule.span).help(help);
            out.push(diagnostic.related(refuses.span, format!("this refuses it on {other}")));
        }
    }
}

/// Whether the rule's section is about another family, too.
fn serves(cx: &Context, rule: &Rule, but: Families) -> bool {
    let block = cx.ir.blocks.get(rule.block);
    let mut scope = block.into_iter().flat_map(|b| &b.scope);
    scope.any(|cube| !cube.families.minus(but).is_empty())
}
