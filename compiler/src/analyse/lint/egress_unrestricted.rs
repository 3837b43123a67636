//! POL214

use super::{Context, Origin, Question, lint};
use crate::diagnostic::Diagnostic;
use crate::ir::{Cube, Side};
use crate::packet::IfaceSet;

lint! {
    /// Everything that this host sends is allowed.
    ///
    /// Who has broken into a machine fetches tools, opens a shell to the outside, and sends away what
    /// was found. A list of what the host itself needs to reach (names, time, updates, mail) stops most
    /// of it, and shows the rest in the log.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// policy web owner sre
    ///
    /// from host { default allow }
    ///
    /// ensure allow dns from host
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// policy web owner sre
    ///
    /// from host {
    ///   allow dns, ntp, https
    ///   default reject
    /// }
    ///
    /// ensure allow dns from host
    /// ```
    pub(super) static LINT: "POL214" "egress-unrestricted" Note, Audit, Exact;
    "This host may send whatever it wants."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let asked = [Cube {
        ingress: Side::host(),
        egress: Side::ifaces(IfaceSet::not_loopback()),
        ..Cube::any()
    }];
    let question = Question {
        origin: Origin::Anywhere,
        asked: &asked,
        empty: true,
    };
    for (id, rule) in cx.admitting().filter(|(_, rule)| rule.limits.is_empty()) {
        let all = |cube: &Cube| {
            let anything = Cube {
                ingress: cube.ingress.clone(),
                egress: cube.egress.clone(),
                families: cube.families,
                ..Cube::any()
            };
            cube.ingress.host && *cube == anything
        };
        if rule.cubes.iter().any(all)
            && let Ok(Some(opening)) = cx.decided(id, question)
        {
            let help = format!(
                "allow what the host needs, and refuse the rest; for example, this gets out: {}",
                opening.example
            );
            let title = "this host may send whatever it wants";
            out.push(LINT.report(title, rule.span).help(help));
        }
    }
}
