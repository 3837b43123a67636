//! POL408

use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::ir::Verdict;
use crate::policy::Value;

lint! {
    /// A rule drops what comes from inside without a word.
    ///
    /// The program that asked waits until it gives up, and who looks for the reason cannot tell a
    /// policy from a cut cable. `reject` says so at once. Towards the world, `deny` is right: there
    /// an answer costs more than it is worth.
    ///
    /// Inside are zones that are not the [world](../lint.md), and this host itself.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// policy office owner netops
    ///
    /// zone lan = eth1
    ///
    /// from lan to host {
    ///   allow https
    ///   default deny
    /// }
    ///
    /// default reject
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// policy office owner netops
    ///
    /// zone lan = eth1
    ///
    /// from lan to host {
    ///   allow https
    ///   default reject
    /// }
    ///
    /// default reject
    /// ```
    pub(super) static LINT: "POL408" "drop-silently-tcp" Note, Strict, Heuristic;
    "What comes from inside is dropped without a word."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let mut definitions = cx.policy.definitions.iter();
    if !definitions.any(|d| matches!(d.value, Value::Zone(_))) {
        return;
    }
    let (space, world) = (&cx.model().space, cx.world());
    for rule in &cx.ir.filter {
        if rule.verdict != Some(Verdict::Deny) {
            continue;
        }
        let inside = rule.cubes.iter().all(|cube| {
            let came = space.ifaces.values(&cube.ingress);
            let world = world.ingress.as_ref();
            came.is_some_and(|came| world.is_none_or(|world| !came.intersects(world)))
        });
        if inside {
            let title = "what comes from inside is dropped without a word";
            out.push(
                LINT.report(title, rule.span)
                    .help("`reject` tells the sender at once"),
            );
        }
    }
}
