//! Packets as bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::field::{
    DPORT, ICMP, ICMP_CODE, ICMP_TYPE, ICMPV6, IP_DSCP, IP_TTL, SPORT, TCP, TCP_FLAGS, TCP_MSS, UDP,
};
use crate::interpret::Packet;

/// The sequence number of every TCP packet, and what those that acknowledge anything do: they
/// answer a packet that takes one number.
const SEQUENCE: u32 = 1;
const ACKNOWLEDGED: u32 = 2;

const ACK: u64 = 0x10;
const WINDOW: u16 = 64_240;

/// The packet from its IP header on, with right lengths and checksums; `None` for protocols whose
/// headers are not known here.
pub(super) fn bytes(packet: &Packet) -> Option<Vec<u8>> {
    let transport = transport(packet)?;
    let length = u16::try_from(transport.len()).ok()?;
    let ttl = number(packet, IP_TTL);
    let dscp: u8 = number(packet, IP_DSCP);
    let mut out = Vec::with_capacity(40 + transport.len());
    match (packet.saddr, packet.daddr) {
        (IpAddr::V4(source), IpAddr::V4(dest)) => {
            out.extend([0x45, dscp << 2]);
            out.extend((length + 20).to_be_bytes());
            out.extend([0, 1, 0, 0, ttl, packet.proto, 0, 0]);
            out.extend(source.octets());
            out.extend(dest.octets());
            let sum = checksum(&[&out]);
            put(&mut out, 10, sum);
        }
        (IpAddr::V6(source), IpAddr::V6(dest)) => {
            out.extend([0x60 | dscp >> 2, (dscp & 3) << 6, 0, 0]);
            out.extend(length.to_be_bytes());
            out.extend([packet.proto, ttl]);
            out.extend(source.octets());
            out.extend(dest.octets());
        }
        _ => return None,
    }
    out.extend(transport);
    Some(out)
}

fn transport(packet: &Packet) -> Option<Vec<u8>> {
    let ports = || {
        let [source, dest]: [u16; 2] = [number(packet, SPORT), number(packet, DPORT)];
        [source.to_be_bytes(), dest.to_be_bytes()].concat()
    };
    let mut out = Vec::new();
    let at = match u64::from(packet.proto) {
        TCP => {
            let flags: u64 = packet.field(TCP_FLAGS).unwrap_or(0);
            let mss = packet.field(TCP_MSS).and_then(|m| u16::try_from(m).ok());
            let acknowledged = if flags & ACK == 0 { 0 } else { ACKNOWLEDGED };
            let words: u8 = if mss.is_some() { 6 } else { 5 };
            out.extend(ports());
            out.extend(SEQUENCE.to_be_bytes());
            out.extend(acknowledged.to_be_bytes());
            out.extend([words << 4, u8::try_from(flags).unwrap_or(0)]);
            out.extend(WINDOW.to_be_bytes());
            out.extend([0; 4]);
            if let Some(mss) = mss {
                out.extend([2, 4]);
                out.extend(mss.to_be_bytes());
            }
            16
        }
        UDP => {
            out.extend(ports());
            out.extend([0, 8, 0, 0]);
            6
        }
        ICMP | ICMPV6 => {
            out.extend([number::<u8>(packet, ICMP_TYPE), number(packet, ICMP_CODE)]);
            out.extend([0; 6]);
            2
        }
        _ if packet.field(SPORT).is_some() => return None,
        _ => return Some(out),
    };
    let sum = match u64::from(packet.proto) {
        ICMP => checksum(&[&out]),
        _ => checksum(&[&pseudo_header(packet, out.len()), &out]),
    };
    // A datagram without a checksum says so by a zero.
    let sum = if sum == 0 && u64::from(packet.proto) == UDP {
        u16::MAX
    } else {
        sum
    };
    put(&mut out, at, sum);
    Some(out)
}

fn pseudo_header(packet: &Packet, length: usize) -> Vec<u8> {
    let of = |addr: IpAddr| match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    };
    // The shorter header of IPv4 has the same sum.
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [
        &of(packet.saddr)[..],
        &of(packet.daddr),
        &length,
        &[0, 0, 0, packet.proto],
    ]
    .concat()
}

/// A field's value, 0 when there is none or it is too large.
fn number<N: TryFrom<u64> + Default>(packet: &Packet, field: crate::field::Field) -> N {
    let value = packet.field(field).unwrap_or(0);
    N::try_from(value).unwrap_or_default()
}

/// The Internet checksum of parts of even length, but for the last.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u64 = words
        .map(|word| match word {
            [high, low] => u64::from(u16::from_be_bytes([*high, *low])),
            [high] => u64::from(*high) << 8,
            _ => 0,
        })
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

fn put(out: &mut [u8], at: usize, sum: u16) {
    if let Some(place) = out.get_mut(at..at + 2) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
}

/// Whether Linux takes packets with this source from outside, whatever a policy says.
pub(super) fn is_believable_source(addr: IpAddr, dest: IpAddr) -> bool {
    match addr {
        // A machine that asks for its address has none.
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => dest == IpAddr::from(Ipv4Addr::BROADCAST),
        IpAddr::V4(addr) => {
            !addr.is_loopback()
                && !addr.is_multicast()
                && !addr.is_broadcast()
                && addr.octets().first() != Some(&0)
        }
        IpAddr::V6(addr) => {
            !addr.is_loopback() && !addr.is_multicast() && addr != Ipv6Addr::UNSPECIFIED
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::interpret::Place;
    use crate::interpret::frame::{Frame, Link, parse};

    fn packet(from: &str, to: &str, proto: u64, fields: &[(crate::field::Field, u64)]) -> Packet {
        Packet {
            ingress: Place::Iface("eth0".into()),
            egress: Place::Host,
            detour: Place::Host,
            saddr: from.parse().unwrap(),
            daddr: to.parse().unwrap(),
            proto: u8::try_from(proto).unwrap(),
            fields: fields.iter().copied().collect(),
            principals: [].into(),
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let tcp = [
            (SPORT, 40_000),
            (DPORT, 22),
            (TCP_FLAGS, 2),
            (TCP_MSS, 1460),
            (IP_TTL, 64),
            (IP_DSCP, 0),
        ];
        let udp = [(SPORT, 1), (DPORT, 53), (IP_TTL, 64), (IP_DSCP, 0)];
        let icmp = [(ICMP_TYPE, 8), (ICMP_CODE, 0), (IP_TTL, 64), (IP_DSCP, 0)];
        let v4 = ("192.0.2.1", "198.51.100.7");
        let v6 = ("2001:db8::1", "2001:db8:1::7");
        for (proto, fields) in [(TCP, &tcp[..]), (UDP, &udp), (ICMP, &icmp), (47, &udp[2..])] {
            for (from, to) in [v4, v6] {
                let proto = if proto == ICMP && from == v6.0 {
                    ICMPV6
                } else {
                    proto
                };
                let packet = packet(from, to, proto, fields);
                let bytes = bytes(&packet).unwrap();
                let parsed = parse(&Frame::whole(Link::Raw, &bytes)).unwrap();
                assert_eq!(
                    (parsed.saddr, parsed.daddr, parsed.proto),
                    (packet.saddr, packet.daddr, packet.proto)
                );
                let read: BTreeMap<_, _> = parsed.fields;
                for (field, value) in &packet.fields {
                    assert_eq!(read.get(field), Some(value), "{proto} {}", field.name());
                }
            }
        }
    }

    #[test]
    fn checksums_are_right() {
        let fields = [(SPORT, 40_000), (DPORT, 22), (TCP_FLAGS, 2), (IP_TTL, 64)];
        let packet = packet("192.0.2.1", "198.51.100.7", TCP, &fields);
        let bytes = bytes(&packet).unwrap();
        // A right checksum makes the sum of all words zero.
        assert_eq!(checksum(&[&bytes[..20]]), 0);
        assert_eq!(checksum(&[&pseudo_header(&packet, 20), &bytes[20..]]), 0);
    }

    #[test]
    fn protocols_whose_headers_are_not_known_have_no_bytes() {
        let fields = [(SPORT, 40_000), (DPORT, 22)];
        assert!(bytes(&packet("192.0.2.1", "198.51.100.7", 132, &fields)).is_none());
    }
}
