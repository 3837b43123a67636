//! POL602

use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::ir::cube::PrincipalKind;
use crate::ir::{Atom, Cube, Nat, NatTarget, Rate, Rule, Stage, Verdict};
use crate::source::Span;

lint! {
    /// The policy asks for something that the oldest kernel it is meant for does not have. Which kernel
    /// that is says `min_kernel` in the settings; it is 5.10 when they do not say.
    ///
    /// Such a policy builds, and is refused by the machine that it is loaded into: at the worst time to
    /// find out. What each feature needs stands in the reference of the targets.
    ///
    /// ## Bad
    ///
    /// ```yaml
    /// min_kernel: "5.10"
    /// ```
    ///
    /// ```pol
    /// from host {
    ///   allow web by cgroup "system.slice/updater.service"
    ///   default reject
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// from host {
    ///   allow web by uid 980
    ///   default reject
    /// }
    /// ```
    pub(super) static LINT: "POL602" "kernel-floor" Error, Default, Exact;
    "The policy needs a newer kernel than it is meant for."
}

/// What a rule or definition needs, and since which kernel there is.
type Need = (&'static str, (u32, u32), Span);

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let floor = cx.settings.min_kernel;
    let mut found = Vec::new();
    for (stage, rule) in cx.ir.rules() {
        found.extend(
            needs(stage, rule)
                .into_iter()
                .map(|(what, since)| (what, since, rule.span)),
        );
    }
    for bucket in &cx.ir.buckets {
        if bucket.key.is_some() || matches!(bucket.rate, Rate::Flows { .. }) {
            found.push((
                "rates per key and limits of live flows need",
                (5, 7),
                bucket.span,
            ));
        }
    }
    for proxy in cx.ir.proxies.iter().filter(|p| p.tcp) {
        found.push(("proxies for TCP need", (5, 10), proxy.span));
    }
    out.extend(
        found
            .into_iter()
            .filter(|(_, since, _)| *since > floor)
            .map(|need| report(floor, need)),
    );
}

fn report((major, minor): (u32, u32), (what, since, span): Need) -> Diagnostic {
    let title = format!("{what} Linux {}.{}", since.0, since.1);
    LINT.report(title, span)
        .at(format!("it is meant for Linux {major}.{minor} and later"))
        .help("do without, or raise `min_kernel` in the settings of lint")
}

/// What a rule needs.
fn needs(stage: Stage, rule: &Rule) -> Vec<(&'static str, (u32, u32))> {
    let mut out = Vec::new();
    let any = |holds: &dyn Fn(&Cube) -> bool| rule.cubes.iter().any(holds);
    let by_cgroup = |cube: &Cube| {
        let mut atoms = cube.atoms.keys();
        atoms.any(|atom| matches!(atom, Atom::Principal(PrincipalKind::Cgroup, _)))
    };
    if any(&by_cgroup) {
        out.push(("`by cgroup` needs", (5, 13)));
    }
    if stage == Stage::Egress && any(&|cube| !cube.ingress.is_any()) {
        out.push((
            "an egress rule that asks where a flow came from needs",
            (5, 7),
        ));
    }
    if let Some(Verdict::Dnat(nat) | Verdict::Snat(nat)) = &rule.verdict
        && has_prefix(nat)
    {
        out.push(("`=> net` needs", (5, 8)));
    }
    out
}

fn has_prefix(nat: &Nat) -> bool {
    let mut targets = nat.v4.iter().chain(&nat.v6);
    targets.any(|target| matches!(target, NatTarget::Prefix { .. }))
}
