//! Packets as what they are made of, with right checksums.

use std::net::IpAddr;

use polc_compiler::interpret::frame::{Frame, Link, Parsed, parse};

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const SCTP: u8 = 132;
const DCCP: u8 = 33;
const UDP_LITE: u8 = 136;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const ACK: u8 = 16;

/// An end of a packet. ICMP has its identifier at both, what has no ports 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct End {
    pub(super) addr: IpAddr,
    pub(super) port: u16,
}

/// The protocol and both ends, the lower one first: what packets of both directions have in common.
pub(super) type Pair = (u8, End, End);

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shot {
    pub(super) source: End,
    pub(super) dest: End,
    pub(super) proto: u8,
    /// Type and code of ICMP.
    pub(super) kind: [u8; 2],
    /// Those of TCP.
    pub(super) flags: u8,
    /// So many words of options behind the header of IPv4, or one extension header.
    pub(super) options: u8,
    /// UDP of IPv4 without checksum.
    pub(super) unsummed: bool,
    pub(super) payload: usize,
    /// What an error is about, and how many bytes of it behind its headers of IP it has.
    pub(super) quote: Option<(Box<Shot>, usize)>,
}

/// The protocol of ICMP of an address's family.
pub(super) fn icmp_of(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { ICMP } else { ICMPV6 }
}

impl Shot {
    pub(super) fn pair(&self) -> Pair {
        let (one, other) = (self.source, self.dest);
        (self.proto, one.min(other), one.max(other))
    }

    pub(super) fn is_icmp(&self) -> bool {
        [ICMP, ICMPV6].contains(&self.proto)
    }

    /// Whether it says to which ports it goes.
    pub(super) fn has_ports(proto: u8) -> bool {
        [TCP, UDP, SCTP, DCCP, UDP_LITE].contains(&proto)
    }

    /// Whether another port can take the place of one.
    pub(super) fn can_move(&self) -> bool {
        let ported = [TCP, UDP, DCCP, UDP_LITE].contains(&self.proto);
        ported || self.is_icmp() && self.source.port != 0
    }

    /// From one end to another.
    pub(super) fn between(&self, source: End, dest: End) -> Self {
        Self {
            source,
            dest,
            ..self.clone()
        }
    }

    /// The packet, from the header of IP on.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let transport = self.transport();
        match (self.source.addr, self.dest.addr) {
            (IpAddr::V4(source), IpAddr::V4(dest)) => {
                let size = 20 + 4 * usize::from(self.options);
                let mut out = vec![1; size];
                out[..12].copy_from_slice(&[0, 0x20, 0, 0, 0x12, 0x34, 0x40, 0, 64, 0, 0, 0]);
                out[0] = 0x40 | (size / 4) as u8;
                out[2..4].copy_from_slice(&((size + transport.len()) as u16).to_be_bytes());
                out[9] = self.proto;
                out[12..16].copy_from_slice(&source.octets());
                out[16..20].copy_from_slice(&dest.octets());
                let sum = !sum(&out, 0);
                out[10..12].copy_from_slice(&sum.to_be_bytes());
                out.extend(transport);
                out
            }
            (IpAddr::V6(source), IpAddr::V6(dest)) => {
                let extension: &[u8] = if self.options > 0 {
                    &[self.proto, 0, 1, 4, 0, 0, 0, 0]
                } else {
                    &[]
                };
                let mut out = vec![0x60, 0, 0, 0];
                out.extend(((transport.len() + extension.len()) as u16).to_be_bytes());
                out.extend([if self.options > 0 { 60 } else { self.proto }, 64]);
                out.extend(source.octets());
                out.extend(dest.octets());
                out.extend(extension);
                out.extend(transport);
                out
            }
            _ => panic!("ends of two families"),
        }
    }

    /// How many bytes its headers of IP have.
    pub(super) fn header(&self) -> usize {
        self.bytes().len() - self.transport().len()
    }

    fn transport(&self) -> Vec<u8> {
        let ports = [self.source.port, self.dest.port].map(u16::to_be_bytes);
        let payload = (0..self.payload).map(|at| at as u8);
        let mut out = Vec::new();
        let (at, pseudo) = match self.proto {
            TCP => {
                out.extend(ports.as_flattened());
                out.extend([0, 0, 0, 7, 0, 0, 0, 9, 0x50, self.flags, 1, 0, 0, 0, 0, 0]);
                (16, true)
            }
            UDP | UDP_LITE => {
                out.extend(ports.as_flattened());
                out.extend(((8 + self.payload) as u16).to_be_bytes());
                out.extend([0, 0]);
                (6, true)
            }
            DCCP => {
                out.extend(ports.as_flattened());
                out.extend([4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                (6, true)
            }
            SCTP => {
                out.extend(ports.as_flattened());
                out.extend([1, 2, 3, 4, 5, 6, 7, 8, 1, 0, 0, 4]);
                out.extend(payload);
                return out;
            }
            ICMP | ICMPV6 => {
                out.extend(self.kind);
                let id = if self.quote.is_some() {
                    0
                } else {
                    self.source.port
                };
                out.extend([0, 0]);
                out.extend(id.to_be_bytes());
                out.extend([0, 0]);
                (2, self.proto == ICMPV6)
            }
            _ => {
                out.extend([8; 16]);
                out.extend(payload);
                return out;
            }
        };
        match &self.quote {
            Some((quoted, size)) => {
                let bytes = quoted.bytes();
                let header = quoted.header();
                out.extend(&bytes[..bytes.len().min(header + size)]);
            }
            None => out.extend(payload),
        }
        if self.unsummed && self.proto == UDP && self.source.addr.is_ipv4() {
            return out;
        }
        let start = if pseudo {
            self.pseudo_header(out.len())
        } else {
            0
        };
        let mut sum = !sum(&out, start);
        if sum == 0 && [UDP, UDP_LITE].contains(&self.proto) {
            sum = 0xffff;
        }
        out[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        out
    }

    fn pseudo_header(&self, length: usize) -> u64 {
        let octets = |addr| match addr {
            IpAddr::V4(addr) => addr.octets().to_vec(),
            IpAddr::V6(addr) => addr.octets().to_vec(),
        };
        let mut header = octets(self.source.addr);
        header.extend(octets(self.dest.addr));
        u64::from(sum(&header, u64::from(self.proto) + length as u64))
    }
}

/// The sum of numbers of 16 bits, as checksums have it.
fn sum(bytes: &[u8], start: u64) -> u16 {
    let words = bytes.chunks(2).map(|word| {
        let low = word.get(1).copied().unwrap_or(0);
        u64::from(u16::from_be_bytes([word[0], low]))
    });
    let mut sum = start + words.sum::<u64>();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// A frame with the packet, to an interface with a hardware address.
pub(super) fn ethernet(packet: &[u8], hardware: [u8; 6]) -> Vec<u8> {
    let mut out = hardware.to_vec();
    out.extend([0x02, 0, 0, 0, 0, 0x77]);
    out.extend(if packet[0] >> 4 == 4 {
        [0x08, 0x00]
    } else {
        [0x86, 0xdd]
    });
    out.extend(packet);
    out
}

/// What the interpreter reads of a packet.
pub(super) fn read(packet: &[u8]) -> Parsed {
    parse(&Frame::whole(Link::Raw, packet)).unwrap()
}
