//! Packets as what they say, and the bytes that say it: checksums are computed over all of them.

use super::super::End;

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const UDP_LITE: u8 = 136;
pub(super) const DCCP: u8 = 33;
pub(super) const SCTP: u8 = 132;

/// What a packet carries.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// A protocol with ports, its header's bytes behind them, and the payload.
    Ports { protocol: u8, rest: Vec<u8> },
    /// A UDP datagram without checksum.
    Unsummed { payload: Vec<u8> },
    /// An ICMP message of a type, with an identifier or without.
    Icmp { kind: u8, id: bool, rest: Vec<u8> },
    /// Something that has no header, or not all of it.
    Raw { protocol: u8, bytes: Vec<u8> },
    /// An ICMP error with as many bytes of the quoted packet's payload, and more behind them.
    Error {
        kind: u8,
        quote: Box<Sample>,
        keep: usize,
        tail: Vec<u8>,
    },
}

/// Which part of a packet it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    /// The first so many bytes.
    First(usize),
    Later,
}

/// A packet.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) v6: bool,
    /// Source and destination.
    pub(super) addresses: [u128; 2],
    /// Their ports; ICMP has the first for its identifier.
    pub(super) ports: [u16; 2],
    /// IPv4: options. IPv6: extension headers, each with the number it has and without its first byte.
    pub(super) options: Vec<u8>,
    pub(super) extensions: Vec<(u8, Vec<u8>)>,
    /// The number of its fragments.
    pub(super) number: u16,
    pub(super) body: Body,
    pub(super) part: Part,
}

impl Sample {
    /// The same with another end.
    pub(super) fn rewritten(&self, end: End, address: u128, port: u16) -> Self {
        let place = usize::from(end == End::Destination);
        let mut out = self.clone();
        out.addresses[place] = address;
        match out.body {
            Body::Ports { protocol, .. } if protocol != SCTP => out.ports[place] = port,
            Body::Unsummed { .. } => out.ports[place] = port,
            Body::Icmp { id: true, .. } => out.ports[0] = port,
            _ => {}
        }
        out
    }

    /// The same with another end of the quoted packet.
    pub(super) fn requoted(&self, end: End, address: u128, port: u16) -> Self {
        let mut out = self.clone();
        if let Body::Error { quote, .. } = &mut out.body {
            **quote = quote.rewritten(end, address, port);
        }
        out
    }

    fn address(&self, place: usize) -> Vec<u8> {
        let bytes = self.addresses[place].to_be_bytes();
        bytes[if self.v6 { 0 } else { 12 }..].to_vec()
    }

    /// The checksum of some bytes behind the pseudo header.
    fn sum(&self, protocol: u8, length: usize, covered: &[u8]) -> u16 {
        let mut all = [self.address(0), self.address(1)].concat();
        all.extend(u32::try_from(length).unwrap().to_be_bytes());
        all.extend([0, 0, 0, protocol]);
        all.extend(covered);
        checksum(&all)
    }

    /// The protocol, and all bytes behind the IP header, of which a fragment has a part.
    fn transport(&self) -> (u8, Vec<u8>) {
        let ports: Vec<u8> = self.ports.iter().flat_map(|p| p.to_be_bytes()).collect();
        match &self.body {
            Body::Raw { protocol, bytes } => (*protocol, bytes.clone()),
            Body::Unsummed { payload } => {
                let length = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
                (UDP, [&ports[..], &length, &[0, 0], payload].concat())
            }
            Body::Ports { protocol, rest } => {
                let mut out = [&ports[..], rest].concat();
                self.fill_sum(*protocol, &mut out);
                (*protocol, out)
            }
            Body::Icmp { kind, rest, .. } => {
                let mut out = vec![*kind, 0, 0, 0];
                out.extend(self.ports[0].to_be_bytes());
                out.extend(rest);
                self.icmp(out)
            }
            Body::Error {
                kind,
                quote,
                keep,
                tail,
            } => {
                let (header, payload) = quote.parts();
                let mut out = vec![*kind, 1, 0, 0, 0, 0, 0, 0];
                out.extend(header);
                out.extend(payload.iter().take(*keep));
                out.extend(tail);
                self.icmp(out)
            }
        }
    }

    fn icmp(&self, mut out: Vec<u8>) -> (u8, Vec<u8>) {
        let sum = if self.v6 {
            self.sum(58, out.len(), &out)
        } else {
            checksum(&out)
        };
        out[2..4].copy_from_slice(&sum.to_be_bytes());
        (if self.v6 { 58 } else { 1 }, out)
    }

    fn fill_sum(&self, protocol: u8, out: &mut [u8]) {
        let at = match protocol {
            TCP => 16,
            UDP | UDP_LITE | DCCP => 6,
            _ => return,
        };
        out[at..at + 2].fill(0);
        let covered = match protocol {
            UDP_LITE => usize::from(u16::from_be_bytes([out[4], out[5]])),
            _ => out.len(),
        };
        let sum = match self.sum(protocol, out.len(), &out[..covered]) {
            0 if [UDP, UDP_LITE].contains(&protocol) => 0xffff,
            sum => sum,
        };
        out[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }

    /// The IP header with what belongs to it, and what is behind it.
    pub(super) fn parts(&self) -> (Vec<u8>, Vec<u8>) {
        let (protocol, mut payload) = self.transport();
        if let Part::First(keep) = self.part {
            payload.truncate(keep);
        }
        if self.v6 {
            (self.header6(protocol, payload.len()), payload)
        } else {
            (self.header4(protocol, payload.len()), payload)
        }
    }

    fn header4(&self, protocol: u8, payload: usize) -> Vec<u8> {
        let size = 20 + self.options.len();
        let word: u16 = match self.part {
            Part::Whole => 0x4000,
            Part::First(_) => 0x2000,
            Part::Later => 0x2007,
        };
        let mut out = vec![0x40 | u8::try_from(size / 4).unwrap(), 0];
        out.extend(u16::try_from(size + payload).unwrap().to_be_bytes());
        out.extend(self.number.to_be_bytes());
        out.extend(word.to_be_bytes());
        out.extend([61, protocol, 0, 0]);
        out.extend([self.address(0), self.address(1)].concat());
        out.extend(&self.options);
        let sum = checksum(&out);
        out[10..12].copy_from_slice(&sum.to_be_bytes());
        out
    }

    fn header6(&self, protocol: u8, payload: usize) -> Vec<u8> {
        let mut extensions = self.extensions.clone();
        let word: Option<u16> = match self.part {
            Part::Whole => None,
            Part::First(_) => Some(1),
            Part::Later => Some(7 << 3 | 1),
        };
        if let Some(word) = word {
            let [high, low] = word.to_be_bytes();
            let [first, second] = self.number.to_be_bytes();
            extensions.push((44, vec![0, high, low, 0, 0, first, second]));
        }
        let (mut chain, mut next) = (Vec::new(), protocol);
        for (kind, rest) in extensions.iter().rev() {
            chain = [&[next][..], rest, &chain].concat();
            next = *kind;
        }
        let length = u16::try_from(chain.len() + payload).unwrap();
        let mut out = vec![0x60, 0, 0, 9];
        out.extend(length.to_be_bytes());
        out.extend([next, 61]);
        out.extend([self.address(0), self.address(1)].concat());
        out.extend(chain);
        out
    }

    /// The packet.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let (mut header, payload) = self.parts();
        header.extend(payload);
        header
    }

    /// What is in the field for the transport header's checksum.
    pub(super) fn field(&self, at: usize) -> u16 {
        let (_, payload) = self.parts();
        u16::from_be_bytes([payload[at], payload[at + 1]])
    }
}

/// The checksum of RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2);
    let words = words.map(|w| u64::from(w[0]) << 8 | w.get(1).map_or(0, |b| u64::from(*b)));
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
