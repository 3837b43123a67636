//! POL302

use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::field::{CT_MARK, Header, META_MARK};
use crate::ir::{Cube, Rule, Verdict};

lint! {
    /// A proxy gets this host's own flows, and nothing leaves out those of the proxy itself.
    ///
    /// What the proxy sends on is a flow of this host, too. It is captured again, comes back to the
    /// proxy, and so on until the machine has no ports or no memory left.
    ///
    /// `bypass` in the proxy leaves out a user, a group or a control group. A rule before this one
    /// can do so as well, for a sender (`by`) or for a mark that the proxy sets.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// proxy box {
    ///   listen tcp at 127.0.0.1:12345
    ///   mark   0x1/0xff
    ///   table  100
    ///   down   deny
    /// }
    ///
    /// steer { proxy tcp from host to 198.51.100.0/24 via box }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// proxy box {
    ///   listen tcp at 127.0.0.1:12345
    ///   mark   0x1/0xff
    ///   table  100
    ///   bypass user proxybox
    ///   down   deny
    /// }
    ///
    /// steer { proxy tcp from host to 198.51.100.0/24 via box }
    /// ```
    pub(super) static LINT: "POL302" "proxy-loop" Error, Default, Exact;
    "A proxy captures its own flows."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    for (index, rule) in cx.ir.steer.iter().enumerate() {
        let Some(Verdict::Proxy(id)) = rule.verdict else {
            continue;
        };
        let bypassed = cx.ir.proxies.get(id).is_none_or(|p| !p.bypass.is_empty());
        let earlier = cx.ir.steer.iter().take(index);
        if bypassed || !captures_own(rule) || exempts_a_sender(earlier) {
            continue;
        }
        let proxy = cx.ir.proxies.get(id);
        let name = proxy.map_or("", |p| &p.name);
        let title = format!("the proxy `{name}` gets its own flows back");
        let mut diagnostic = LINT
            .report(title, rule.span)
            .help("say `bypass user …` in the proxy, or `direct by user …` before this rule");
        if let Some(proxy) = proxy {
            diagnostic = diagnostic.related(proxy.span, "it has no `bypass`");
        }
        out.push(diagnostic);
    }
}

/// Whether a rule takes this host's own flows whoever sends them.
pub(super) fn captures_own(rule: &Rule) -> bool {
    let own = |cube: &Cube| cube.ingress.host && cube.saddr.is_full() && !asks_for_sender(cube);
    rule.cubes.iter().any(own)
}

/// Whether one of the rules leaves flows of some sender alone.
pub(super) fn exempts_a_sender<'r>(rules: impl Iterator<Item = &'r Rule>) -> bool {
    let leaves =
        |rule: &Rule| matches!(rule.verdict, Some(Verdict::Direct | Verdict::Route { .. }));
    let mut exempt = rules.filter(|r| leaves(r)).flat_map(|rule| &rule.cubes);
    exempt.any(asks_for_sender)
}

fn asks_for_sender(cube: &Cube) -> bool {
    let mut fields = cube.fields.keys();
    let principal = |atom: &crate::ir::Atom| matches!(atom, crate::ir::Atom::Principal(..));
    cube.atoms.keys().any(principal)
        || fields.any(|f| f.def().header == Header::Owner || [META_MARK, CT_MARK].contains(f))
}
