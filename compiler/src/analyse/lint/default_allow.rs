//! POL203

use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::interpret::RuleId;
use crate::ir::{Stage, Verdict};

lint! {
    /// A `default` allows what arrives from the world, to this host or through it.
    ///
    /// Then every service that somebody starts is open to everybody, and what was forgotten is
    /// allowed. Allow what is wanted, by name, and deny the rest.
    ///
    /// The [world](../lint.md) is everything behind zones such as `wan`, behind interfaces of no
    /// zone, and behind every interface of a policy without zones. `from host { default allow }` is
    /// about this host's own traffic and not meant.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   deny tcp/25
    ///   default allow
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow https
    ///   default deny
    /// }
    /// ```
    pub(super) static LINT: "POL203" "default-allow" Error, Default, Exact;
    "A default allows what arrives from the world."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    for (index, rule) in cx.ir.filter.iter().enumerate() {
        if !rule.is_default || rule.verdict != Some(Verdict::Allow) {
            continue;
        }
        let id = RuleId {
            stage: Stage::Filter,
            index,
        };
        if let Some(opening) = cx.opens_to_world(id) {
            let title = "this default allows what arrives from the world";
            let help = format!(
                "deny by default and allow what is wanted; for example it allows {}",
                opening.example
            );
            out.push(LINT.report(title, rule.span).help(help));
        }
    }
}
