//! POL505

use std::collections::BTreeMap;

use super::nd_blocked::wires;
use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::field::{ICMP, ICMP_CODE, ICMP_TYPE, ICMPV6};
use crate::interpret::RuleId;
use crate::ir::cube::both;
use crate::ir::{Cube, Side, Stage};
use crate::packet::{Families, IfaceSet, IntervalSet};

use super::admitting::{is_pass, is_refusal};

lint! {
    /// Under `strict icmp`, a guard or a stateless section refuses the messages by which a router says
    /// that a packet is too big: ICMP type 3 code 4 on IPv4, type 2 on IPv6.
    ///
    /// Without them a sender goes on sending what does not fit. Small packets pass and large ones vanish:
    /// connections open and then hang. On IPv6 routers cut nothing up, so there is no other way out.
    ///
    /// Other sections cannot refuse them: an ICMP error follows the flow that it belongs to. Without
    /// `strict icmp` these messages always pass.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// strict icmp
    ///
    /// guard on eth0 {
    ///   deny icmp/destination-unreachable
    ///   default allow
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// guard on eth0 {
    ///   deny icmp/destination-unreachable
    ///   default allow
    /// }
    /// ```
    pub(super) static LINT: "POL505" "pmtud-blocked" Error, Default, Exact;
    "Messages about packets that are too big are refused."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    if !cx.ir.strict_icmp {
        return;
    }
    let mut found = BTreeMap::<RuleId, String>::new();
    for iface in wires(cx) {
        for message in too_big() {
            let asked = Cube {
                ingress: Side::ifaces(iface.clone()),
                ..message
            };
            if let Some((id, example)) = by_guard(cx, &asked) {
                found.entry(id).or_insert(example);
            }
        }
    }
    for block in cx.ir.blocks.iter().filter(|block| block.stateless) {
        for message in too_big() {
            let arriving = Cube {
                ingress: Side::ifaces(IfaceSet::not_loopback()),
                ..message
            };
            let Some(asked) = both(&block.scope, &[arriving]) else {
                continue;
            };
            if let Some((id, opening)) = cx.refusal(&asked) {
                found.entry(id).or_insert(opening.example);
            }
        }
    }
    for (id, example) in found {
        let Some(rule) = id.of(cx.ir) else { continue };
        let title = "this refuses the messages that say a packet is too big";
        let help = format!(
            "allow `icmp/packet-too-big` and `icmp` when `icmp.type == 3 and icmp.code == 4` before \
             it, or leave out `strict icmp`; for example, this is refused: {example}"
        );
        out.push(LINT.report(title, rule.span).help(help));
    }
}

/// "Fragmentation needed" of IPv4, "packet too big" of IPv6.
fn too_big() -> [Cube; 2] {
    let message = |families, protocol, kind| {
        Cube::any()
            .with_families(families)
            .with_proto(&IntervalSet::one(protocol))
            .with_field(ICMP_TYPE, &IntervalSet::one(kind))
    };
    let code = IntervalSet::one(4);
    [
        message(Families::V4, ICMP, 3).with_field(ICMP_CODE, &code),
        message(Families::V6, ICMPV6, 2),
    ]
}

/// The rule of guard that refuses packets of which it lets none pass.
fn by_guard(cx: &Context, asked: &Cube) -> Option<(RuleId, String)> {
    let asked = cx.regions(Stage::Guard, std::slice::from_ref(asked));
    let passes = cx.first_of_guard(&asked, 0, is_pass).ok()?;
    if passes.is_some() {
        return None;
    }
    let (id, opening) = cx.first_of_guard(&asked, 0, is_refusal).ok()??;
    Some((id, opening.example))
}
