//! What the language says of packets before any rule does.

use std::net::IpAddr;

use super::packet::{Packet, Place};
use super::view::Towards;
use crate::field::{DPORT, ICMP, ICMP_CODE, ICMP_TYPE, ICMPV6, IP_FRAGMENT, SPORT, TCP, TCP_FLAGS};

const FIN: u64 = 0x01;
const SYN: u64 = 0x02;
const RST: u64 = 0x04;
const PSH: u64 = 0x08;
const ACK: u64 = 0x10;
const URG: u64 = 0x20;
const ECN: u64 = 0xc0;

/// Neighbour discovery, packet-too-big and fragmentation-needed, which are admitted unless the policy
/// says `strict icmp`. Later fragments have no type.
pub(super) fn is_unconditional_icmp(packet: &Packet) -> bool {
    let kind = packet.field(ICMP_TYPE);
    match (packet.saddr, u64::from(packet.proto)) {
        (IpAddr::V6(_), ICMPV6) => matches!(kind, Some(2 | 133..=136)),
        (IpAddr::V4(_), ICMP) => kind == Some(3) && packet.field(ICMP_CODE) == Some(4),
        _ => false,
    }
}

/// Messages that conduct an IPv6 network, which belong to no flow: neighbour discovery,
/// multicast listener discovery and the advertisement of multicast routers.
pub(super) fn is_never_tracked(packet: &Packet) -> bool {
    packet.saddr.is_ipv6()
        && u64::from(packet.proto) == ICMPV6
        && matches!(packet.field(ICMP_TYPE), Some(130..=136 | 143 | 151))
}

/// Whether a packet that belongs to no flow can open one.
///
/// * TCP: a SYN, or an ACK alone, as in the middle of a connection; no SYN+ACK, FIN or RST, which
///   are answers or an end.
/// * ICMP: a question (echo, timestamp, information, address mask, node information); no answer and
///   no error.
/// * Everything else can.
pub fn can_open(packet: &Packet) -> bool {
    let kind = packet.field(ICMP_TYPE);
    match u64::from(packet.proto) {
        TCP => packet.field(TCP_FLAGS).is_none_or(|flags| {
            let bits = flags & !(ECN | PSH);
            [SYN, SYN | URG, ACK, ACK | URG].contains(&bits)
        }),
        ICMP => matches!(kind, None | Some(8 | 13 | 15 | 17)),
        ICMPV6 => matches!(kind, None | Some(128 | 139)),
        _ => true,
    }
}

/// Whether the TCP flags are ones that a connection can carry; packets with others are invalid in a
/// known flow, too.
pub(super) fn has_sound_flags(packet: &Packet) -> bool {
    let sound = |flags: u64| {
        let bits = flags & !(ECN | PSH);
        let known = [SYN, SYN | ACK, RST, RST | ACK, FIN | ACK, ACK];
        // Urgent data comes with anything but a reset or the second step of a handshake.
        known.contains(&bits) || [SYN | URG, FIN | ACK | URG, ACK | URG].contains(&bits)
    };
    u64::from(packet.proto) != TCP || packet.field(TCP_FLAGS).is_none_or(sound)
}

/// Whether `strict tcp` lets the packet open a flow.
pub(super) fn is_strictly_opening(packet: &Packet) -> bool {
    let syn = |flags: u64| flags & (FIN | SYN | RST | ACK) == SYN;
    u64::from(packet.proto) != TCP || packet.field(TCP_FLAGS).is_none_or(syn)
}

/// Whether it is a later fragment: one without the header that its protocol has.
pub fn is_later_fragment(packet: &Packet) -> bool {
    let has_header = |fields: &[_]| fields.iter().any(|f| packet.field(*f).is_some());
    let headless = match u64::from(packet.proto) {
        ICMP | ICMPV6 => !has_header(&[ICMP_TYPE, ICMP_CODE]),
        number if DPORT.def().protocols.contains(&number) => {
            !has_header(&[SPORT, DPORT, TCP_FLAGS])
        }
        _ => false,
    };
    headless && packet.field(IP_FRAGMENT) == Some(1)
}

/// Whether an address means several receivers. That of a subnet's broadcast cannot be told from
/// that of a host.
pub(super) fn is_group(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.is_multicast() || addr.is_broadcast(),
        IpAddr::V6(addr) => addr.is_multicast(),
    }
}

/// Where steer sees a packet go: `to host` means an address of this host, which a group's is not.
pub(super) fn before_routing(packet: &Packet) -> Towards<'_> {
    match &packet.egress {
        Place::Host if is_group(packet.daddr) => Towards::Elsewhere,
        place => Towards::from(place),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::{Field, UDP};

    fn packet(proto: u64, v4: bool, fields: &[(Field, u64)]) -> Packet {
        let addr: IpAddr = if v4 { "192.0.2.1" } else { "2001:db8::1" }
            .parse()
            .unwrap();
        Packet {
            ingress: Place::Host,
            egress: Place::Host,
            detour: Place::Host,
            saddr: addr,
            daddr: addr,
            proto: u8::try_from(proto).unwrap(),
            fields: fields.iter().copied().collect(),
            principals: [].into(),
        }
    }

    /// What Linux says of single packets of no known flow.
    #[test]
    fn a_flow_is_opened_by_what_opens_one_in_the_kernel() {
        let tcp = |flags| can_open(&packet(TCP, true, &[(TCP_FLAGS, flags)]));
        for flags in [
            SYN,
            ACK,
            SYN | URG,
            ACK | URG,
            SYN | ECN,
            PSH | ACK,
            SYN | PSH,
        ] {
            assert!(tcp(flags), "{flags:#x}");
        }
        for flags in [
            0,
            SYN | ACK,
            FIN,
            FIN | ACK,
            RST,
            RST | ACK,
            SYN | FIN,
            URG,
            PSH,
        ] {
            assert!(!tcp(flags), "{flags:#x}");
        }
        let icmp = |kind| can_open(&packet(ICMP, true, &[(ICMP_TYPE, kind)]));
        let opening: Vec<u64> = (0..=255).filter(|kind| icmp(*kind)).collect();
        assert_eq!(opening, [8, 13, 15, 17]);
        let icmpv6 = |kind| can_open(&packet(ICMPV6, false, &[(ICMP_TYPE, kind)]));
        let opening: Vec<u64> = (0..=255).filter(|kind| icmpv6(*kind)).collect();
        assert_eq!(opening, [128, 139]);
        assert!(can_open(&packet(UDP, true, &[])));
    }

    #[test]
    fn unconditional_icmp_is_of_its_family() {
        let is = |proto, v4, kind| {
            is_unconditional_icmp(&packet(proto, v4, &[(ICMP_TYPE, kind), (ICMP_CODE, 4)]))
        };
        assert!(is(ICMP, true, 3) && !is(ICMP, false, 3) && !is(ICMP, true, 4));
        assert!(is(ICMPV6, false, 2) && !is(ICMPV6, true, 2) && !is(ICMPV6, false, 3));
    }

    #[test]
    fn a_later_fragment_lacks_the_header_of_its_protocol() {
        let is = |proto, fields: &[(Field, u64)]| is_later_fragment(&packet(proto, true, fields));
        assert!(is(UDP, &[(IP_FRAGMENT, 1)]) && is(ICMP, &[(IP_FRAGMENT, 1)]));
        assert!(!is(UDP, &[(IP_FRAGMENT, 1), (DPORT, 53)]));
        assert!(!is(UDP, &[]) && !is(50, &[(IP_FRAGMENT, 1)]));
    }
}
