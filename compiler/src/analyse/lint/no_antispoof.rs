//! POL207

use super::{Context, Origin, Question, lint, world};
use crate::diagnostic::Diagnostic;
use crate::ir::Cube;
use crate::packet::AddrSet;

lint! {
    /// A rule lets in flows that come from the world with a source of one's own networks.
    ///
    /// Those addresses are behind other interfaces. Who sends them from outside forges them, and is
    /// taken for an insider by every rule and every program that trusts them.
    ///
    /// One's own networks are those of `own_prefixes` in the settings, and the `net` of zones that are not
    /// the world. There is one finding for a policy.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// zone wan = eth0
    /// zone dmz = eth1 net { 192.0.2.0/24, 2001:db8:1::/64 }
    ///
    /// from wan to dmz {
    ///   allow https
    ///   default deny
    /// }
    /// default deny
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// zone wan = eth0
    /// zone dmz = eth1 net { 192.0.2.0/24, 2001:db8:1::/64 }
    ///
    /// set inside = { 192.0.2.0/24, 2001:db8:1::/64 }
    ///
    /// from wan {
    ///   deny from @inside
    ///   deny from @bogons
    /// }
    /// from wan to dmz {
    ///   allow https
    ///   default deny
    /// }
    /// default deny
    /// ```
    pub(super) static LINT: "POL207" "no-antispoof" Warning, Default, Exact;
    "The world gets in with sources of one's own networks."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let inside = own(cx);
    if inside.is_empty() {
        return;
    }
    let asked = [Cube {
        families: inside.families(),
        saddr: inside,
        ..Cube::any()
    }];
    let question = Question {
        origin: Origin::Interfaces,
        asked: &asked,
        empty: false,
    };
    let found = cx.admitting().find_map(|(id, rule)| {
        let opening = cx.decided(id, question).ok()??;
        let title = "sources of one's own networks get in from outside";
        let help = format!(
            "deny them before this rule; for example, this gets in: {}",
            opening.example
        );
        Some(LINT.report(title, rule.span).help(help))
    });
    out.extend(found);
}

/// The addresses of one's own networks.
fn own(cx: &Context) -> AddrSet {
    let zones = world::zones(cx.policy).into_iter();
    let inside = zones.filter(|(name, zone)| !world::is_world(&cx.settings.world, name, zone));
    let nets = inside.filter_map(|(_, zone)| zone.net.as_ref());
    nets.fold(cx.settings.own.clone(), |all, net| all.union(net))
}
