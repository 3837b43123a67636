//! Packets for a policy: of no flow, of flows, answers, and errors about them.

use std::collections::HashSet;

use fastrand::Rng;

use crate::net::Net;
use crate::pieces::Cutter;
use crate::shot::{
    ACK, ESP, End, FIN, GRE, Pair, QUOTED, RST, SCTP, SYN, Shot, TCP, UDP, has_ports, icmp_of,
};
use crate::table::{Exit, Flow, Table, Way, told};

/// Protocols without ports or messages, and one that is nobody's. Over IPv6, Netfilter answers the last one only
/// where its payload has a sum that translation would make wrong.
const OTHERS: [u8; 3] = [GRE, ESP, NOBODY];
const NOBODY: u8 = 99;

/// The error over IPv4 that a packet was too long for a link.
const TOO_LONG: [u8; 2] = [3, 4];

/// The fewest bytes behind the header of a packet's protocol: there is room for its number, and for a checksum.
const LEAST_PAYLOAD: usize = 8;

/// A packet to be judged.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) shot: Shot,
    pub(crate) way: Way,
    pub(crate) part: Option<Part>,
}

/// Of which flow a packet is.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) flow: u64,
    /// What is to become of it.
    pub(crate) expected: Shot,
    pub(crate) kind: Kind,
}

/// What a packet is to its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Forth,
    Answer,
    /// An error about a packet of either way; whether it goes the first packet's.
    Error(bool),
}

impl Kind {
    /// Whether it goes the way of the flow's first packet.
    pub(crate) fn goes_forth(self) -> bool {
        matches!(self, Self::Forth | Self::Error(true))
    }
}

/// Makes up packets.
pub(crate) struct Maker<'m> {
    pub(crate) net: &'m Net,
    /// Takes some of them apart, if any come in pieces.
    pub(crate) cutter: Option<Cutter>,
}

impl Maker<'_> {
    /// Packets to be sent one after the other. No two are of one flow.
    pub(crate) fn salvo(&mut self, rng: &mut Rng, table: &Table, count: u16) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        let mut pairs: HashSet<Pair> = HashSet::new();
        let mut flows: HashSet<u64> = HashSet::new();
        for number in 1..=count {
            let some = table.len() > 0 && rng.u8(..) < 130;
            let attempt = if some {
                let flow = table
                    .at(rng.usize(..1 << 20))
                    .filter(|id| flows.insert(*id));
                let of = flow.and_then(|id| Some((id, table.get(id)?)));
                of.and_then(|(id, flow)| self.part(rng, number, id, flow))
            } else {
                let attempt = self.fresh(rng, number);
                attempt.filter(|a| table.is_free(a.shot.pair()) && is_new(&mut pairs, &a.shot))
            };
            attempts.extend(attempt.map(|mut attempt| {
                if let Some(cutter) = &mut self.cutter {
                    cutter.cut(rng, &mut attempt);
                }
                attempt
            }));
        }
        attempts
    }

    fn address(&self, rng: &mut Rng, v6: bool, own: Option<bool>) -> Option<std::net::IpAddr> {
        let all = self.net.addresses();
        let fits = |addr: &&std::net::IpAddr| {
            addr.is_ipv6() == v6 && own.is_none_or(|own| self.net.is_own(**addr) == own)
        };
        // Most addresses fit soon.
        let mut guesses = (0..24).filter_map(|_| rng.choice(all));
        guesses.find(fits).copied()
    }

    /// A packet of no flow.
    pub(crate) fn fresh(&self, rng: &mut Rng, number: u16) -> Option<Attempt> {
        let either = rng.bool();
        let v6 = self.net.only.unwrap_or(either);
        let arrives = rng.u8(..) < 176;
        let (from, to) = if arrives {
            (Some(false), None)
        } else {
            (Some(true), Some(false))
        };
        let source = self.address(rng, v6, from)?;
        let dest = self.address(rng, v6, to).filter(|dest| *dest != source)?;
        let way = if arrives {
            self.entrance(rng, source)
        } else {
            let (uid, gid) = rng.choice(&self.net.senders).copied()?;
            Way::Out(uid, gid)
        };
        let end = |addr| End { addr, port: 0 };
        let values = &self.net.values;
        let mut shot = Shot {
            number,
            source: end(source),
            dest: end(dest),
            proto: Self::protocol(rng, v6),
            kind: [0; 2],
            flags: SYN,
            mss: None,
            ttl: values.ttl(rng, !arrives || self.net.is_own(dest)),
            service: values.service(rng),
            options: if rng.u8(..) < 20 { rng.u8(1..4) } else { 0 },
            unsummed: rng.u8(..) < 40,
            payload: *rng.choice(&[16, 17, 24, 30, 31, 64, 80, 81, 100, 200])?,
            quote: None,
            cut: None,
        };
        self.transport(rng, &mut shot);
        if let Some(length) = values.length(rng) {
            let headers = shot.bytes().len().saturating_sub(shot.payload);
            shot.payload = length.saturating_sub(headers).max(LEAST_PAYLOAD);
        }
        Some(Attempt {
            shot,
            way,
            part: None,
        })
    }

    /// By which interface packets of an address come; sometimes by another one.
    fn entrance(&self, rng: &mut Rng, source: std::net::IpAddr) -> Way {
        let usual = self.net.leads(source, crate::net::MAIN);
        Way::In(match usual {
            Some(at) if rng.u8(..) < 200 => at,
            _ => rng.usize(..self.net.interfaces.len()),
        })
    }

    fn protocol(rng: &mut Rng, v6: bool) -> u8 {
        match rng.u8(..100) {
            0..42 => TCP,
            42..80 => UDP,
            80..92 if v6 => 58,
            80..92 => 1,
            92..96 => SCTP,
            _ => match rng.choice(&OTHERS) {
                Some(&NOBODY) if v6 => ESP,
                other => *other.unwrap_or(&GRE),
            },
        }
    }

    fn transport(&self, rng: &mut Rng, shot: &mut Shot) {
        let port = |rng: &mut Rng| rng.choice(&self.net.ports).copied().unwrap_or(80);
        if shot.is_icmp() {
            self.message(rng, shot);
        } else if has_ports(shot.proto) {
            shot.dest.port = port(rng);
            // The machine resets what arrives at a port of its own where nobody listens, as answers would.
            let listens = shot.proto == TCP && self.net.is_own(shot.source.addr);
            shot.source.port = if listens || rng.u8(..) < 60 {
                port(rng)
            } else {
                rng.u16(1024..)
            };
        }
        if shot.proto == TCP {
            shot.flags = match rng.u8(..) {
                0..160 => SYN,
                160..210 => self.net.values.flags(rng).unwrap_or(SYN),
                210..235 => ACK,
                235..245 => SYN | ACK,
                _ => rng.u8(..),
            };
            if shot.flags & SYN != 0 {
                shot.mss = self.net.values.mss(rng);
            }
        }
        if shot.proto == SCTP {
            // Its checksum covers all of it.
            shot.options = 0;
        }
    }

    /// A message of ICMP that is no error.
    fn message(&self, rng: &mut Rng, shot: &mut Shot) {
        shot.kind = self.net.values.message(rng, shot.is_v6());
        // The interpreter tells no identifiers apart.
        let last = |end: End| match end.addr {
            std::net::IpAddr::V4(addr) => u16::from(addr.octets()[3]),
            std::net::IpAddr::V6(addr) => addr.segments()[7],
        };
        let id = 2000 + (last(shot.source) % 1000) * 7 + last(shot.dest) % 1000;
        (shot.source.port, shot.dest.port) = (id, id);
    }

    /// A packet of a flow.
    fn part(&self, rng: &mut Rng, number: u16, id: u64, flow: &Flow) -> Option<Attempt> {
        if flow.is_over() {
            return None;
        }
        let flags = match rng.u8(..) {
            0..6 => FIN | ACK,
            6..9 => RST | ACK,
            _ => *rng.choice(&[ACK, ACK | 8])?,
        };
        let (kind, (shot, expected), way) = match rng.u8(..100) {
            0..40 => (Kind::Forth, flow.forth(number, flags), flow.there),
            40..85 => (Kind::Answer, flow.answer(number, flags), flow.back()),
            _ => {
                let (error, way, forth) = self.error(rng, number, flow)?;
                (Kind::Error(forth), error, way)
            }
        };
        Some(Attempt {
            shot,
            way,
            part: Some(Part {
                flow: id,
                expected,
                kind,
            }),
        })
    }

    /// An error about a packet of a flow: what it is and is to be, who sends it, and whether it goes the way of
    /// the flow's first packet.
    fn error(&self, rng: &mut Rng, number: u16, flow: &Flow) -> Option<((Shot, Shot), Way, bool)> {
        let about = QUOTED | number;
        // Of packets that have come here, none is lost on a way.
        let forth = flow.exit != Exit::Here && rng.bool();
        let (quoted, original, way) = if forth {
            let (sent, left) = flow.forth(about, ACK);
            (left, sent, flow.back())
        } else {
            let (sent, left) = flow.answer(about, ACK);
            (left, sent, flow.there)
        };
        let Way::In(_) = way else {
            return None;
        };
        let v6 = quoted.is_v6();
        let none = |addr| End { addr, port: 0 };
        // From the end itself, or from a station before it.
        // (Netfilter lets stations speak in the name of ends that it has translated.)
        let translated = flow.first.source != flow.outer.0 || flow.first.dest != flow.outer.1;
        let (source, expected_source) = if translated || rng.bool() {
            (quoted.dest.addr, original.dest.addr)
        } else {
            let addr = self.address(rng, v6, Some(false))?;
            if addr == quoted.dest.addr || !flow.first.is_plain(&quoted, addr) {
                return None;
            }
            (addr, addr)
        };
        let kinds: &[[u8; 2]] = if v6 {
            &[[1, 0], [1, 3], [1, 4], [3, 0], [4, 1], [2, 0]]
        } else {
            &[[3, 0], [3, 1], [3, 3], [3, 13], [11, 0], [12, 0], [3, 4]]
        };
        let mut kind = *rng.choice(kinds)?;
        if let Some(code) = self.net.values.code(rng).filter(|_| rng.u8(..) < 60) {
            kind[1] = code;
        }
        if kind == TOO_LONG && self.net.is_own(original.source.addr) {
            // This host would believe it, and send no long packets there.
            kind[1] = 0;
        }
        let size = *rng.choice(&[8, 12, 20, 200])?;
        let shot = Shot {
            number,
            source: none(source),
            dest: none(quoted.source.addr),
            proto: icmp_of(source),
            kind,
            flags: 0,
            mss: None,
            options: 0,
            unsummed: false,
            payload: 0,
            ttl: 64,
            service: 0,
            quote: Some((Box::new(quoted), size)),
            cut: None,
        };
        let expected = Shot {
            source: none(expected_source),
            dest: none(original.source.addr),
            quote: Some((Box::new(original), size)),
            ..shot.clone()
        };
        Some(((shot, expected), way, !forth))
    }
}

/// Whether nothing before it in a salvo goes between the same ends.
fn is_new(pairs: &mut HashSet<Pair>, shot: &Shot) -> bool {
    pairs.insert(told(shot.pair()))
}

impl Shot {
    /// Whether a station's address is none of the packet that it writes about.
    fn is_plain(&self, quoted: &Shot, station: std::net::IpAddr) -> bool {
        ![quoted.source.addr, self.source.addr, self.dest.addr].contains(&station)
    }
}
