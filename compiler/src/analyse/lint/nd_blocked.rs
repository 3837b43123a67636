//! POL504

use std::collections::BTreeMap;

use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::field::{CT_DIRECTION, CT_MARK, CT_STATE, ICMP_TYPE, ICMPV6};
use crate::interpret::RuleId;
use crate::ir::{Cube, Ir, Side};
use crate::packet::{AddrSet, Families, IfaceSet, IntervalSet, Pattern};

lint! {
    /// Under `strict icmp`, a rule refuses the neighbour discovery of an interface: ICMPv6 types 135 and
    /// 136 from a neighbour on the link to this host.
    ///
    /// IPv6 has no ARP. A host that does not answer solicitations cannot be reached by its own router, and
    /// one that does not hear advertisements reaches nobody. That shows minutes later, when the
    /// neighbours forget what they knew.
    ///
    /// Without `strict icmp` neighbour discovery always passes. A rule about some neighbours alone is not
    /// meant. Nothing is said of policies whose steer or filter asks for `ct.*`.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// strict icmp
    ///
    /// to host {
    ///   allow https
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// strict icmp
    ///
    /// to host {
    ///   allow https
    ///   allow icmp/{router-advertisement, neighbour-solicitation, neighbour-advertisement}
    ///   default deny
    /// }
    /// ```
    pub(super) static LINT: "POL504" "nd-blocked" Error, Default, Exact;
    "Neighbour discovery is refused."
}

/// Solicitation and advertisement.
const DISCOVERY: [u64; 2] = [135, 136];

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    if !cx.ir.strict_icmp || asks_tracking(cx.ir) {
        return;
    }
    let Some(neighbours) = AddrSet::prefix([0xfe80, 0, 0, 0, 0, 0, 0, 0].into(), 10) else {
        return;
    };
    let mut found = BTreeMap::<RuleId, String>::new();
    for iface in wires(cx) {
        for kind in DISCOVERY {
            let asked = Cube {
                families: Families::V6,
                ingress: Side::ifaces(iface.clone()),
                egress: Side::host(),
                saddr: neighbours.clone(),
                ..Cube::any()
            }
            .with_proto(&IntervalSet::one(ICMPV6))
            .with_field(ICMP_TYPE, &IntervalSet::one(kind));
            if let Some((id, opening)) = cx.refusal(&[asked]) {
                found.entry(id).or_insert(opening.example);
            }
        }
    }
    for (id, example) in found {
        let Some(rule) = id.of(cx.ir) else { continue };
        let title = "this refuses neighbour discovery, without which IPv6 does not work";
        let help = format!(
            "allow `icmp/{{neighbour-solicitation, neighbour-advertisement}}` before it, or leave out \
             `strict icmp`; for example, this is refused: {example}"
        );
        out.push(LINT.report(title, rule.span).help(help));
    }
}

/// Whether rules tell packets that are tracked from others. Neighbour discovery is not.
fn asks_tracking(ir: &Ir) -> bool {
    let rules = ir.steer.iter().chain(&ir.filter);
    let mut cubes = rules.flat_map(|rule| &rule.cubes);
    let fields = [CT_STATE, CT_DIRECTION, CT_MARK];
    cubes.any(|cube| fields.iter().any(|field| cube.field(*field).is_some()))
}

/// The interfaces that the policy tells apart, without `lo`.
pub(super) fn wires(cx: &Context) -> Vec<IfaceSet> {
    let ifaces = &cx.model().space.ifaces;
    let names = (1..).map_while(|n| ifaces.name(n).map(str::to_owned));
    let wires = names.filter(|name| name != "lo");
    wires
        .map(|name| IfaceSet::of([Pattern::Name(name)]))
        .collect()
}
