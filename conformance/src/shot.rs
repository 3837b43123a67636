//! Packets as what they are made of, with right checksums, and a number by which they are known again.

use std::net::IpAddr;

use polc_compiler::field::{DPORT, ICMP as ICMP4, ICMPV6 as ICMP6};

use crate::pieces::Cut;

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const GRE: u8 = 47;
pub(crate) const ESP: u8 = 50;
pub(crate) const ICMPV6: u8 = 58;
pub(crate) const SCTP: u8 = 132;

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// What TCP packets acknowledge: nothing that a packet's number could be mistaken for.
pub(crate) const ACKNOWLEDGED: u32 = 0x4000_0001;

/// The chunk of SCTP that either end may send first.
const HEARTBEAT: u8 = 4;

/// The extension header of destination options.
pub(crate) const OPTIONS: u8 = 60;

/// The first bit of the number of a packet that another one quotes: the quoting one's number follows.
pub(crate) const QUOTED: u16 = 0x8000;

/// An end of a packet. ICMP has its identifier at both, what has no ports 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct End {
    pub(crate) addr: IpAddr,
    pub(crate) port: u16,
}

/// The protocol and both ends, the lower one first: what packets of both directions have in common.
pub(crate) type Pair = (u8, End, End);

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shot {
    /// By which it is known again: 1 to 32767, in one salvo.
    pub(crate) number: u16,
    pub(crate) source: End,
    pub(crate) dest: End,
    pub(crate) proto: u8,
    /// Type and code of ICMP.
    pub(crate) kind: [u8; 2],
    /// Those of TCP.
    pub(crate) flags: u8,
    /// The largest segment that a TCP packet asks for.
    pub(crate) mss: Option<u16>,
    pub(crate) ttl: u8,
    /// DSCP and ECN.
    pub(crate) service: u8,
    /// So many words of options behind the header of IPv4, or one extension header.
    pub(crate) options: u8,
    /// UDP of IPv4 without checksum.
    pub(crate) unsummed: bool,
    /// Bytes behind the header of its protocol.
    pub(crate) payload: usize,
    /// What an error is about, and how many bytes of it behind its headers of IP it has.
    pub(crate) quote: Option<(Box<Shot>, usize)>,
    /// How it comes in pieces, if it does.
    pub(crate) cut: Option<Cut>,
}

/// The protocol of ICMP of an address's family.
pub(crate) fn icmp_of(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { ICMP } else { ICMPV6 }
}

/// Whether packets of a protocol have ports.
pub(crate) fn has_ports(proto: u8) -> bool {
    DPORT.def().protocols.contains(&u64::from(proto))
}

impl Shot {
    pub(crate) fn pair(&self) -> Pair {
        let (one, other) = (self.source, self.dest);
        (self.proto, one.min(other), one.max(other))
    }

    pub(crate) fn is_icmp(&self) -> bool {
        [ICMP4, ICMP6].contains(&u64::from(self.proto))
    }

    pub(crate) fn is_v6(&self) -> bool {
        self.source.addr.is_ipv6()
    }

    /// From one end to another.
    pub(crate) fn between(&self, source: End, dest: End) -> Self {
        Self {
            source,
            dest,
            ..self.clone()
        }
    }

    /// The packet, from the header of IP on. It is whole.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let transport = self.transport();
        match (self.source.addr, self.dest.addr) {
            (IpAddr::V4(source), IpAddr::V4(dest)) => {
                let mut out = vec![0x45 + self.options, self.service];
                let size = 20 + 4 * usize::from(self.options);
                out.extend(length(size + transport.len()));
                out.extend(self.number.to_be_bytes());
                // It may not be taken apart, unless it is.
                let alone = if self.cut.is_none() { 0x40 } else { 0 };
                out.extend([alone, 0, self.ttl, self.proto, 0, 0]);
                out.extend(source.octets());
                out.extend(dest.octets());
                // Options that do nothing.
                out.resize(size, 1);
                let sum = !sum(&out, 0);
                put(&mut out, 10, sum);
                out.extend(transport);
                out
            }
            (source, dest) => {
                let extension: &[u8] = if self.options > 0 {
                    &[self.proto, 0, 1, 4, 0, 0, 0, 0]
                } else {
                    &[]
                };
                let next = if self.options > 0 {
                    OPTIONS
                } else {
                    self.proto
                };
                let mut out = vec![0x60 | self.service >> 4, self.service << 4];
                out.extend(self.number.to_be_bytes());
                out.extend(length(transport.len() + extension.len()));
                out.extend([next, self.ttl]);
                out.extend(octets(source));
                out.extend(octets(dest));
                out.extend(extension);
                out.extend(transport);
                out
            }
        }
    }

    /// How many bytes its headers of IP have.
    pub(crate) fn header(&self) -> usize {
        match (self.is_v6(), self.options) {
            (false, words) => 20 + 4 * usize::from(words),
            (true, 0) => 40,
            (true, _) => 48,
        }
    }

    /// What is behind its headers of IP.
    pub(crate) fn transport(&self) -> Vec<u8> {
        let mut out = self.head();
        if let Some((quoted, size)) = &self.quote {
            let bytes = quoted.bytes();
            let kept = bytes.len().min(quoted.header() + size);
            out.extend(bytes.iter().take(kept));
        } else {
            out.extend(self.number.to_be_bytes());
            // No later byte is part of a number.
            out.extend((2..self.payload).map(|at| u8::try_from(at % 251).unwrap_or(0)));
        }
        let at = match self.proto {
            TCP => 16,
            UDP if self.unsummed && !self.is_v6() => return out,
            UDP => 6,
            ICMP | ICMPV6 => 2,
            SCTP => {
                let sum = crc32c(&out).to_le_bytes();
                let place = out.iter_mut().skip(8);
                place.zip(sum).for_each(|(byte, new)| *byte = new);
                return out;
            }
            GRE | ESP => return out,
            // Netfilter answers nothing in whose payload this sum is wrong, though the protocol has none
            // (`nf_reject_verify_csum`).
            _ => 4,
        };
        let start = if [TCP, UDP, ICMPV6].contains(&self.proto) {
            self.pseudo_header(out.len())
        } else {
            0
        };
        put(&mut out, at, 0);
        let sum = match !sum(&out, start) {
            0 if self.proto == UDP => u16::MAX,
            sum => sum,
        };
        put(&mut out, at, sum);
        out
    }

    /// The header of its protocol, without checksum.
    pub(crate) fn head(&self) -> Vec<u8> {
        let [from, to] = [self.source.port, self.dest.port].map(u16::to_be_bytes);
        let ports = [from[0], from[1], to[0], to[1]];
        let mut out = Vec::with_capacity(64);
        match self.proto {
            TCP => {
                out.extend(ports);
                out.extend(u32::from(self.number).to_be_bytes());
                let ack = if self.flags & ACK == 0 {
                    0
                } else {
                    ACKNOWLEDGED
                };
                out.extend(ack.to_be_bytes());
                let words = if self.mss.is_some() { 0x60 } else { 0x50 };
                out.extend([words, self.flags, 0x10, 0, 0, 0, 0, 0]);
                if let Some(mss) = self.mss {
                    out.extend([2, 4]);
                    out.extend(mss.to_be_bytes());
                }
            }
            UDP => {
                out.extend(ports);
                out.extend(length(8 + self.payload));
                out.extend([0, 0]);
            }
            SCTP => {
                out.extend(ports);
                out.extend([1, 2, 3, 4, 0, 0, 0, 0, HEARTBEAT, 0]);
                out.extend(length(4 + self.payload));
            }
            ICMP | ICMPV6 => {
                let id = if self.quote.is_some() {
                    0
                } else {
                    self.source.port
                };
                out.extend(self.kind);
                out.extend([0, 0]);
                out.extend(id.to_be_bytes());
                out.extend([0, 0]);
            }
            // A header of GRE without version and options.
            GRE => out.extend([0, 0, 0x08, 0]),
            _ => {}
        }
        out
    }

    fn pseudo_header(&self, length: usize) -> u64 {
        let mut header = octets(self.source.addr);
        header.extend(octets(self.dest.addr));
        let length = u64::try_from(length).unwrap_or(0);
        u64::from(sum(&header, u64::from(self.proto) + length))
    }
}

/// The bytes of an address.
pub(crate) fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

pub(crate) fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}

pub(crate) fn put(out: &mut [u8], at: usize, value: u16) {
    if let Some(place) = out.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// The sum of numbers of 16 bits, as checksums have it (RFC 1071).
pub(crate) fn sum(bytes: &[u8], start: u64) -> u16 {
    let words = bytes.chunks(2).map(|word| match word {
        [high, low] => u64::from(u16::from_be_bytes([*high, *low])),
        [high] => u64::from(*high) << 8,
        _ => 0,
    });
    let mut sum = start + words.sum::<u64>();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    u16::try_from(sum).unwrap_or(0)
}

/// The checksum of SCTP (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let step = |sum: u32, _| (sum >> 1) ^ (POLYNOMIAL & (sum & 1).wrapping_neg());
    let byte = |sum: u32, byte: &u8| (0..8).fold(sum ^ u32::from(*byte), step);
    !bytes.iter().fold(u32::MAX, byte)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use polc_compiler::interpret::frame::{Frame, Link, parse};

    pub(crate) fn shot(proto: u8, v6: bool) -> Shot {
        let end = |v4: &str, six: &str, port| End {
            addr: if v6 { six } else { v4 }.parse().unwrap(),
            port,
        };
        Shot {
            number: 513,
            source: end("192.0.2.1", "2001:db8::1", 4000),
            dest: end("198.51.100.7", "2001:db8:1::7", 53),
            proto,
            kind: [8, 0],
            flags: SYN,
            mss: Some(1460),
            ttl: 9,
            service: 0xb9,
            options: 1,
            unsummed: false,
            payload: 31,
            quote: None,
            cut: None,
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for proto in [TCP, UDP, ICMP, ICMPV6, SCTP, 47] {
            for v6 in [false, true] {
                let shot = shot(proto, v6);
                let bytes = shot.bytes();
                let parsed = parse(&Frame::whole(Link::Raw, &bytes)).unwrap();
                let read = (parsed.saddr, parsed.daddr, parsed.proto);
                assert_eq!(read, (shot.source.addr, shot.dest.addr, proto));
                let port = parsed.fields.get(&DPORT).copied();
                assert_eq!(port, has_ports(proto).then_some(53), "{proto}");
            }
        }
    }

    #[test]
    fn checksums_are_right() {
        for proto in [TCP, UDP] {
            let shot = shot(proto, true);
            let transport = shot.transport();
            // A right checksum makes the sum of all words zero.
            let start = shot.pseudo_header(transport.len());
            assert_eq!(!sum(&transport, start), 0);
        }
        // The check value of the checksum (RFC 3720, appendix B.4, has others).
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
