//! Steps that mean something, and yet cannot be played with real packets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::play::is_for_many;
use super::sight::Sight;
use super::wire::is_believable_source;
use super::{Route, Unplayable};
use crate::field::{ICMP, ICMP_TYPE, ICMPV6, TCP_FLAGS};
use crate::interpret::{Decision, Packet, Place, Sourced, Steered};
use crate::ir::cube::PrincipalKind;

const SYN: u64 = 0x02;
const ACK: u64 = 0x10;

/// Whether a packet can be made and sent, so that what is predicted can be seen.
pub(super) fn packet(packet: &Packet, predicted: &Sight) -> Result<(), Unplayable> {
    let no = |reason: &str| Err(Unplayable::because(reason));
    if let Some((_, name)) = packet
        .principals
        .iter()
        .find(|(kind, _)| *kind == PrincipalKind::Cgroup)
    {
        return no(&format!("nothing is in the control group `{name}` here"));
    }
    if packet.ingress == Place::Iface("lo".into()) {
        return no("what comes in by `lo` has left by `lo` before: ask about that packet");
    }
    let kind = packet.field(ICMP_TYPE);
    match (u64::from(packet.proto), kind) {
        (ICMP, Some(3 | 4 | 5 | 11 | 12)) | (ICMPV6, Some(1..=4)) => {
            return no("an ICMP error quotes a packet, and the step does not say which");
        }
        (ICMPV6, Some(130..=137 | 143)) => {
            return no("the kernel looks after its neighbours itself");
        }
        _ => {}
    }
    if packet.saddr.is_ipv6() && matches!(packet.proto, 0 | 43 | 44 | 51 | 59 | 60 | 135) {
        return no("that protocol is an extension header of IPv6");
    }
    if packet.daddr.is_multicast() {
        return no("nobody has joined the multicast group here");
    }
    let arrives = matches!(packet.ingress, Place::Iface(_));
    let ordinary = is_believable_source(packet.saddr, packet.daddr) && !packet.daddr.is_loopback();
    if arrives && !ordinary && *predicted != Sight::Gone {
        return no("Linux drops packets with such addresses, whatever a policy says");
    }
    if is_for_many(packet.daddr) && matches!(predicted, Sight::Refused(_)) {
        return no("nobody answers what is for many");
    }
    Ok(())
}

/// Whether an answer can be sent without a whole conversation before it.
pub(super) fn answer(packet: &Packet) -> Result<(), Unplayable> {
    match packet.field(TCP_FLAGS) {
        None => Ok(()),
        Some(flags) if flags == SYN | ACK => Ok(()),
        Some(_) => Err(Unplayable::because(
            "of the answers of a TCP connection only the first, `syn+ack`, is sent",
        )),
    }
}

/// Whether a flow keeps its addresses, so that the answer that the step names is the one that comes.
pub(super) fn translated(opening: &Decision) -> Result<(), Unplayable> {
    let steered = matches!(
        opening.steered,
        Some(Steered::Dnat { .. } | Steered::Redirect { .. } | Steered::Proxy(_))
    );
    let sourced = matches!(
        opening.sourced,
        Some(Sourced::Masquerade | Sourced::Snat(_))
    );
    if steered || sourced {
        return Err(Unplayable::because(
            "the flow is translated, and its answers have other addresses than those of the step",
        ));
    }
    Ok(())
}

/// Whether a packet fares at this time as it does when tests take place.
pub(super) fn timely(then: &Decision, now: &Decision) -> Result<(), Unplayable> {
    let fate = |d: &Decision| (d.outcome, d.steered, d.sourced, d.by);
    if fate(then) == fate(now) {
        return Ok(());
    }
    Err(Unplayable::because(
        "it depends on the time: in tests it is noon of a Wednesday, here it is not",
    ))
}

/// Whether each address can be behind the interface behind which it has to be.
pub(super) fn routes(routes: &BTreeSet<Route>, home: [IpAddr; 2]) -> Result<(), Unplayable> {
    let mut seen = BTreeMap::new();
    for route in routes {
        if home.contains(&route.dest) {
            let addr = route.dest;
            return Err(Unplayable::because(format!(
                "`{addr}` stands for this machine here"
            )));
        }
        let before = seen.insert((route.table, route.dest), &route.iface);
        if let Some(before) = before.filter(|b| **b != route.iface) {
            let (addr, iface) = (route.dest, &route.iface);
            return Err(Unplayable::because(format!(
                "`{addr}` would have to be behind `{before}` and behind `{iface}`"
            )));
        }
    }
    Ok(())
}
