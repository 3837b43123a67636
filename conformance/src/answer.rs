//! How the sender of a packet is answered.

use std::sync::Arc;

use polc_compiler::inline::live::Refusal;
use polc_compiler::interpret::Steered;
use polc_runtime_loader::lab::Catch;

use crate::backend::Backend;
use crate::difference::Difference;
use crate::net::{MAIN, Net};
use crate::predict::{Fate, is_answered};
use crate::shot::{ACK, ACKNOWLEDGED, FIN, ICMP, RST, SYN, Shot, TCP, icmp_of, octets, sum};
use crate::table::{Exit, Way};
use crate::tag::{Header, Tag, header};
use crate::traffic::Attempt;

/// The header of a reset, and of an ICMP error.
const TCP_HEADER: usize = 20;
const ICMP_HEADER: usize = 8;

/// How many bytes behind its headers of IP an error quotes of a packet at least (RFC 792).
const LEAST_QUOTED: usize = 8;

/// Where the checksum of TCP is.
const TCP_SUM: usize = 16;

/// An answer that was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'c> {
    /// What it answers.
    pub(crate) tag: Tag,
    pub(crate) catch: &'c Catch,
}

type Compared = Result<(), (Difference, String)>;

fn wrong(what: &str) -> Compared {
    Err((Difference::Answer, what.to_owned()))
}

/// Compares the answers to a packet that did not pass with what was to become of it.
pub(crate) fn compare(
    on: (&Net, Backend),
    attempt: &Attempt,
    fate: &Fate,
    seen: &[Answer<'_>],
) -> Compared {
    match (fate, seen) {
        (Fate::Gone, []) => Ok(()),
        (Fate::Gone, _) => wrong("it was answered"),
        (Fate::Refused(_), []) if !is_answered(&attempt.shot) => Ok(()),
        (Fate::Refused(_), []) => wrong("it was not answered"),
        (Fate::Refused(wanted), [_]) if is_end(&attempt.shot, *wanted) => {
            wrong("what is no question was answered")
        }
        (Fate::Refused(wanted), [answer]) if answer.tag.refusal() == Some(*wanted) => {
            form(on, attempt, answer).or_else(wrong)
        }
        _ => wrong("it was answered in another way"),
    }
}

/// Whether a packet must not be answered so: a reset with a reset (RFC 9293, 3.10.7.1), or an ICMP error with another
/// (RFC 1122, 3.2.2; RFC 4443, 2.4).
fn is_end(shot: &Shot, refusal: Refusal) -> bool {
    match refusal {
        Refusal::Reset => shot.flags & RST != 0,
        Refusal::Icmp(..) if shot.is_icmp() && shot.is_v6() => shot.kind[0] < 128,
        Refusal::Icmp(..) => shot.is_icmp() && [3, 4, 5, 11, 12].contains(&shot.kind[0]),
    }
}

/// A packet that passed is answered by nobody but the kernel, which has got it and knows of no socket.
pub(crate) fn none_to(exit: Exit, steered: Option<Steered>, seen: &[Answer<'_>]) -> Compared {
    let silent = exit != Exit::Here || matches!(steered, Some(Steered::Proxy(_)));
    if silent && !seen.is_empty() {
        return wrong("it passed, and was answered too");
    }
    Ok(())
}

/// Each of so many packets that were not compared may have been reset.
pub(crate) fn none_astray(seen: &[Answer<'_>], unclear: u64) -> Compared {
    match seen.first() {
        Some(stray) if u64::try_from(seen.len()).unwrap_or(u64::MAX) > unclear => {
            wrong(&format!("a reset answers nothing that was sent: {stray:?}"))
        }
        _ => Ok(()),
    }
}

impl Tag {
    fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Answer(_, refusal) => Some(refusal),
            Self::Reset(..) => Some(Refusal::Reset),
            Self::Packet(_) | Self::Noise => None,
        }
    }
}

/// Compares an answer of the right kind with what it should be.
fn form(
    (net, backend): (&Net, Backend),
    attempt: &Attempt,
    answer: &Answer<'_>,
) -> Result<(), &'static str> {
    let shot = &attempt.shot;
    let bytes = &answer.catch.packet;
    let by = answer.catch.by.as_deref();
    if by != goes_by(net, backend, attempt).as_deref() {
        return Err("its answer went elsewhere");
    }
    let header = header(bytes).ok_or("its answer has no header")?;
    if header.dest != shot.source.addr {
        return Err("its answer is for somebody else");
    }
    let words = bytes.first().map_or(0, |byte| usize::from(byte & 15));
    let head = bytes.get(..4 * words);
    // The header of IPv6 has no checksum.
    if !shot.is_v6() && sum(head.unwrap_or_default(), 0) != u16::MAX {
        return Err("its answer has a header with another checksum");
    }
    match answer.tag.refusal() {
        Some(Refusal::Reset) => reset((backend, shot), &header),
        _ => error((net, backend), shot, &header),
    }
}

/// The interface by which a packet's answer leaves.
fn goes_by(net: &Net, backend: Backend, attempt: &Attempt) -> Option<Arc<str>> {
    let at = match attempt.way {
        Way::Out(..) => return None,
        Way::In(at) if backend == Backend::Ebpf => Some(at),
        Way::In(_) => net.leads(attempt.shot.source.addr, MAIN),
    };
    net.interfaces.get(at?).map(|i| Arc::clone(&i.name))
}

/// Compares a reset (RFC 9293, 3.10.7.1).
fn reset((backend, shot): (Backend, &Shot), seen: &Header<'_>) -> Result<(), &'static str> {
    if seen.source != shot.dest.addr {
        return Err("it was reset in another's name");
    }
    let (number, next, flags) = if shot.flags & ACK != 0 {
        (ACKNOWLEDGED, 0, RST)
    } else {
        (0, end_of(shot, &refused(backend, shot)), RST | ACK)
    };
    let mut wanted = Vec::with_capacity(TCP_HEADER);
    wanted.extend(shot.dest.port.to_be_bytes());
    wanted.extend(shot.source.port.to_be_bytes());
    wanted.extend(number.to_be_bytes());
    wanted.extend(next.to_be_bytes());
    wanted.extend([0x50, flags, 0, 0]);
    let (head, tail) = seen
        .rest
        .split_at_checked(TCP_SUM)
        .ok_or("its reset is cut short")?;
    if head != wanted {
        return Err("its reset has other numbers");
    }
    if tail.get(2..) != Some(&[0, 0]) {
        return Err("its reset is not one alone");
    }
    let pseudo = pseudo_header(seen, TCP);
    // Or that of the pseudo header, to which hardware adds the rest.
    let unfinished = tail.get(..2) == Some(&sum(&[], pseudo).to_be_bytes());
    if sum(seen.rest, pseudo) != u16::MAX && !unfinished {
        return Err("its reset has another checksum");
    }
    Ok(())
}

/// What is refused of a packet, behind the headers of IP: with eBPF its first piece, and the others with it.
fn refused(backend: Backend, shot: &Shot) -> Vec<u8> {
    if backend == Backend::Ebpf {
        shot.beginning()
    } else {
        shot.transport()
    }
}

/// The sequence number behind a segment.
fn end_of(shot: &Shot, transport: &[u8]) -> u32 {
    let words = transport.get(12).map_or(0, |byte| usize::from(byte >> 4));
    let data = transport.len().saturating_sub(4 * words);
    let flags = [SYN, FIN].iter().filter(|flag| shot.flags & **flag != 0);
    let length = u32::try_from(data + flags.count()).unwrap_or(u32::MAX);
    u32::from(shot.number).wrapping_add(length)
}

/// Compares an ICMP error, whose type and code are right.
fn error(
    (net, backend): (&Net, Backend),
    shot: &Shot,
    seen: &Header<'_>,
) -> Result<(), &'static str> {
    let own = backend != Backend::Ebpf && net.is_own(seen.source);
    if seen.source != shot.dest.addr && !own {
        return Err("it was answered in another's name");
    }
    let start = if seen.proto == ICMP {
        0
    } else {
        pseudo_header(seen, seen.proto)
    };
    if seen.proto != icmp_of(shot.source.addr) || sum(seen.rest, start) != u16::MAX {
        return Err("its error has another checksum");
    }
    let quoted = seen.rest.get(ICMP_HEADER..).and_then(header);
    let quoted = quoted.ok_or("its error quotes nothing")?;
    let ends = (quoted.source, quoted.dest, quoted.proto);
    if ends != (shot.source.addr, shot.dest.addr, shot.proto) {
        return Err("its error quotes another packet");
    }
    let sent = refused(backend, shot);
    let least = LEAST_QUOTED.min(sent.len());
    if quoted.rest.len() < least || !sent.starts_with(quoted.rest) {
        return Err("its error quotes something else");
    }
    Ok(())
}

fn pseudo_header(seen: &Header<'_>, proto: u8) -> u64 {
    let mut header = octets(seen.source);
    header.extend(octets(seen.dest));
    let length = u64::try_from(seen.rest.len()).unwrap_or(0);
    u64::from(sum(&header, u64::from(proto) + length))
}

#[cfg(test)]
mod tests;
