//! What was seen of packets, beside what was to be seen.

use std::collections::HashMap;

use polc_compiler::inline::live::Refusal;
use polc_runtime_loader::lab::Catch;

use crate::duel::Difference;
use crate::net::Net;
use crate::predict::{Fate, is_answered};
use crate::shot::{Shot, TCP, has_ports};
use crate::table::Exit;
use crate::tag::{Tag, tag};
use crate::traffic::Attempt;

/// What was seen of a packet.
#[derive(Debug, Default)]
pub(crate) struct Seen<'c> {
    pub(crate) passed: Vec<&'c Catch>,
    pub(crate) answers: Vec<Tag>,
}

/// What was seen, by the packet's number.
pub(crate) fn sort<'c>(attempts: &[Attempt], caught: &'c [Catch]) -> HashMap<u16, Seen<'c>> {
    let mut seen: HashMap<u16, Seen<'c>> = HashMap::new();
    let connections = attempts.iter().filter(|a| a.shot.proto == TCP);
    let ends = connections.map(|a| ((a.shot.source, a.shot.dest), a.shot.number));
    let ends: HashMap<_, u16> = ends.collect();
    for catch in caught {
        match tag(catch) {
            Tag::Packet(number) => seen.entry(number).or_default().passed.push(catch),
            answer @ Tag::Answer(number, _) => {
                seen.entry(number).or_default().answers.push(answer);
            }
            reset @ Tag::Reset(from, to) => {
                if let Some(number) = ends.get(&(to, from)) {
                    seen.entry(*number).or_default().answers.push(reset);
                }
            }
            Tag::Noise => {}
        }
    }
    seen
}

/// Compares the answers to a packet that did not pass.
pub(crate) fn answers(shot: &Shot, fate: &Fate, seen: &[Tag]) -> Result<(), (Difference, String)> {
    let wrong = |what: &str| Err((Difference::Answer, what.to_owned()));
    match (fate, seen) {
        (Fate::Refused(_), []) if !is_answered(shot) => Ok(()),
        (Fate::Refused(_), []) => wrong("it was not answered"),
        (Fate::Refused(Refusal::Reset), [Tag::Reset(..)]) | (Fate::Gone, []) => Ok(()),
        (Fate::Refused(wanted), [Tag::Answer(_, got)]) if wanted == got => Ok(()),
        (Fate::Gone, _) => wrong("it was answered"),
        _ => wrong("it was answered in another way"),
    }
}

/// Compares a packet that passed with what it should be.
pub(crate) fn form(
    net: &Net,
    (sent, expected): (&Shot, &Shot),
    exit: Exit,
    mark: u32,
    seen: &Catch,
) -> Result<(), (Difference, String)> {
    let wrong = |what: &str| Err((Difference::Form, what.to_owned()));
    let by = seen.by.as_deref();
    let wanted = match exit {
        Exit::Here => None,
        Exit::Left(at) => net.interfaces.get(at).map(|i| &*i.name),
    };
    if by != wanted {
        return wrong("it passed elsewhere");
    }
    let mut expected = expected.clone();
    let arrived = net.is_own(sent.source.addr);
    if exit != Exit::Here && !arrived {
        expected.ttl = expected.ttl.saturating_sub(1);
    }
    let same = if expected.is_v6() && exit == Exit::Here {
        let addresses = |bytes: &[u8]| bytes.get(8..40).map(<[u8]>::to_vec);
        let whole = expected.bytes();
        addresses(&whole) == addresses(&seen.packet)
            && seen.packet.get(40..) == Some(&expected.transport())
    } else {
        seen.packet == expected.bytes()
    };
    if !same {
        return wrong("it is another packet");
    }
    if seen.mark != mark {
        return wrong("it has another mark");
    }
    Ok(())
}

/// The port, or identifier, of a packet's source as it was seen.
pub(crate) fn outer_port(shot: &Shot, seen: &Catch) -> Option<u16> {
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
