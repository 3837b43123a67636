//! POL216

use polc_grammar::ast::{ClaimKind, Verb};

use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::field::DPORT;
use crate::ir::{Cube, Rule, Verdict};

lint! {
    /// The policy claims some things, lets somebody in by SSH, and does not claim that this stays so.
    ///
    /// The next edit may lock out the one who makes it. `protect allow ssh from … to host` is proved
    /// whenever the policy is compiled, and a policy that breaks it is not built. `ensure` counts as
    /// well.
    ///
    /// Policies without any claim are not looked at.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// set admins = { 192.0.2.0/28 }
    ///
    /// to host {
    ///   allow ssh from @admins
    ///   allow https
    ///   default deny
    /// }
    ///
    /// ensure allow https to host
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// set admins = { 192.0.2.0/28 }
    ///
    /// to host {
    ///   allow ssh from @admins
    ///   allow https
    ///   default deny
    /// }
    ///
    /// protect allow ssh from @admins to host
    /// ensure allow https to host
    /// ```
    pub(super) static LINT: "POL216" "management-not-protected" Warning, Default, Syntactic;
    "No claim protects the way in for administration."
}

const SSH: u64 = 22;
const TCP: u64 = 6;

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let claims = &cx.policy.claims;
    let protects = |kind: ClaimKind| matches!(kind, ClaimKind::Protect | ClaimKind::Ensure);
    let mut protecting = claims
        .iter()
        .filter(|c| protects(c.kind) && c.outcome == Verb::Allow);
    if claims.is_empty() || protecting.any(|claim| claim.cubes.iter().any(is_ssh)) {
        return;
    }
    let allows = |rule: &&Rule| rule.verdict == Some(Verdict::Allow);
    let mut rules = cx.ir.filter.iter().filter(allows);
    let ssh = rules.find(|rule| rule.cubes.iter().any(names_ssh));
    if let (Some(rule), Some(claim)) = (ssh, claims.first()) {
        let help =
            "add `protect allow ssh from … to host`, with those who must never be locked out";
        out.push(
            LINT.report("no claim protects the way in by SSH", claim.span)
                .at("this claim is about something else")
                .related(rule.span, "the way in")
                .help(help),
        );
    }
}

/// Whether some packets are SSH to this host.
fn is_ssh(cube: &Cube) -> bool {
    let port = cube.field(DPORT).is_none_or(|ports| ports.contains(SSH));
    cube.egress.host && cube.proto.contains(TCP) && port
}

fn names_ssh(cube: &Cube) -> bool {
    is_ssh(cube) && cube.fields.contains_key(&DPORT)
}
