//! POL305

use std::net::IpAddr;

use super::{Context, lint};
use crate::analyse::model::View;
use crate::diagnostic::Diagnostic;
use crate::field::DPORT;
use crate::ir::{Cube, Side, Stage, Verdict};
use crate::packet::cover::{Budget, Cover, cover};
use crate::packet::{AddrSet, IfaceSet, Region};

lint! {
    /// A proxy gets flows to link-local addresses.
    ///
    /// They are for neighbours: printers, consoles, the metadata service of a cloud. Such an address
    /// means something on one link only, and the proxy cannot know on which one: it connects to
    /// nobody, or to somebody else. Multicast, broadcast and this host's own addresses are never
    /// captured, unless the rule says `to host`.
    ///
    /// Exempt them with `direct to @linklocal` before the rule. Rules for a few ports are about
    /// services and not meant.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// zone lan = br0
    ///
    /// proxy box {
    ///   listen udp at 127.0.0.1:12345, [::1]:12345
    ///   mark   0x1/0xff
    ///   table  100
    ///   down   deny
    /// }
    ///
    /// steer { proxy udp from lan via box }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// zone lan = br0
    ///
    /// proxy box {
    ///   listen udp at 127.0.0.1:12345, [::1]:12345
    ///   mark   0x1/0xff
    ///   table  100
    ///   down   deny
    /// }
    ///
    /// steer {
    ///   direct to @linklocal
    ///   proxy  udp from lan via box
    /// }
    /// ```
    pub(super) static LINT: "POL305" "tproxy-includes-local" Warning, Default, Exact;
    "A proxy gets flows to link-local addresses."
}

/// Destinations of one link.
const LOCAL: &[(&str, u8)] = &[("169.254.0.0", 16), ("fe80::", 10)];

/// A rule for no more ports than this is about services, not about all that is sent.
const FEW: u128 = 1024;

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let Some(steer) = cx.world().steer() else {
        return;
    };
    for (index, rule) in cx.ir.steer.iter().enumerate() {
        let mut ports = rule.cubes.iter().map(|cube| cube.field(DPORT));
        let wide = ports.any(|ports| ports.is_none_or(|set| set.count() > FEW));
        if !matches!(rule.verdict, Some(Verdict::Proxy(_))) || !wide {
            continue;
        }
        let Some((at, line)) = steer.line(index) else {
            continue;
        };
        let found = LOCAL.iter().find_map(|(addr, len)| {
            let set = AddrSet::prefix(addr.parse().ok()?, *len)?;
            taken(cx, &line.regions, &set, |region| {
                let earlier = steer.earlier(at, region).into_iter();
                earlier.map(|(_, r)| r).collect()
            })
        });
        if let Some(example) = found {
            let title = "this proxy gets flows to link-local addresses";
            let help = format!(
                "put `direct to @linklocal` before it; for example it gets what is sent to {example}"
            );
            out.push(LINT.report(title, rule.span).help(help));
        }
    }
}

/// One of the addresses, such that a flow to it is in one of the regions, and not in those before it.
fn taken<'c>(
    cx: &Context,
    regions: &[Region],
    to: &AddrSet,
    earlier: impl Fn(&Region) -> Vec<&'c Region>,
) -> Option<IpAddr> {
    let asked = Cube {
        daddr: to.clone(),
        families: to.families(),
        egress: Side::ifaces(IfaceSet::full()),
        ..Cube::any()
    };
    let model = cx.model();
    let asked = model.regions(&[asked], View::of(Stage::Steer));
    let possible = model.universe(Stage::Steer);
    let mut budget = Budget::new(5_000);
    for region in regions {
        let parts = asked.iter().filter_map(|a| a.intersection(region));
        for part in parts.flat_map(|p| possible.iter().filter_map(move |u| u.intersection(&p))) {
            if let Cover::Hole(hole) = cover(&part, &earlier(&part), &mut budget).ok()? {
                return Some(model.example(&hole).packet.daddr);
            }
        }
    }
    None
}
