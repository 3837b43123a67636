//! What was seen of a packet beside what should be.

use crate::difference::Difference;
use crate::net::Net;
use crate::pieces::Sighting;
use crate::predict::Judged;
use crate::shot::{End, Shot, has_ports};
use crate::table::{Exit, Way};
use crate::tag::header;
use crate::traffic::Attempt;

/// Compares a packet that passed with what it should be.
pub(crate) fn form(
    net: &Net,
    (sent, expected): (&Attempt, &Shot),
    exit: Exit,
    judged: &Judged,
    seen: &Sighting,
) -> Result<(), (Difference, String)> {
    let wrong = |what: &str| Err((Difference::Form, what.to_owned()));
    let caught = &seen.caught;
    let by = caught.by.as_deref();
    let wanted = match exit {
        Exit::Here => None,
        Exit::Left(at) => net.interfaces.get(at).map(|i| &*i.name),
    };
    if by != wanted {
        return wrong("it passed elsewhere");
    }
    let mut expected = expected.clone();
    if exit != Exit::Here && matches!(sent.way, Way::In(_)) {
        expected.ttl = expected.ttl.saturating_sub(1);
    }
    let same = if expected.is_v6() && exit == Exit::Here {
        // Sockets are told neither the flow label nor extension headers.
        let told = |bytes: &[u8]| {
            let service = bytes
                .first_chunk()
                .map(|[first, second]| [*first, *second & 0xf0]);
            (service, bytes.get(7..40).map(<[u8]>::to_vec))
        };
        told(&expected.bytes()) == told(&caught.packet)
            && caught.packet.get(40..) == Some(&expected.transport())
    } else if judged.lacks() {
        let wanted = expected.sighting(judged.pieces.as_deref().unwrap_or_default());
        wanted.is_some_and(|w| {
            (w.caught.packet, w.places) == (caught.packet.clone(), seen.places.clone())
        })
    } else {
        seen.is_whole() && caught.packet == expected.bytes()
    };
    if !same {
        return wrong("it is another packet");
    }
    if caught.mark != judged.decision.mark {
        return wrong("it has another mark");
    }
    Ok(())
}

/// The port, or identifier, of a packet's source as it was seen.
pub(crate) fn outer_port(shot: &Shot, seen: &Sighting) -> Option<u16> {
    if !seen.begins() {
        return None;
    }
    let seen = &seen.caught;
    let headless = shot.is_v6() && seen.by.is_none();
    let header = if headless { 40 } else { shot.header() };
    let at = match shot.is_icmp() {
        true if shot.quote.is_none() => header + 4,
        false if has_ports(shot.proto) => header,
        _ => return None,
    };
    let two = seen.packet.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*two))
}

/// The ends of a packet as it was seen, with its ports or identifier if it has some.
pub(crate) fn seen_ends(shot: &Shot, seen: &Sighting) -> Option<(End, End)> {
    if shot.quote.is_some() {
        return None;
    }
    let header = header(&seen.caught.packet).filter(|_| seen.begins())?;
    let port = |at: usize| {
        let port = header.rest.get(at..)?.first_chunk()?;
        Some(u16::from_be_bytes(*port))
    };
    let (source, dest) = match shot.is_icmp() {
        true => (port(4)?, port(4)?),
        false if has_ports(shot.proto) => (port(0)?, port(2)?),
        false => (0, 0),
    };
    let end = |addr, port| End { addr, port };
    Some((end(header.source, source), end(header.dest, dest)))
}
