//! POL213

use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::field::{DPORT, SPORT, TCP_FLAGS};
use crate::interpret::RuleId;
use crate::ir::{Cube, Stage, Verdict};

lint! {
    /// A rule allows packets because of the port they come from.
    ///
    /// The sender chooses that port: who sends from port 53 reaches every UDP port of the host. Such
    /// rules are older than flows that the kernel follows. Here, answers to the host's own requests
    /// need no rule, see *Stages* in the language reference.
    ///
    /// Rules that also ask for a few destination ports are not meant, nor those of `stateless`
    /// sections, where answers cannot be told by anything else.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow udp when udp.sport == 53
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host   { default deny }
    /// from host { allow dns  default deny }
    /// ```
    pub(super) static LINT: "POL213" "source-port-trust" Error, Default, Exact;
    "A rule allows packets because of the port they come from."
}

/// A rule that asks for no more destination ports than this opens a service.
const FEW: u128 = 1024;

/// A rule for so many source ports keeps out nobody in particular.
const MANY: u128 = 1 << 15;

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    for (index, rule) in cx.ir.filter.iter().enumerate() {
        let stateless = cx.ir.blocks.get(rule.block).is_some_and(|b| b.stateless);
        if rule.verdict != Some(Verdict::Allow) || stateless {
            continue;
        }
        let id = RuleId {
            stage: Stage::Filter,
            index,
        };
        let mut trusting = rule.cubes.iter().filter(|cube| trusts(cube));
        if let Some(opening) = trusting.find_map(|cube| cx.allowed_from_world(id, cube)) {
            let title = "this lets in whoever sends from that port";
            let help = format!(
                "answers need no rule: delete it, or say from whom or to which port; for example \
                 it allows {}",
                opening.example
            );
            out.push(LINT.report(title, rule.span).help(help));
        }
    }
}

fn trusts(cube: &Cube) -> bool {
    let few = |set: &crate::packet::IntervalSet<u64>| set.count() <= FEW;
    cube.field(SPORT).is_some_and(|set| set.count() < MANY)
        && !cube.field(DPORT).is_some_and(few)
        && cube.field(TCP_FLAGS).is_none()
}
