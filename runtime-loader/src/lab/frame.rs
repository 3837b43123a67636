//! Ethernet frames, byte by byte.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{
    EtherType, Ethernet2Header, IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type,
    IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, SingleVlanHeader,
    TcpHeader, UdpHeader, VlanId,
};

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

/// The flags of a TCP segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a bit of the TCP header, any combination is a test case"
)]
pub struct TcpFlags {
    /// FIN
    pub fin: bool,
    /// SYN
    pub syn: bool,
    /// RST
    pub rst: bool,
    /// PSH
    pub psh: bool,
    /// ACK
    pub ack: bool,
    /// URG
    pub urg: bool,
}

impl TcpFlags {
    /// SYN alone: the first packet of a connection.
    pub const SYN: Self = Self {
        syn: true,
        fin: false,
        rst: false,
        psh: false,
        ack: false,
        urg: false,
    };
    /// ACK alone.
    pub const ACK: Self = Self {
        ack: true,
        syn: false,
        ..Self::SYN
    };
}

/// What an IP packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A UDP datagram.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// A TCP segment with sequence number 1.
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// Its flags.
        flags: TcpFlags,
    },
    /// An ICMP or `ICMPv6` echo request, by the packet's family.
    EchoRequest {
        /// Identifier.
        id: u16,
    },
    /// An ICMP or `ICMPv6` message, by the packet's family, with four zero bytes after the
    /// checksum.
    Icmp {
        /// Its type.
        kind: u8,
        /// Its code.
        code: u8,
    },
    /// Another protocol, by number; the payload follows the IP header.
    Other(u8),
}

/// Builds Ethernet frames with right lengths and checksums.
///
/// Source and destination must be of one family. For malformed frames, change the bytes that
/// [`FrameBuilder::build`] returns.
#[derive(Clone, Debug)]
pub struct FrameBuilder {
    source_mac: Mac,
    destination_mac: Mac,
    vlans: Vec<u16>,
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    service: u8,
    identification: u16,
    transport: Transport,
    payload: Vec<u8>,
}

impl FrameBuilder {
    /// A frame between these hosts with TTL 64 and no payload.
    pub fn new(
        (source_mac, source): (Mac, IpAddr),
        (destination_mac, destination): (Mac, IpAddr),
        transport: Transport,
    ) -> Self {
        Self {
            source_mac,
            destination_mac,
            vlans: Vec::new(),
            source,
            destination,
            ttl: 64,
            service: 0,
            identification: 1,
            transport,
            payload: Vec::new(),
        }
    }

    /// Adds an 802.1Q tag inside those already there. Identifiers above 4095 are cut to 12 bits.
    #[must_use]
    pub fn vlan(mut self, id: u16) -> Self {
        self.vlans.push(id & 0x0fff);
        self
    }

    /// Sets the time to live (hop limit).
    #[must_use]
    pub fn ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }

    /// Sets the type of service, or traffic class: six bits of DSCP, and two of ECN.
    #[must_use]
    pub fn service(self, service: u8) -> Self {
        Self { service, ..self }
    }

    /// Sets the identification, which ties fragments together.
    #[must_use]
    pub fn identification(self, identification: u16) -> Self {
        Self {
            identification,
            ..self
        }
    }

    /// Sets what follows the transport header.
    #[must_use]
    pub fn payload(self, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            payload: payload.into(),
            ..self
        }
    }

    /// The frame.
    pub fn build(&self) -> Vec<u8> {
        self.frame(&self.segment(), None)
    }

    /// The same packet in fragments of `size` bytes of IP payload, rounded up to a multiple of
    /// eight; the first holds the transport header if `size` has room for it.
    pub fn fragments(&self, size: usize) -> Vec<Vec<u8>> {
        let segment = self.segment();
        let size = size.max(1).next_multiple_of(8);
        let last = segment.len().saturating_sub(1) / size;
        segment
            .chunks(size)
            .enumerate()
            .map(|(number, part)| {
                let units = u16::try_from(number * size / 8).unwrap_or(u16::MAX);
                self.frame(part, Some((units, number != last)))
            })
            .collect()
    }

    /// The frame around `part`; `fragment` is its offset in units of eight bytes and whether
    /// more follow.
    fn frame(&self, part: &[u8], fragment: Option<(u16, bool)>) -> Vec<u8> {
        let mut bytes = self.link_header();
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                bytes.extend(self.v4_header(source, destination, part.len(), fragment));
            }
            (source, destination) => {
                let (source, destination) = (mapped(source), mapped(destination));
                bytes.extend(self.v6_header(source, destination, part.len(), fragment));
            }
        }
        bytes.extend_from_slice(part);
        bytes
    }

    fn link_header(&self) -> Vec<u8> {
        let ip = if self.is_v4() {
            EtherType::IPV4
        } else {
            EtherType::IPV6
        };
        let tagged = EtherType::VLAN_TAGGED_FRAME;
        let outer = if self.vlans.is_empty() { ip } else { tagged };
        let ethernet = Ethernet2Header {
            source: self.source_mac.0,
            destination: self.destination_mac.0,
            ether_type: outer,
        };
        let mut bytes = ethernet.to_bytes().to_vec();
        for (number, id) in self.vlans.iter().enumerate() {
            let innermost = number + 1 == self.vlans.len();
            let tag = SingleVlanHeader {
                vlan_id: VlanId::try_new(*id).unwrap_or_default(),
                ether_type: if innermost { ip } else { tagged },
                ..SingleVlanHeader::default()
            };
            bytes.extend(tag.to_bytes());
        }
        bytes
    }

    fn v4_header(
        &self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        length: usize,
        fragment: Option<(u16, bool)>,
    ) -> Vec<u8> {
        let mut header = Ipv4Header {
            time_to_live: self.ttl,
            protocol: self.protocol(),
            source: source.octets(),
            destination: destination.octets(),
            identification: self.identification,
            dont_fragment: false,
            total_len: u16::try_from(length + Ipv4Header::MIN_LEN).unwrap_or(u16::MAX),
            ..Ipv4Header::default()
        };
        header.dscp = (self.service >> 2).try_into().unwrap_or_default();
        header.ecn = (self.service & 3).try_into().unwrap_or_default();
        if let Some((offset, more)) = fragment {
            header.fragment_offset = fragment_offset(offset);
            header.more_fragments = more;
        }
        header.header_checksum = header.calc_header_checksum();
        header.to_bytes().to_vec()
    }

    fn v6_header(
        &self,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        length: usize,
        fragment: Option<(u16, bool)>,
    ) -> Vec<u8> {
        let extension = fragment.map(|(offset, more)| Ipv6FragmentHeader {
            next_header: self.protocol(),
            fragment_offset: fragment_offset(offset),
            more_fragments: more,
            identification: self.identification.into(),
        });
        let extra = extension.as_ref().map_or(0, |_| Ipv6FragmentHeader::LEN);
        let header = Ipv6Header {
            traffic_class: self.service,
            payload_length: u16::try_from(length + extra).unwrap_or(u16::MAX),
            next_header: if extension.is_some() {
                IpNumber::IPV6_FRAGMENTATION_HEADER
            } else {
                self.protocol()
            },
            hop_limit: self.ttl,
            source: source.octets(),
            destination: destination.octets(),
            ..Ipv6Header::default()
        };
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend(extension.iter().flat_map(Ipv6FragmentHeader::to_bytes));
        bytes
    }

    fn is_v4(&self) -> bool {
        self.source.is_ipv4() && self.destination.is_ipv4()
    }

    fn protocol(&self) -> IpNumber {
        match self.transport {
            Transport::Udp { .. } => IpNumber::UDP,
            Transport::Tcp { .. } => IpNumber::TCP,
            Transport::EchoRequest { .. } | Transport::Icmp { .. } if self.is_v4() => {
                IpNumber::ICMP
            }
            Transport::EchoRequest { .. } | Transport::Icmp { .. } => IpNumber::IPV6_ICMP,
            Transport::Other(number) => IpNumber(number),
        }
    }

    /// The transport header with its checksum, and the payload.
    fn segment(&self) -> Vec<u8> {
        let mut bytes = match &self.transport {
            Transport::Udp {
                source,
                destination,
            } => self.udp(*source, *destination),
            Transport::Tcp {
                source,
                destination,
                flags,
            } => self.tcp(*source, *destination, *flags),
            Transport::EchoRequest { id } => self.echo_request(*id),
            Transport::Icmp { kind, code } => self.icmp(*kind, *code),
            Transport::Other(_) => Vec::new(),
        };
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    fn udp(&self, source: u16, destination: u16) -> Vec<u8> {
        let mut header = UdpHeader {
            source_port: source,
            destination_port: destination,
            length: u16::try_from(UdpHeader::LEN + self.payload.len()).unwrap_or(u16::MAX),
            checksum: 0,
        };
        let sum = match (self.source, self.destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &self.payload)
            }
            (from, to) => header.calc_checksum_ipv6_raw(
                mapped(from).octets(),
                mapped(to).octets(),
                &self.payload,
            ),
        };
        header.checksum = sum.unwrap_or_default();
        header.to_bytes().to_vec()
    }

    fn tcp(&self, source: u16, destination: u16, flags: TcpFlags) -> Vec<u8> {
        let mut header = TcpHeader::new(source, destination, 1, 64_240);
        header.fin = flags.fin;
        header.syn = flags.syn;
        header.rst = flags.rst;
        header.psh = flags.psh;
        header.ack = flags.ack;
        header.urg = flags.urg;
        let sum = match (self.source, self.destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                header.calc_checksum_ipv4_raw(from.octets(), to.octets(), &self.payload)
            }
            (from, to) => header.calc_checksum_ipv6_raw(
                mapped(from).octets(),
                mapped(to).octets(),
                &self.payload,
            ),
        };
        header.checksum = sum.unwrap_or_default();
        header.to_bytes().to_vec()
    }

    fn echo_request(&self, id: u16) -> Vec<u8> {
        let echo = IcmpEchoHeader { id, seq: 1 };
        self.icmp_header(Icmpv4Type::EchoRequest(echo), Icmpv6Type::EchoRequest(echo))
    }

    fn icmp(&self, kind: u8, code: u8) -> Vec<u8> {
        let v4 = Icmpv4Type::Unknown {
            type_u8: kind,
            code_u8: code,
            bytes5to8: [0; 4],
        };
        let v6 = Icmpv6Type::Unknown {
            type_u8: kind,
            code_u8: code,
            bytes5to8: [0; 4],
        };
        self.icmp_header(v4, v6)
    }

    fn icmp_header(&self, v4: Icmpv4Type, v6: Icmpv6Type) -> Vec<u8> {
        if self.is_v4() {
            let header = Icmpv4Header::with_checksum(v4, &self.payload);
            return header.to_bytes().to_vec();
        }
        let (from, to) = (mapped(self.source), mapped(self.destination));
        Icmpv6Header::with_checksum(v6, from.octets(), to.octets(), &self.payload)
            .map(|header| header.to_bytes().to_vec())
            .unwrap_or_default()
    }
}

fn fragment_offset(units: u16) -> IpFragOffset {
    IpFragOffset::try_new(units).unwrap_or_default()
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    fn hosts(v6: bool) -> ((Mac, IpAddr), (Mac, IpAddr)) {
        let (from, to) = if v6 {
            ("fd00:1::2", "fd00:2::2")
        } else {
            ("10.0.1.2", "10.0.2.2")
        };
        (
            (Mac([2, 0, 0, 0, 1, 2]), from.parse().unwrap()),
            (Mac([2, 0, 0, 0, 1, 1]), to.parse().unwrap()),
        )
    }

    fn udp(v6: bool) -> FrameBuilder {
        let (from, to) = hosts(v6);
        let transport = Transport::Udp {
            source: 4711,
            destination: 53,
        };
        FrameBuilder::new(from, to, transport).payload("hello world 123")
    }

    #[test]
    fn a_udp_frame_reads_back() {
        for v6 in [false, true] {
            let frame = udp(v6).vlan(7).build();
            let packet = SlicedPacket::from_ethernet(&frame).unwrap();
            assert_eq!(packet.vlan_ids()[0].value(), 7);
            let Some(TransportSlice::Udp(slice)) = packet.transport else {
                panic!("no UDP in {frame:?}");
            };
            assert_eq!(slice.destination_port(), 53);
            assert_eq!(slice.payload(), b"hello world 123");
            assert_ne!(slice.checksum(), 0);
        }
    }

    #[test]
    fn the_type_of_service_is_written_as_it_is_given() {
        let v4 = udp(false).service(0xb9).build();
        assert_eq!(v4[15], 0xb9);
        let v6 = udp(true).service(0xb9).build();
        assert_eq!(v6[14..16], [0x6b, 0x90]);
    }

    #[test]
    fn a_tcp_frame_has_its_flags() {
        let (from, to) = hosts(false);
        let transport = Transport::Tcp {
            source: 1,
            destination: 2,
            flags: TcpFlags::SYN,
        };
        let frame = FrameBuilder::new(from, to, transport).build();
        let packet = SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(TransportSlice::Tcp(slice)) = packet.transport else {
            panic!("no TCP");
        };
        assert!(slice.syn() && !slice.ack() && !slice.fin());
    }

    #[test]
    fn fragments_cover_the_packet() {
        for v6 in [false, true] {
            let parts = udp(v6).fragments(8);
            // 8 bytes of UDP header and 15 of payload.
            assert_eq!(parts.len(), 3);
            for part in &parts {
                let packet = SlicedPacket::from_ethernet(part).unwrap();
                let fragmented = match packet.net {
                    Some(NetSlice::Ipv4(ip)) => ip.header().is_fragmenting_payload(),
                    Some(NetSlice::Ipv6(ip)) => ip.payload().fragmented,
                    _ => false,
                };
                assert!(fragmented);
            }
        }
    }
}
