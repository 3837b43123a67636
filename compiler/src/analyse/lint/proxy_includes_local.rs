//! POL305

use std::net::IpAddr;

use super::{Context, lint};
use crate::analyse::model::View;
use crate::diagnostic::Diagnostic;
use crate::field::DPORT;
use crate::ir::{Cube, Stage, Verdict};
use crate::packet::cover::{Budget, Cover, cover};
use crate::packet::{AddrSet, Region};

lint! {
    /// A proxy gets flows whose destination is not a place that it could connect to: multicast and
    /// link-local addresses, and the broadcast address 255.255.255.255.
    ///
    /// What is sent there is for neighbours: service discovery, DHCP, printers. The proxy swallows
    /// it, and what should be found in the network is not.
    ///
    /// Rules for UDP of more than 1024 ports are looked at. Exempt what is local with
    /// `direct to @multicast, @linklocal, 255.255.255.255` before the rule.
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
    ///   direct to @multicast, @linklocal, 255.255.255.255
    ///   proxy  udp from lan via box
    /// }
    /// ```
    pub(super) static LINT: "POL305" "tproxy-includes-local" Warning, Default, Exact;
    "A proxy gets multicast, broadcast or link-local traffic."
}

/// Destinations that no proxy can connect to, and what they are called. UDP only: nobody opens
/// TCP connections to groups, and a proxy for TCP can connect to a neighbour.
const LOCAL: &[(&str, u8, &str)] = &[
    ("224.0.0.0", 4, "multicast"),
    ("ff00::", 8, "multicast"),
    ("255.255.255.255", 32, "broadcast"),
    ("169.254.0.0", 16, "link-local"),
    ("fe80::", 10, "link-local"),
];

const UDP: u64 = 17;

/// A rule for no more ports than this is about services, which groups of hosts do not have.
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
        let found = LOCAL.iter().find_map(|(addr, len, name)| {
            let set = AddrSet::prefix(addr.parse().ok()?, *len)?;
            let example = taken(cx, &line.regions, &set, |region| {
                let earlier = steer.earlier(at, region).into_iter();
                earlier.map(|(_, r)| r).collect()
            })?;
            Some((*name, example))
        });
        if let Some((name, example)) = found {
            let title = format!("this proxy gets {name} traffic");
            let help = format!(
                "put `direct to @multicast, @linklocal, 255.255.255.255` before it; for example it \
                 gets what is sent to {example}"
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
        ..Cube::any()
    };
    let asked = asked.with_proto(&crate::packet::IntervalSet::one(UDP));
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
