//! Datagrams in pieces: taken apart before they are sent, and put together again as they were seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use fastrand::Rng;
use polc_compiler::field::{IP_LENGTH, META_LENGTH};
use polc_compiler::ir::{BucketId, Cube, Ir, Rule, Verdict};
use polc_runtime_loader::lab::Catch;

use crate::backend::Backend;
use crate::shot::{OPTIONS, QUOTED, Shot, length, put, sum};
use crate::table::Way;
use crate::traffic::Attempt;
use crate::values::LONGEST;

/// Fragments begin at multiples of this, in bytes.
const UNIT: usize = 8;

/// Of 256 packets that may come in pieces, so many do.
const SHARE: u8 = 48;

/// The extension header of fragments.
pub(crate) const FRAGMENT: u8 = 44;

/// Where the header of IPv4 says which piece it is: the bits beside "may not be taken apart".
const PLACE4: u16 = 0x3fff;
const MORE4: u16 = 0x2000;

/// How a packet comes in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Where the pieces behind the first begin, in bytes behind what every piece has.
    pub(crate) at: Vec<usize>,
    /// Whether the extension header of IPv6 is in the first piece alone.
    pub(crate) behind: bool,
    /// Whether the last piece is sent first.
    pub(crate) backwards: bool,
}

impl Cut {
    /// Two or three pieces, the first of which has all of the headers; none if the packet is too short. Where the
    /// kernel puts them `together` to track them, no extension header stands before that of fragments: for packets
    /// that are for itself it would then read what comes behind as another extension header.
    pub(crate) fn some(rng: &mut Rng, shot: &Shot, together: bool) -> Option<Self> {
        let behind = shot.is_v6() && shot.options > 0 && (together || rng.bool());
        let extension = if behind { UNIT } else { 0 };
        // What an error quotes is in the first, too.
        let headers = (extension + shot.head().len().max(UNIT)).next_multiple_of(UNIT);
        let size = extension + shot.transport().len();
        // A piece has a header that the whole packet has not.
        let most = LONGEST - if shot.is_v6() { UNIT } else { 0 };
        if shot.header() + shot.transport().len() > most {
            return None;
        }
        let places: Vec<usize> = (headers..size).step_by(UNIT).collect();
        let mut at: Vec<usize> = (0..rng.usize(1..=2))
            .filter_map(|_| rng.choice(&places).copied())
            .collect();
        at.sort_unstable();
        at.dedup();
        (!at.is_empty()).then_some(Self {
            at,
            behind,
            backwards: false,
        })
    }
}

/// Who judges the pieces of a packet that arrives, and what that comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guarding {
    /// Nobody: guard gets whole packets.
    Whole,
    /// Guard. The kernel puts together what it admits: all go on, or none does.
    Together,
    /// Guard. The others go on behind the first one.
    BehindFirst,
    /// Guard, and there is no other stage: each goes on by itself.
    Alone,
    /// Guard, whole or in pieces: it depends on the family and the version of iptables whether the kernel is ready to
    /// track packets where some are not to be, or where filter judges none.
    Unknown,
}

impl Guarding {
    /// What a policy means on a backend.
    pub(crate) fn of(ir: &Ir, backend: Backend) -> Self {
        let stages = [&ir.steer, &ir.filter, &ir.egress];
        let untracks = |rule: &Rule| rule.verdict == Some(Verdict::Notrack);
        let alone = stages.iter().all(|stage| stage.is_empty());
        let iptables = matches!(backend, Backend::IptablesNft | Backend::IptablesLegacy);
        // What steer and egress do may be about one family, and then the other is not tracked.
        let of_one = ir.filter.is_empty() && !ir.guard.is_empty();
        match backend {
            _ if iptables && !alone && !of_one => Self::Whole,
            _ if iptables && (!alone || ir.guard.iter().any(untracks)) => Self::Unknown,
            _ if alone => Self::Alone,
            Backend::Ebpf => Self::BehindFirst,
            _ => Self::Together,
        }
    }

    /// Whether pieces can be compared. Where none are put together, the later stages get the length of the first and
    /// judge it before guard gets those behind, guard marks each for itself, and those behind the first go on alone
    /// where filter does not govern.
    pub(crate) fn is_clear(self, ir: &Ir) -> bool {
        let rules = [&ir.steer, &ir.filter, &ir.egress].into_iter().flatten();
        let mut cubes = rules
            .flat_map(|rule| &rule.cubes)
            .chain(ir.blocks.iter().flat_map(|block| &block.scope));
        let asks = |cube: &Cube| {
            [IP_LENGTH, META_LENGTH]
                .iter()
                .any(|f| cube.field(*f).is_some())
        };
        match self {
            Self::Unknown => false,
            Self::Whole | Self::Together => true,
            Self::BehindFirst => {
                ir.governs.input && ir.governs.forward && !cubes.any(asks) && !is_asked_twice(ir)
            }
            Self::Alone => ir.guard.iter().all(|rule| rule.effects.mark.is_none()),
        }
    }

    /// Which pieces go on, if guard has admitted these.
    pub(crate) fn goes_on(self, mut admitted: Vec<bool>) -> Vec<bool> {
        let behind = match self {
            Self::Whole | Self::Alone | Self::Unknown => true,
            Self::Together => !admitted.contains(&false),
            Self::BehindFirst => admitted.first() == Some(&true),
        };
        for piece in &mut admitted {
            *piece &= behind;
        }
        admitted
    }
}

/// Whether guard asks a bucket that another stage asks, too, or fills a set.
fn is_asked_twice(ir: &Ir) -> bool {
    let rules = [&ir.steer, &ir.filter, &ir.egress].into_iter().flatten();
    let later: Vec<BucketId> = rules.flat_map(Rule::buckets).collect();
    let mut asked = ir.guard.iter().flat_map(Rule::buckets);
    asked.any(|bucket| later.contains(&bucket))
        || ir.guard.iter().any(|rule| rule.effects.add.is_some())
}

/// Takes packets apart.
pub(crate) struct Cutter {
    /// The number of the next one: no two packets in pieces have the same, lest pieces of the one be taken for
    /// pieces of the other.
    next: u16,
    backend: Backend,
    /// Whether guard gets pieces on Netfilter, where a later piece of IPv6 has no protocol if the first shows another
    /// header.
    guarded: bool,
}

impl Cutter {
    /// Numbers begin with `first`: no whole packet has one from there on.
    pub(crate) fn new(first: u16, backend: Backend, ir: &Ir) -> Self {
        Self {
            next: first,
            backend,
            guarded: backend != Backend::Ebpf
                && !ir.guard.is_empty()
                && Guarding::of(ir, backend) != Guarding::Whole,
        }
    }

    /// Takes a packet apart that arrives: one of some.
    pub(crate) fn cut(&mut self, rng: &mut Rng, attempt: &mut Attempt) {
        let arrives = matches!(attempt.way, Way::In(_)) && attempt.shot.quote.is_none();
        let extended = attempt.shot.is_v6() && attempt.shot.options > 0;
        if !arrives || extended && self.guarded || rng.u8(..) >= SHARE || self.next >= QUOTED {
            return;
        }
        let together = self.backend != Backend::Ebpf;
        let Some(mut cut) = Cut::some(rng, &attempt.shot, together) else {
            return;
        };
        cut.backwards = together && rng.u8(..) < 64;
        let expected = attempt.part.as_mut().map(|part| &mut part.expected);
        for shot in std::iter::once(&mut attempt.shot).chain(expected) {
            shot.number = self.next;
            shot.cut = Some(cut.clone());
        }
        self.next += 1;
    }
}

impl Shot {
    /// Its pieces, the first one first; the packet itself if it is whole.
    pub(crate) fn pieces(&self) -> Vec<Vec<u8>> {
        let whole = self.bytes();
        let Some(cut) = &self.cut else {
            return vec![whole];
        };
        let header = if cut.behind { 40 } else { self.header() };
        let (header, body) = whole.split_at(header.min(whole.len()));
        let starts = std::iter::once(0).chain(cut.at.iter().copied());
        let ends = cut.at.iter().copied().chain([body.len()]);
        let piece = |(start, end): (usize, usize)| {
            let part = body.get(start..end).unwrap_or_default();
            let more = end < body.len();
            if self.is_v6() {
                piece6(header, (start, more), part, self.number)
            } else {
                piece4(header, (start, more), part)
            }
        };
        starts.zip(ends).map(piece).collect()
    }

    /// What its first piece has of what is behind the headers of IP.
    pub(crate) fn beginning(&self) -> Vec<u8> {
        let mut transport = self.transport();
        if let Some(cut) = &self.cut {
            let extension = if cut.behind { UNIT } else { 0 };
            let end = cut.at.first().copied().unwrap_or(usize::MAX);
            transport.truncate(end.saturating_sub(extension));
        }
        transport
    }

    /// What is seen if these of its pieces are.
    pub(crate) fn sighting(&self, there: &[bool]) -> Option<Sighting> {
        let pieces = self.pieces().into_iter().zip(there);
        let seen = pieces
            .filter(|(_, there)| **there)
            .map(|(packet, _)| Catch {
                by: None,
                mark: 0,
                packet,
            });
        join(seen.collect(), true).pop()
    }

    /// What is sent, in order.
    pub(crate) fn pieces_as_sent(&self) -> Vec<Vec<u8>> {
        let mut pieces = self.pieces();
        if self.cut.as_ref().is_some_and(|cut| cut.backwards) {
            pieces.reverse();
        }
        pieces
    }
}

fn piece4(header: &[u8], (start, more): (usize, bool), part: &[u8]) -> Vec<u8> {
    let mut out = header.to_vec();
    let place = u16::try_from(start / UNIT).unwrap_or(0);
    put(&mut out, 6, place | if more { MORE4 } else { 0 });
    finish4(&mut out, part.len());
    out.extend(part);
    out
}

/// Gives a header of IPv4 its length and checksum.
fn finish4(header: &mut [u8], part: usize) {
    let size = header.len() + part;
    put(header, 2, u16::from_be_bytes(length(size)));
    put(header, 10, 0);
    let sum = !sum(header, 0);
    put(header, 10, sum);
}

fn piece6(header: &[u8], (start, more): (usize, bool), part: &[u8], number: u16) -> Vec<u8> {
    let mut out = header.to_vec();
    let place = next_header(header).and_then(|at| out.get_mut(at));
    let next = place.map_or(0, |next| std::mem::replace(next, FRAGMENT));
    let place = u16::try_from(start).unwrap_or(0) | u16::from(more);
    out.extend([next, 0]);
    out.extend(place.to_be_bytes());
    out.extend(u32::from(number).to_be_bytes());
    out.extend(part);
    let size = out.len() - 40;
    put(&mut out, 4, u16::from_be_bytes(length(size)));
    out
}

/// Where headers of IPv6 say what is behind the last of them.
fn next_header(header: &[u8]) -> Option<usize> {
    match header.len() {
        40 => Some(6),
        48 => Some(40),
        _ => None,
    }
}

/// A packet that was seen, whole or as far as its pieces were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    /// The packet. Of pieces between which others lack: one header, and what is there of the rest.
    pub(crate) caught: Catch,
    /// Of pieces between which others lack: where they begin, and whether more follow.
    pub(crate) places: Vec<(usize, bool)>,
}

impl Sighting {
    /// Whether all of it is there.
    pub(crate) fn is_whole(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether its beginning is there.
    pub(crate) fn begins(&self) -> bool {
        self.places.first().is_none_or(|(start, _)| *start == 0)
    }
}

/// A piece: what it has in common with the others, and what it has not.
struct Piece<'p> {
    /// Headers without lengths, checksums and places.
    header: Vec<u8>,
    start: usize,
    more: bool,
    part: &'p [u8],
}

/// What is seen of one packet at one place.
type Key = (Option<Arc<str>>, Option<u32>, Vec<u8>);

/// A piece: where it begins, whether more follow, its mark, and what it has.
type Part = (usize, bool, u32, Vec<u8>);

/// Puts the pieces together that have the same headers, and the same marks if these `tell`, and were seen at the same
/// place. The mark is the first one's. Packets that came whole stay where they are, the others come behind them.
pub(crate) fn join(caught: Vec<Catch>, tell: bool) -> Vec<Sighting> {
    let mut out = Vec::with_capacity(caught.len());
    let mut groups: BTreeMap<Key, Vec<Part>> = BTreeMap::new();
    for catch in caught {
        let Some(piece) = piece(&catch.packet) else {
            out.push(Sighting {
                caught: catch,
                places: vec![],
            });
            continue;
        };
        let found = (piece.start, piece.more, catch.mark, piece.part.to_vec());
        let key = (catch.by, tell.then_some(catch.mark), piece.header);
        groups.entry(key).or_default().push(found);
    }
    out.extend(groups.into_iter().map(|(key, parts)| joined(key, parts)));
    out
}

fn joined((by, _, header): Key, mut parts: Vec<Part>) -> Sighting {
    parts.sort();
    let mut places: Vec<(usize, bool)> = Vec::new();
    let mut body: Vec<u8> = Vec::new();
    let mark = parts.first().map_or(0, |(_, _, mark, _)| *mark);
    // Pieces that adjoin are one.
    let mut end = 0;
    for (start, more, _, part) in parts {
        match places.last_mut() {
            Some(last) if start == end && last.1 => last.1 = more,
            _ => places.push((start, more)),
        }
        end = start + part.len();
        body.extend(part);
    }
    if places == [(0, false)] {
        places.clear();
    }
    let mut packet = header;
    if packet.first().is_some_and(|byte| byte >> 4 == 4) {
        finish4(&mut packet, body.len());
    } else {
        let size = packet.len() + body.len() - 40;
        put(&mut packet, 4, u16::from_be_bytes(length(size)));
    }
    packet.extend(body);
    Sighting {
        caught: Catch { by, mark, packet },
        places,
    }
}

/// Reads a fragment; none if it is none, or its header has another checksum than it should.
fn piece(packet: &[u8]) -> Option<Piece<'_>> {
    match packet.first()? >> 4 {
        4 => read4(packet),
        6 => read6(packet),
        _ => None,
    }
}

fn read4(packet: &[u8]) -> Option<Piece<'_>> {
    let size = usize::from(packet.first()? & 15) * 4;
    let (header, part) = packet.split_at_checked(size)?;
    let place = word(header, 6)?;
    let right = !sum(header, 0) == 0 && usize::from(word(header, 2)?) == packet.len();
    if place & PLACE4 == 0 || !right {
        return None;
    }
    let mut header = header.to_vec();
    put(&mut header, 2, 0);
    put(&mut header, 6, place & !PLACE4);
    put(&mut header, 10, 0);
    Some(Piece {
        header,
        start: usize::from(place & (PLACE4 ^ MORE4)) * UNIT,
        more: place & MORE4 != 0,
        part,
    })
}

fn read6(packet: &[u8]) -> Option<Piece<'_>> {
    let size = match (packet.get(6)?, packet.get(40)?) {
        (&FRAGMENT, _) => 40,
        (&OPTIONS, &FRAGMENT) => 48,
        _ => return None,
    };
    let (header, rest) = packet.split_at_checked(size)?;
    let (fragment, part) = rest.split_at_checked(8)?;
    if usize::from(word(header, 4)?) + 40 != packet.len() {
        return None;
    }
    let place = word(fragment, 2)?;
    let mut header = header.to_vec();
    put(&mut header, 4, 0);
    let next = next_header(&header)?;
    *header.get_mut(next)? = *fragment.first()?;
    Some(Piece {
        header,
        start: usize::from(place & !7),
        more: place & 1 != 0,
        part,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*two))
}

#[cfg(test)]
mod tests;
