//! Frames built by hand and by `etherparse`, cut at every byte, and bytes of no meaning.

use std::collections::BTreeMap;
use std::net::IpAddr;

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::{Frame, FrameError, Inner, Link, Parsed, parse};
use crate::field::{
    DPORT, ETH_DADDR, ETH_SADDR, ETH_TYPE, Field, ICMP_CODE, ICMP_TYPE, IP_DSCP, IP_FRAGMENT,
    IP_LENGTH, IP_TTL, META_LENGTH, META_PKTTYPE, SPORT, TCP_FLAGS, TCP_MSS, VLAN_ID, VLAN_PCP,
    ip_bits,
};

fn read(link: Link, bytes: &[u8]) -> Result<Parsed, FrameError> {
    parse(&Frame::whole(link, bytes))
}

fn field(parsed: &Parsed, field: Field) -> Option<u64> {
    parsed.fields.get(&field).copied()
}

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ethernet() -> etherparse::PacketBuilderStep<etherparse::Ethernet2Header> {
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
}

fn bytes<T>(
    build: etherparse::PacketBuilderStep<T>,
    write: impl FnOnce(etherparse::PacketBuilderStep<T>, &mut Vec<u8>),
) -> Vec<u8> {
    let mut out = Vec::new();
    write(build, &mut out);
    out
}

macro_rules! frame {
    ($build:expr, $payload:expr) => {
        bytes($build, |b, out| b.write(out, $payload).unwrap())
    };
}

/// A TCP SYN with an MSS.
fn syn4() -> Vec<u8> {
    let step = ethernet()
        .ipv4([192, 0, 2, 1], [198, 51, 100, 2], 61)
        .tcp(4000, 443, 7, 1024)
        .syn()
        .options(&[etherparse::TcpOptionElement::MaximumSegmentSize(1460)])
        .unwrap();
    frame!(step, b"")
}

/// An IPv6 packet with a payload of `next`.
fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x6b, 0x80, 0, 0];
    out.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    out.extend([next, 64]);
    for text in ["2001:db8::1", "2001:db8::2"] {
        let IpAddr::V6(addr) = addr(text) else {
            panic!("IPv6")
        };
        out.extend(addr.octets());
    }
    out.extend(payload);
    out
}

const UDP: [u8; 8] = [0x0f, 0xa0, 0, 53, 0, 8, 0, 0];

#[test]
fn a_syn_has_all_of_its_fields() {
    let parsed = read(Link::Ethernet, &syn4()).unwrap();
    assert_eq!(parsed.saddr, addr("192.0.2.1"));
    assert_eq!(parsed.daddr, addr("198.51.100.2"));
    assert_eq!(parsed.proto, 6);
    let expected = [
        (DPORT, 443),
        (ETH_DADDR, 0x0200_0000_0002),
        (ETH_SADDR, 0x0200_0000_0001),
        (ETH_TYPE, 0x0800),
        (IP_DSCP, 0),
        (IP_FRAGMENT, 0),
        (IP_LENGTH, 44),
        (IP_TTL, 61),
        (META_LENGTH, 44),
        (META_PKTTYPE, 0),
        (SPORT, 4000),
        (TCP_FLAGS, 0x02),
        (TCP_MSS, 1460),
    ];
    // Of the IP header there are more, which have tests of their own.
    let bits: Vec<Field> = ip_bits().map(|(field, _)| field).collect();
    let (mut fields, expected) = (parsed.fields, BTreeMap::from(expected));
    fields.retain(|field, _| !bits.contains(field) || expected.contains_key(field));
    assert_eq!(fields, expected);
}

#[test]
fn the_outer_tag_counts_and_the_type_behind_both() {
    let single = ethernet()
        .single_vlan(etherparse::VlanId::try_new(30).unwrap())
        .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
        .udp(1, 2);
    let parsed = read(Link::Ethernet, &frame!(single, b"x")).unwrap();
    assert_eq!(field(&parsed, VLAN_ID), Some(30));
    assert_eq!(field(&parsed, ETH_TYPE), Some(0x0800));

    let mut double = vec![0xff; 6];
    double.extend([
        2, 0, 0, 0, 0, 1, 0x88, 0xa8, 0xa0, 100, 0x81, 0, 0, 7, 0x86, 0xdd,
    ]);
    double.extend(ipv6(17, &UDP));
    let parsed = read(Link::Ethernet, &double).unwrap();
    assert_eq!(field(&parsed, VLAN_ID), Some(100));
    assert_eq!(field(&parsed, VLAN_PCP), Some(5));
    assert_eq!(field(&parsed, ETH_TYPE), Some(0x86dd));
    assert_eq!(field(&parsed, META_PKTTYPE), Some(1), "broadcast");
    assert_eq!(field(&parsed, DPORT), Some(53));
}

#[test]
fn ipv4_options_stand_before_the_ports() {
    let mut packet = vec![0x47, 0xb8, 0, 36, 0, 0, 0x40, 0, 9, 17, 0, 0];
    packet.extend([192, 0, 2, 1, 192, 0, 2, 2]);
    packet.extend([1; 8]);
    packet.extend(UDP);
    let parsed = read(Link::Raw, &packet).unwrap();
    assert_eq!(field(&parsed, DPORT), Some(53));
    assert_eq!(field(&parsed, IP_DSCP), Some(46));
    assert_eq!(
        field(&parsed, IP_FRAGMENT),
        Some(0),
        "`don't fragment` is none"
    );
    packet[3] = 24;
    let wrong = read(Link::Raw, &packet).unwrap_err();
    assert_eq!(wrong, FrameError::Malformed { header: "IPv4" });
}

#[test]
fn only_the_first_fragment_has_ports() {
    for (bits, first) in [(0x2000_u16, true), (0x2001, false), (0x0001, false)] {
        let mut packet = vec![0x45, 0, 0, 28, 0, 0];
        packet.extend(bits.to_be_bytes());
        packet.extend([64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        packet.extend(UDP);
        let parsed = read(Link::Raw, &packet).unwrap();
        assert_eq!(field(&parsed, IP_FRAGMENT), Some(1));
        assert_eq!(field(&parsed, DPORT), first.then_some(53), "{bits:#x}");

        let [high, low] = (bits << 3 | u16::from(bits & 0x2000 != 0)).to_be_bytes();
        let mut payload = vec![17, 0, high, low, 0, 0, 0, 1];
        payload.extend(UDP);
        let parsed = read(Link::Raw, &ipv6(44, &payload)).unwrap();
        assert_eq!(parsed.proto, 17);
        assert_eq!(field(&parsed, IP_FRAGMENT), Some(1));
        assert_eq!(field(&parsed, DPORT), first.then_some(53), "{bits:#x}");
    }
}

#[test]
fn a_chain_of_any_length_is_followed() {
    let mut payload = Vec::new();
    // Hop-by-hop, forty destination headers, routing, authentication.
    let mut kinds = vec![0];
    kinds.extend([60; 40]);
    kinds.extend([43, 51]);
    for next in kinds.iter().skip(1).chain([&17]) {
        let size: usize = 8;
        payload.extend([*next, 0]);
        payload.resize(payload.len() + size - 2, 0);
    }
    payload.extend(UDP);
    let parsed = read(Link::Raw, &ipv6(0, &payload)).unwrap();
    assert_eq!(parsed.proto, 17);
    assert_eq!(field(&parsed, DPORT), Some(53));
    assert_eq!(field(&parsed, IP_DSCP), Some(46));
    assert_eq!(field(&parsed, IP_FRAGMENT), Some(0));
}

#[test]
fn the_chain_ends_where_the_kernel_ends_it() {
    for proto in [50, 59, 135, 139, 140, 253] {
        let parsed = read(Link::Raw, &ipv6(proto, &[17, 0, 0, 0, 0, 0, 0, 0])).unwrap();
        assert_eq!(parsed.proto, proto);
        assert_eq!(field(&parsed, DPORT), None);
    }
}

#[test]
fn every_protocol_with_ports_has_them() {
    for (proto, size) in [(6, 20), (17, 8), (33, 12), (132, 12), (136, 8)] {
        let mut header = vec![0; size];
        header[..4].copy_from_slice(&[0x0f, 0xa0, 0x01, 0xbb]);
        if proto == 6 {
            header[12] = 0x50;
        }
        for length in 0..=size {
            let parsed = read(Link::Raw, &ipv6(proto, &header[..length])).unwrap();
            let whole = length == size;
            assert_eq!(field(&parsed, SPORT), whole.then_some(4000), "{proto}");
            assert_eq!(field(&parsed, DPORT), whole.then_some(443), "{proto}");
        }
    }
}

#[test]
fn icmp_belongs_to_one_family() {
    let echo = [8, 3, 0, 0, 0, 1, 0, 2];
    let parsed = read(Link::Raw, &ipv6(58, &echo)).unwrap();
    assert_eq!(field(&parsed, ICMP_TYPE), Some(8));
    assert_eq!(field(&parsed, ICMP_CODE), Some(3));
    let parsed = read(Link::Raw, &ipv6(1, &echo)).unwrap();
    assert_eq!(field(&parsed, ICMP_TYPE), None);
}

#[test]
fn an_error_quotes_the_packet_it_is_about() {
    let mut error = vec![1, 4, 0, 0, 0, 0, 0, 0];
    let mut quoted = ipv6(17, &UDP);
    // The quotation is cut, and its header knows of more.
    quoted[4] = 4;
    error.extend(&quoted);
    let parsed = read(Link::Raw, &ipv6(58, &error)).unwrap();
    let inner = Inner {
        saddr: addr("2001:db8::1"),
        daddr: addr("2001:db8::2"),
        proto: 17,
        fields: [(SPORT, 4000), (DPORT, 53)].into(),
    };
    assert_eq!(parsed.inner, Some(inner));
    error.truncate(error.len() - 5);
    let cut = read(Link::Raw, &ipv6(58, &error)).unwrap();
    assert_eq!(cut.inner, None, "ports are missing");
    error[0] = 128;
    let query = read(Link::Raw, &ipv6(58, &error)).unwrap();
    assert_eq!(query.inner, None, "a query quotes nothing");
}

#[test]
fn other_link_headers() {
    let packet = ipv6(17, &UDP);
    let mut cooked = vec![0, 4, 0, 1, 0, 6, 2, 0, 0, 0, 0, 9, 0, 0, 0x86, 0xdd];
    cooked.extend(&packet);
    let parsed = read(Link::Cooked, &cooked).unwrap();
    assert!(parsed.sent);
    assert_eq!(field(&parsed, ETH_SADDR), Some(0x0200_0000_0009));
    assert_eq!(field(&parsed, META_PKTTYPE), None);
    assert_eq!(field(&parsed, DPORT), Some(53));

    let mut cooked = vec![0x86, 0xdd, 0, 0, 0, 0, 0, 2, 0, 1, 2, 6];
    cooked.extend([2, 0, 0, 0, 0, 9, 0, 0]);
    cooked.extend(&packet);
    let parsed = read(Link::Cooked2, &cooked).unwrap();
    assert!(!parsed.sent);
    assert_eq!(field(&parsed, META_PKTTYPE), Some(2));

    let mut loopback = vec![0, 0, 0, 30];
    loopback.extend(&packet);
    assert_eq!(read(Link::Loopback, &loopback).unwrap().proto, 17);
}

#[test]
fn what_is_not_ip_is_said() {
    let mut arp = vec![2; 12];
    arp.extend([0x08, 0x06, 0, 1]);
    let error = read(Link::Ethernet, &arp).unwrap_err();
    assert_eq!(error, FrameError::NotIp { ethertype: 0x0806 });
    assert_eq!(error.to_string(), "not IP: type 0x0806");
}

#[test]
fn padding_is_not_part_of_the_packet() {
    let mut frame = frame!(
        ethernet()
            .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
            .udp(1, 2),
        b""
    );
    // A UDP header cut to four octets by the IP header's length, with padding behind it.
    frame[17] = 24;
    frame.resize(60, 0);
    let parsed = read(Link::Ethernet, &frame).unwrap();
    assert_eq!(field(&parsed, DPORT), None);
    assert_eq!(field(&parsed, META_LENGTH), Some(46));
}

/// A frame that was cut when it was captured still has the fields that are there; one that was
/// short on the wire has none.
#[test]
fn a_short_capture_is_not_a_short_packet() {
    let frame = frame!(
        ethernet()
            .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
            .udp(1, 2),
        &[0; 100]
    );
    let head = Frame {
        link: Link::Ethernet,
        bytes: &frame[..42],
        length: frame.len(),
    };
    let captured = parse(&head).unwrap();
    assert_eq!(field(&captured, DPORT), Some(2));
    assert_eq!(field(&captured, META_LENGTH), Some(128));
    let short = read(Link::Ethernet, &frame[..42]).unwrap();
    assert_eq!(field(&short, DPORT), None);
}

/// Cut at every byte: an error while a needed header is incomplete, no transport field while the
/// packet is, and all of them at the end.
#[test]
fn every_truncation_is_told() {
    let mut chain = vec![60, 0, 0, 0, 0, 0, 0, 0];
    chain.extend([44, 0, 0, 0, 0, 0, 0, 0]);
    chain.extend([17, 0, 0, 0, 0, 0, 0, 1]);
    chain.extend(UDP);
    let mut tagged = vec![2; 12];
    tagged.extend([0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 0x86, 0xdd]);
    tagged.extend(ipv6(0, &chain));
    let stages = |frame: &[u8]| -> Vec<(usize, String)> {
        let mut seen: Vec<(usize, String)> = Vec::new();
        for length in 0..=frame.len() {
            let told = match read(Link::Ethernet, &frame[..length]) {
                Err(error) => error.to_string(),
                Ok(parsed) if field(&parsed, DPORT).is_none() => "no ports".to_owned(),
                Ok(_) => "all".to_owned(),
            };
            if seen.last().is_none_or(|(_, last)| *last != told) {
                seen.push((length, told));
            }
        }
        seen
    };
    let expect = |list: &[(usize, &str)]| -> Vec<(usize, String)> {
        list.iter().map(|(n, t)| (*n, (*t).to_owned())).collect()
    };
    let expected = expect(&[
        (0, "it ends in its Ethernet header"),
        (14, "it ends in its VLAN header"),
        (22, "it ends in its IPv6 header"),
        (62, "it ends in its hop-by-hop options header"),
        (70, "it ends in its destination options header"),
        (78, "it ends in its fragment header"),
        (86, "no ports"),
        (94, "all"),
    ]);
    assert_eq!(stages(&tagged), expected);
    let expected = expect(&[
        (0, "it ends in its Ethernet header"),
        (14, "it ends in its IPv4 header"),
        (34, "no ports"),
        (58, "all"),
    ]);
    assert_eq!(stages(&syn4()), expected);
}

/// Source, destination, protocol and ports.
type Opinion = (IpAddr, IpAddr, u8, Option<(u64, u64)>);

/// What `etherparse` says of a packet of a whole frame, as far as both say it.
fn second_opinion(frame: &[u8]) -> Option<Opinion> {
    let sliced = SlicedPacket::from_ethernet(frame).ok()?;
    let (saddr, daddr, proto) = match sliced.net? {
        NetSlice::Ipv4(ip) => (
            ip.header().source_addr().into(),
            ip.header().destination_addr().into(),
            ip.header().protocol().0,
        ),
        NetSlice::Ipv6(ip) => (
            ip.header().source_addr().into(),
            ip.header().destination_addr().into(),
            ip.payload().ip_number.0,
        ),
        NetSlice::Arp(_) => return None,
    };
    let ports = match sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            Some((tcp.source_port().into(), tcp.destination_port().into()))
        }
        Some(TransportSlice::Udp(udp)) => {
            Some((udp.source_port().into(), udp.destination_port().into()))
        }
        _ => None,
    };
    Some((saddr, daddr, proto, ports))
}

fn link() -> impl Strategy<Value = Link> {
    prop_oneof![
        Just(Link::Ethernet),
        Just(Link::Raw),
        Just(Link::Cooked),
        Just(Link::Cooked2),
        Just(Link::Loopback),
    ]
}

/// Frames that are whole, then changed in some places and cut.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let chain = proptest::collection::vec(
        prop_oneof![Just(0_u8), Just(43), Just(44), Just(51), Just(60)],
        0..6,
    );
    let changes = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (chain, 0..3_usize, changes, any::<prop::sample::Index>()).prop_map(
        |(kinds, tags, changes, cut)| {
            let mut payload = Vec::new();
            for next in kinds.iter().skip(1).chain([&17]) {
                payload.extend([*next, 0, 0, 0, 0, 0, 0, 0]);
            }
            if kinds.is_empty() {
                payload.clear();
            }
            payload.extend(UDP);
            let mut frame = vec![2; 12];
            (0..tags).for_each(|_| frame.extend([0x81, 0, 0, 9]));
            frame.extend([0x86, 0xdd]);
            frame.extend(ipv6(kinds.first().copied().unwrap_or(17), &payload));
            for (at, byte) in changes {
                *at.get_mut(&mut frame) = byte;
            }
            let length = cut.index(frame.len() * 2).min(frame.len());
            frame.truncate(length);
            frame
        },
    )
}

fn well_formed(parsed: &Parsed) {
    for (field, value) in &parsed.fields {
        assert!(*value <= field.largest(), "{field:?} = {value}");
    }
    assert_eq!(parsed.saddr.is_ipv4(), parsed.daddr.is_ipv4());
    let has = |f| parsed.fields.contains_key(&f);
    assert_eq!(has(SPORT), has(DPORT));
    assert_eq!(has(ICMP_TYPE), has(ICMP_CODE));
    assert!(!has(TCP_MSS) || has(TCP_FLAGS));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn any_bytes_are_read_without_a_panic(
        link in link(),
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        more in 0..2000_usize,
    ) {
        let length = bytes.len() + more;
        if let Ok(parsed) = parse(&Frame { link, bytes: &bytes, length }) {
            well_formed(&parsed);
        }
    }

    #[test]
    fn nearly_right_frames_are_read_as_others_read_them(frame in nearly()) {
        let ours = read(Link::Ethernet, &frame);
        if let Ok(parsed) = &ours {
            well_formed(parsed);
        }
        // The other one stops at more: at three tags, at checks of lengths in UDP.
        let (Some((saddr, daddr, proto, ports)), Ok(parsed)) = (second_opinion(&frame), &ours)
        else {
            return Ok(());
        };
        prop_assert_eq!(parsed.saddr, saddr);
        prop_assert_eq!(parsed.daddr, daddr);
        if let (Some(s), Some(d)) = (field(parsed, SPORT), field(parsed, DPORT))
            && let Some((source, dest)) = ports
        {
            prop_assert_eq!((s, d), (source, dest));
            prop_assert_eq!(parsed.proto, proto);
        }
    }

    #[test]
    fn whole_frames_agree_with_the_second_opinion(
        source: u16, dest: u16, tcp: bool, v6: bool, payload in proptest::collection::vec(any::<u8>(), 0..40)
    ) {
        let frame = match (v6, tcp) {
            (false, false) => frame!(ethernet().ipv4([192, 0, 2, 1], [192, 0, 2, 2], 9).udp(source, dest), &payload),
            (false, true) => frame!(ethernet().ipv4([192, 0, 2, 1], [192, 0, 2, 2], 9).tcp(source, dest, 0, 0), &payload),
            (true, false) => frame!(ethernet().ipv6([1; 16], [2; 16], 9).udp(source, dest), &payload),
            (true, true) => frame!(ethernet().ipv6([1; 16], [2; 16], 9).tcp(source, dest, 0, 0), &payload),
        };
        let parsed = read(Link::Ethernet, &frame).unwrap();
        let ports = field(&parsed, SPORT).zip(field(&parsed, DPORT));
        let ours = (parsed.saddr, parsed.daddr, parsed.proto, ports);
        prop_assert_eq!(Some(ours), second_opinion(&frame));
    }
}
