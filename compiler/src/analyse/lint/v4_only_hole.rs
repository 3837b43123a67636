//! POL501

use super::admitting::{is_pass, is_refusal, mirror};
use super::{Context, Meta, lint};
use crate::diagnostic::Diagnostic;
use crate::packet::Families;

lint! {
    /// A rule refuses something on IPv4 only, and on IPv6 the same is allowed.
    ///
    /// Nearly every network has IPv6 by now, whether anybody has asked for it or not, and programs
    /// prefer it. Who finds the door of IPv4 closed goes in by the other one.
    ///
    /// Rules are meant that are limited to IPv4 by `only v4`, or by sources or destinations that are all
    /// of IPv4; not those about certain addresses.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   deny  tcp/8080 only v4
    ///   allow tcp/8000-8099
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   deny  tcp/8080
    ///   allow tcp/8000-8099
    ///   default deny
    /// }
    /// ```
    pub(super) static LINT: "POL501" "v4-only-hole" Error, Default, Exact;
    "What is refused on IPv4 is allowed on IPv6."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    holes(cx, &LINT, Families::V4, out);
}

/// Rules that refuse something of one family only, where the other one is allowed.
pub(super) fn holes(cx: &Context, lint: &'static Meta, of: Families, out: &mut Vec<Diagnostic>) {
    let (own, other) = if of.v4 {
        ("IPv4", "IPv6")
    } else {
        ("IPv6", "IPv4")
    };
    let refusing = cx.ir.filter.iter();
    for rule in refusing.filter(|rule| rule.verdict.as_ref().is_some_and(is_refusal)) {
        let Some(asked) = mirror(rule, of) else {
            continue;
        };
        let Ok(Some((id, opening))) = cx.first_with(&asked, is_pass) else {
            continue;
        };
        let Some(passes) = id.of(cx.ir) else { continue };
        let title = format!("this is refused on {own}, and allowed on {other}");
        let help = format!(
            "refuse it on both; for example, `{}` allows {}",
            passes.name, opening.example
        );
        let diagnostic = lint.report(title, rule.span).help(help);
        out.push(diagnostic.related(passes.span, format!("this allows it on {other}")));
    }
}
