//! Which packet it is that was seen.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use polc_compiler::inline::live::Refusal;

use crate::pieces::{FRAGMENT, Sighting};
use crate::shot::{End, GRE, ICMP, ICMPV6, OPTIONS, QUOTED, RST, SCTP, TCP, UDP};

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// The packet with this number.
    Packet(u16),
    /// An answer to the packet with this number.
    Answer(u16, Refusal),
    /// A reset of what goes from the second to the first.
    Reset(End, End),
    /// Nothing that a packet led to.
    Noise,
}

/// A packet's header of IP, as far as it matters here.
pub(crate) struct Header<'p> {
    number: u16,
    pub(crate) proto: u8,
    pub(crate) source: IpAddr,
    pub(crate) dest: IpAddr,
    /// What is behind it.
    pub(crate) rest: &'p [u8],
}

#[cfg(test)]
impl<'p> Header<'p> {
    /// One that nobody has sent.
    pub(crate) fn of((source, dest): (IpAddr, IpAddr), proto: u8, rest: &'p [u8]) -> Self {
        Self {
            number: 0,
            proto,
            source,
            dest,
            rest,
        }
    }
}

/// Which packet it is.
pub(crate) fn tag(seen: &Sighting) -> Tag {
    let caught = &seen.caught;
    if !seen.is_whole() {
        // Nothing but the header of IP is known to be there.
        return match caught.packet.first().map(|byte| byte >> 4) {
            Some(4) => packet(word(&caught.packet, 4)),
            _ => packet(word(&caught.packet, 2)),
        };
    }
    let Some(header) = header(&caught.packet) else {
        return Tag::Noise;
    };
    let rest = header.rest;
    match header.proto {
        TCP => tcp(&header),
        ICMP | ICMPV6 if is_error(header.proto, rest) => error(&header),
        // Those of IPv6 that the machine got have lost their header.
        proto if header.source.is_ipv6() && caught.by.is_none() => {
            let at = match proto {
                UDP | ICMP | ICMPV6 => 8,
                SCTP => 16,
                GRE => 4,
                _ => 0,
            };
            packet(word(rest, at))
        }
        _ => packet(header.number),
    }
}

fn packet(number: u16) -> Tag {
    match number {
        0 => Tag::Noise,
        number if number & QUOTED != 0 => Tag::Noise,
        number => Tag::Packet(number),
    }
}

fn tcp(header: &Header<'_>) -> Tag {
    let rest = header.rest;
    let payload = usize::from(rest.get(12).copied().unwrap_or(0) >> 4) * 4;
    let low = word(rest, 6);
    // Resets have no payload.
    if word(rest, 4) == 0 && low != 0 && low & QUOTED == 0 && word(rest, payload) == low {
        return Tag::Packet(low);
    }
    let flags = rest.get(13).copied().unwrap_or(0);
    let end = |addr, at| End {
        addr,
        port: word(rest, at),
    };
    if flags & RST == 0 {
        return Tag::Noise;
    }
    Tag::Reset(end(header.source, 0), end(header.dest, 2))
}

/// An error is one of ours if it quotes a packet that says so.
fn error(message: &Header<'_>) -> Tag {
    let quoted = message.rest.get(8..).and_then(header);
    let Some(quoted) = quoted else {
        return packet(message.number);
    };
    if quoted.number & QUOTED != 0 {
        return packet(quoted.number & !QUOTED);
    }
    let byte = |at: usize| message.rest.get(at).copied().unwrap_or(0);
    match packet(quoted.number) {
        Tag::Packet(number) => Tag::Answer(number, Refusal::Icmp(byte(0), byte(1))),
        _ => packet(message.number),
    }
}

fn is_error(proto: u8, rest: &[u8]) -> bool {
    match (proto, rest.first()) {
        (ICMP, Some(kind)) => [3, 5, 11, 12].contains(kind),
        (_, Some(kind)) => *kind < 128,
        _ => false,
    }
}

fn word(bytes: &[u8], at: usize) -> u16 {
    let two = bytes.get(at..).and_then(|rest| rest.first_chunk());
    two.map_or(0, |two| u16::from_be_bytes(*two))
}

/// Reads it. What is behind the packet, as its length says, is left out.
pub(crate) fn header(packet: &[u8]) -> Option<Header<'_>> {
    match packet.first()? >> 4 {
        4 => {
            let size = usize::from(packet.first()? & 15) * 4;
            let addr = |at: usize| -> Option<IpAddr> {
                let octets: [u8; 4] = *packet.get(at..)?.first_chunk()?;
                Some(Ipv4Addr::from(octets).into())
            };
            let end = usize::from(word(packet, 2)).min(packet.len());
            Some(Header {
                number: word(packet, 4),
                proto: *packet.get(9)?,
                source: addr(12)?,
                dest: addr(16)?,
                rest: packet.get(size..end)?,
            })
        }
        6 => {
            let addr = |at: usize| -> Option<IpAddr> {
                let octets: [u8; 16] = *packet.get(at..)?.first_chunk()?;
                Some(Ipv6Addr::from(octets).into())
            };
            let end = 40 + usize::from(word(packet, 4));
            let rest = packet.get(40..end.min(packet.len()));
            let (mut proto, mut rest) = (*packet.get(6)?, rest?);
            // The extension headers that packets here have: options, and that of fragments, if this is the first one.
            while proto == OPTIONS || proto == FRAGMENT && word(rest, 2) & !7 == 0 {
                proto = *rest.first()?;
                rest = rest.get(8..)?;
            }
            Some(Header {
                number: word(packet, 2),
                proto,
                source: addr(8)?,
                dest: addr(24)?,
                rest,
            })
        }
        _ => None,
    }
}
