//! POL201

use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::interpret::RuleId;
use crate::ir::cube::protocols;
use crate::ir::{Cube, Rule, Stage, Verdict};
use crate::packet::{Families, IfaceSet};

lint! {
    /// A rule allows everything that arrives: by any interface, from any source, to any destination,
    /// any protocol.
    ///
    /// Such a rule is mostly left over from a search for a mistake, or a clause was lost on the way.
    /// Whatever stands behind it has no effect. Only rules that get traffic from the
    /// [world](../lint.md) are reported. A `default` that does the same is POL203.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   deny telnet
    ///   allow
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
    pub(super) static LINT: "POL201" "any-any-allow" Error, Default, Exact;
    "A rule allows everything that arrives."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    for (index, rule) in cx.ir.filter.iter().enumerate() {
        let id = RuleId {
            stage: Stage::Filter,
            index,
        };
        if !allows_everything(rule) {
            continue;
        }
        if let Some(opening) = cx.opens_to_world(id) {
            let help = format!(
                "say what it is for: services, sources or interfaces; for example it allows {}",
                opening.example
            );
            out.push(
                LINT.report("this allows everything that arrives", rule.span)
                    .help(help),
            );
        }
    }
}

fn allows_everything(rule: &Rule) -> bool {
    let wire = IfaceSet::not_loopback();
    let everything = |cube: &Cube| {
        cube.families == Families::BOTH
            && wire.is_subset(&cube.ingress.ifaces)
            && cube.saddr.is_full()
            && cube.daddr.is_full()
            && cube.original.is_full()
            && cube.proto == protocols()
            && cube.fields.is_empty()
            && cube.atoms.is_empty()
    };
    let decides = rule.verdict == Some(Verdict::Allow) && !rule.is_default;
    decides && rule.limits.is_empty() && rule.cubes.iter().any(everything)
}
