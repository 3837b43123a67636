//! POL208

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Context, Origin, Question, lint};
use crate::diagnostic::Diagnostic;
use crate::ir::{Cube, Rule, Side};
use crate::packet::{AddrSet, IfaceSet};

lint! {
    /// A rule allows loopback addresses (`127.0.0.0/8`, `::1`), and not on the interface `lo` alone.
    ///
    /// Loopback traffic needs no rule: it is outside of a policy. What arrives by a wire with such an
    /// address is forged, and this rule lets it in. Kernels drop most of it, but not where
    /// `route_localnet` is on, and then programs that trust the loopback address trust the sender.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow from 127.0.0.0/8
    ///   allow https
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow https
    ///   default deny
    /// }
    /// ```
    pub(super) static LINT: "POL208" "loopback-address-off-lo" Warning, Default, Exact;
    "A rule allows loopback addresses on other interfaces than `lo`."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let loopback = loopback();
    for (id, rule) in cx.admitting().filter(|(_, rule)| names(rule, &loopback)) {
        let arriving = Cube {
            ingress: Side::ifaces(IfaceSet::not_loopback()),
            ..Cube::any()
        };
        let from = Cube {
            saddr: loopback.clone(),
            ..arriving.clone()
        };
        let to = Cube {
            daddr: loopback.clone(),
            ..arriving
        };
        let asked = [from, to];
        let question = Question {
            origin: Origin::Anywhere,
            asked: &asked,
            empty: false,
        };
        if let Ok(Some(opening)) = cx.decided(id, question) {
            let title = "loopback addresses are allowed on other interfaces than `lo`";
            let help = format!(
                "delete it, or say `in lo`; for example, this gets in: {}",
                opening.example
            );
            out.push(LINT.report(title, rule.span).help(help));
        }
    }
}

fn loopback() -> AddrSet {
    let v4 = AddrSet::prefix(IpAddr::V4(Ipv4Addr::LOCALHOST), 8);
    let v6 = AddrSet::one(IpAddr::V6(Ipv6Addr::LOCALHOST));
    v4.map_or_else(|| v6.clone(), |v4| v4.union(&v6))
}

/// Whether a rule names loopback addresses: one of its ranges lies inside of them.
fn names(rule: &Rule, loopback: &AddrSet) -> bool {
    let inside = |set: &AddrSet| {
        let v4 = set.v4.ranges().iter();
        let addr = |n: u32| IpAddr::V4(Ipv4Addr::from(n));
        let mut v4 = v4.filter_map(|(a, b)| AddrSet::range(addr(*a), addr(*b)));
        let v6 = set.v6.ranges().iter();
        let v4_addr = |range: AddrSet| range.is_subset(loopback);
        let one = u128::from(Ipv6Addr::LOCALHOST);
        let mut v6 = v6.filter(|range| **range == (one, one));
        v4.any(v4_addr) || v6.next().is_some()
    };
    let named = |set: &AddrSet| !set.is_full() && set.intersects(loopback) && inside(set);
    let cubes = rule.cubes.iter();
    cubes.flat_map(|c| [&c.saddr, &c.daddr]).any(named)
}
