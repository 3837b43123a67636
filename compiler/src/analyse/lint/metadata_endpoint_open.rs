//! POL215

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Context, Origin, Question, lint, world};
use crate::diagnostic::Diagnostic;
use crate::field::{DPORT, TCP};
use crate::ir::{Cube, Side};
use crate::packet::{AddrSet, IfaceSet, IntervalSet, Pattern};

lint! {
    /// Forwarded traffic may reach the address at which clouds tell a machine who it is:
    /// `169.254.169.254` or `fd00:ec2::254`.
    ///
    /// What answers there hands out the machine's credentials to whoever asks. A container, a guest or a
    /// tenant behind this machine asks in the machine's name. On a router outside of any cloud nobody
    /// answers, and a `deny` costs nothing.
    ///
    /// There is one finding for a policy.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// policy containers owner sre
    ///
    /// zone pods = cni0
    ///
    /// from pods { default allow }
    /// default deny
    ///
    /// ensure allow https from pods to 198.51.100.7
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// policy containers owner sre
    ///
    /// zone pods = cni0
    ///
    /// from pods {
    ///   reject to 169.254.169.254, fd00:ec2::254
    ///   default allow
    /// }
    /// default deny
    ///
    /// ensure allow https from pods to 198.51.100.7
    /// ```
    pub(super) static LINT: "POL215" "metadata-endpoint-open" Warning, Strict, Exact;
    "Forwarded traffic may reach the cloud's metadata."
}

/// Where clouds answer.
const ENDPOINTS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let endpoints = ENDPOINTS.into_iter().map(AddrSet::one);
    let endpoints = endpoints.fold(AddrSet::empty(), |all, one| all.union(&one));
    let asked = [Cube {
        ingress: Side::ifaces(IfaceSet::not_loopback()),
        egress: Side::ifaces(ways_out(cx, &endpoints)),
        daddr: endpoints,
        ..Cube::any()
    }
    .with_proto(&IntervalSet::one(TCP))
    .with_field(DPORT, &IntervalSet::one(80))];
    let question = Question {
        origin: Origin::Anywhere,
        asked: &asked,
        empty: false,
    };
    let found = cx.admitting().find_map(|(id, rule)| {
        let opening = cx.decided(id, question).ok()??;
        let title = "forwarded traffic may ask the cloud for this machine's credentials";
        let help = format!(
            "put `reject to 169.254.169.254, fd00:ec2::254` before it; for example, this passes: {}",
            opening.example
        );
        Some(LINT.report(title, rule.span).help(help))
    });
    out.extend(found);
}

/// The interfaces behind which the addresses can be: not those of zones whose `net` is another one.
fn ways_out(cx: &Context, addresses: &AddrSet) -> IfaceSet {
    let zones = world::zones(cx.policy).into_iter();
    let elsewhere = zones.filter(|(_, zone)| {
        let net = zone.net.as_ref();
        net.is_some_and(|net| !net.intersects(addresses))
    });
    let patterns = elsewhere.filter_map(|(_, zone)| zone.ifaces.include());
    let lo = Pattern::Name("lo".to_owned());
    IfaceSet::not(patterns.flatten().cloned().chain([lo]))
}
