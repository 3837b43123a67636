//! What was seen of packets.

use std::collections::HashMap;

use polc_runtime_loader::lab::Taken;

use crate::answer::Answer;
use crate::pieces::Sighting;
use crate::shot::TCP;
use crate::tag::{Tag, tag};
use crate::traffic::Attempt;

/// The number of what answers no packet.
pub(crate) const STRAY: u16 = 0;

/// What became of packets that were sent together.
#[derive(Debug)]
pub(crate) struct Volley {
    pub(crate) caught: Vec<Sighting>,
    /// What the proxies' sockets got.
    pub(crate) taken: Vec<Taken>,
}

/// What was seen of a packet.
#[derive(Debug, Default)]
pub(crate) struct Seen<'c> {
    pub(crate) passed: Vec<&'c Sighting>,
    pub(crate) answers: Vec<Answer<'c>>,
}

/// What was seen, by the packet's number.
pub(crate) fn sort<'c>(attempts: &[Attempt], caught: &'c [Sighting]) -> HashMap<u16, Seen<'c>> {
    let mut seen: HashMap<u16, Seen<'c>> = HashMap::new();
    let connections = attempts.iter().filter(|a| a.shot.proto == TCP);
    let ends = connections.map(|a| ((a.shot.source, a.shot.dest), a.shot.number));
    let ends: HashMap<_, u16> = ends.collect();
    for sighting in caught {
        let catch = &sighting.caught;
        match tag(sighting) {
            Tag::Packet(number) => seen.entry(number).or_default().passed.push(sighting),
            tag @ Tag::Answer(number, _) => {
                let answers = &mut seen.entry(number).or_default().answers;
                answers.push(Answer { tag, catch });
            }
            tag @ Tag::Reset(from, to) => {
                let number = ends.get(&(to, from)).copied().unwrap_or(STRAY);
                let answers = &mut seen.entry(number).or_default().answers;
                answers.push(Answer { tag, catch });
            }
            Tag::Noise => {}
        }
    }
    seen
}
