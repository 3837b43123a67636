//! Packets that meet what a policy remembers.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use polc_compiler::interpret::{State, Tokens, judge};
use polc_compiler::ir::{BucketId, DynamicId, Ir};

use crate::predict::Oracle;
use crate::shot::{FIN, RST, Shot, has_ports};
use crate::table::Table;
use crate::traffic::{Attempt, Maker};

/// How many packets are looked at, how many of them are chosen, and how many of these for one thing.
const CANDIDATES: usize = 1500;
const MOST: usize = 6;
const FOR_ONE: u8 = 2;

/// Something that a policy remembers from packet to packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Memory {
    /// A bucket.
    Bucket(BucketId),
    /// A dynamic set.
    Set(DynamicId),
}

/// Whether something matters to a packet, as two pairs of machines tell that differ in nothing else: of the first
/// pair, all other buckets have tokens, of the second none has.
struct Question {
    about: Memory,
    pairs: [[State; 2]; 2],
}

impl Question {
    fn new(ir: &Ir, about: Memory, state: &State) -> Self {
        let machine = |others: bool, there: bool| {
            let tokens = (0..ir.buckets.len()).map(|id| {
                let its = if about == Memory::Bucket(id) {
                    there
                } else {
                    others
                };
                Tokens::from(its)
            });
            let members = match about {
                Memory::Set(set) => [false, true].map(|dest| ((set, dest), there)).into(),
                Memory::Bucket(_) => BTreeMap::new(),
            };
            let mut machine = State::oracle(tokens, members);
            for proxy in 0..ir.proxies.len() {
                machine.set_proxy(proxy, state.is_proxy_up(proxy));
            }
            machine
        };
        let pair = |others| [machine(others, false), machine(others, true)];
        Self {
            about,
            pairs: [pair(true), pair(false)],
        }
    }

    fn matters(&mut self, oracle: &Oracle<'_>, attempt: &Attempt) -> bool {
        let ir = oracle.ir;
        let mut packet = oracle.packet(attempt);
        packet.detour = oracle.detour(attempt, &packet, false);
        self.pairs.iter_mut().any(|[without, with]| {
            let one = judge(ir, &packet, without, oracle.now);
            let other = judge(ir, &packet, with, oracle.now);
            let adds = |set| {
                let mut held = one.held.iter().filter_map(|id| id.of(ir));
                held.any(|rule| rule.effects.add == Some(set))
            };
            one != other || matches!(self.about, Memory::Set(set) if adds(set))
        })
    }
}

/// Packets to which these things matter, or which fill these sets; each is to be sent many times, as the first of one
/// flow after the other.
pub(crate) fn cast(
    rng: &mut Rng,
    maker: &Maker<'_>,
    oracle: &Oracle<'_>,
    memories: &BTreeSet<Memory>,
) -> Vec<Attempt> {
    let ask = |about: &Memory| Question::new(oracle.ir, *about, &oracle.state);
    let mut questions: Vec<(Question, u8)> = memories.iter().map(|m| (ask(m), FOR_ONE)).collect();
    let mut chosen: Vec<Attempt> = Vec::new();
    for _ in 0..CANDIDATES {
        if chosen.len() >= MOST || questions.iter().all(|(_, wanted)| *wanted == 0) {
            break;
        }
        let Some(mut attempt) = maker.fresh(rng, 1).filter(|a| is_lasting(&a.shot)) else {
            continue;
        };
        attempt.shot.source.port = port(rng);
        if let Some(known) = rng.choice(&chosen)
            && known.shot.is_v6() == attempt.shot.is_v6()
            && rng.bool()
        {
            // Another packet between the same ends is asked about the same keys.
            attempt.shot.source.addr = known.shot.source.addr;
            attempt.shot.dest.addr = known.shot.dest.addr;
            attempt.way = known.way;
        }
        let mut is_new = false;
        for (question, wanted) in &mut questions {
            if *wanted > 0 && question.matters(oracle, &attempt) {
                *wanted -= 1;
                is_new = true;
            }
        }
        if is_new {
            chosen.push(attempt);
        }
    }
    chosen
}

/// Whether a packet can be the first of many flows between the same ends, none of which it ends.
fn is_lasting(shot: &Shot) -> bool {
    has_ports(shot.proto) && shot.flags & (FIN | RST) == 0
}

/// Each of the packets so many times, in any order.
pub(crate) fn salvo(rng: &mut Rng, table: &Table, cast: &[Attempt], times: usize) -> Vec<Attempt> {
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut pairs = BTreeSet::new();
    for role in cast
        .iter()
        .flat_map(|role| std::iter::repeat_n(role, times))
    {
        let mut shot = role.shot.clone();
        shot.source.port = port(rng);
        if table.is_free(shot.pair()) && pairs.insert(shot.pair()) {
            attempts.push(Attempt {
                shot,
                ..role.clone()
            });
        }
    }
    rng.shuffle(&mut attempts);
    for (number, attempt) in (1..).zip(&mut attempts) {
        attempt.shot.number = number;
    }
    attempts
}

/// A source port of which hardly a policy speaks.
fn port(rng: &mut Rng) -> u16 {
    rng.u16(10_000..60_000)
}
