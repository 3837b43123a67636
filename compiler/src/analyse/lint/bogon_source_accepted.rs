//! POL206

use std::net::IpAddr;

use super::{Context, Origin, Question, lint, world};
use crate::diagnostic::Diagnostic;
use crate::field::{DPORT, TCP, UDP};
use crate::ir::{Cube, Side};
use crate::packet::{AddrSet, IntervalSet};
use crate::policy::Zone;

lint! {
    /// A rule lets in flows that come from the world with a source that nobody there can have: a private
    /// address, one that is reserved, a multicast group.
    ///
    /// Such a source is forged, or a leak of somebody else's network. Answers to it go into one's own
    /// network, and rules that trust private addresses trust it. One line before the others stops all of
    /// it: `deny from @bogons`.
    ///
    /// Only zones that are the world are looked at, TCP and UDP, and not DHCP, whose servers may have any
    /// address. There is one finding for each zone.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// policy web owner sre
    ///
    /// zone wan = eth0
    ///
    /// from wan to host {
    ///   allow https
    ///   default deny
    /// }
    /// to host { default reject }
    ///
    /// ensure allow https from 198.51.100.0/24 to host in wan
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// policy web owner sre
    ///
    /// zone wan = eth0
    ///
    /// from wan to host {
    ///   deny  from @bogons
    ///   allow https
    ///   default deny
    /// }
    /// to host { default reject }
    ///
    /// ensure allow https from 198.51.100.0/24 to host in wan
    /// ```
    pub(super) static LINT: "POL206" "bogon-source-accepted" Warning, Strict, Exact;
    "The world gets in with sources that nobody there has."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let named = &cx.settings.world;
    for (name, zone) in world::zones(cx.policy) {
        if world::is_world(named, name, zone) {
            out.extend(of_zone(cx, name, zone));
        }
    }
}

fn of_zone(cx: &Context, name: &str, zone: &Zone) -> Option<Diagnostic> {
    let dhcp: IntervalSet<u64> = [(67, 68), (546, 547)].into_iter().collect();
    let from = Cube {
        ingress: Side::ifaces(zone.ifaces.clone()),
        saddr: bogons(),
        ..Cube::any()
    };
    let of = |protocol| from.clone().with_proto(&IntervalSet::one(protocol));
    let asked = [
        of(TCP),
        of(UDP).with_field(DPORT, &DPORT.all().difference(&dhcp)),
    ];
    let question = Question {
        origin: Origin::Interfaces,
        asked: &asked,
        empty: false,
    };
    cx.admitting().find_map(|(id, rule)| {
        let opening = cx.decided(id, question).ok()??;
        let title = format!("sources that nobody behind `{name}` can have get in");
        let help = format!(
            "put `deny from @bogons` before it; for example, this gets in: {}",
            opening.example
        );
        Some(LINT.report(title, rule.span).help(help))
    })
}

/// The prelude's `@bogons`.
fn bogons() -> AddrSet {
    const BOGONS: &[(&str, u8)] = &[
        ("0.0.0.0", 8),
        ("10.0.0.0", 8),
        ("100.64.0.0", 10),
        ("127.0.0.0", 8),
        ("169.254.0.0", 16),
        ("172.16.0.0", 12),
        ("192.0.0.0", 24),
        ("192.168.0.0", 16),
        ("198.18.0.0", 15),
        ("224.0.0.0", 4),
        ("240.0.0.0", 4),
        ("::1", 128),
        ("::ffff:0:0", 96),
        ("64:ff9b:1::", 48),
        ("100::", 64),
        ("2001::", 23),
        ("fc00::", 7),
        ("ff00::", 8),
    ];
    let prefixes = BOGONS.iter().filter_map(|(text, len)| {
        let addr: IpAddr = text.parse().ok()?;
        AddrSet::prefix(addr, *len)
    });
    prefixes.fold(AddrSet::empty(), |set, one| set.union(&one))
}
