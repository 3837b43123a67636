//! Putting packets to the interpreter.

use std::net::IpAddr;
use std::sync::Arc;

use super::flow::{Choice, with_source_port};
use super::{Bench, Case, NOON};
use crate::interpret::{Decision, Outcome, Packet, Place, State, Steered, judge, judge_related};
use crate::ir::{Atom, Ir, Verdict};

/// A packet and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The packet.
    pub packet: Packet,
    /// What became of it.
    pub decision: Decision,
    /// Whether it is the packet that was asked about; `false` when that is a reply and this the
    /// packet that should have opened its flow, and was refused.
    pub asked: bool,
    /// The interfaces that the test leaves open, and what was taken.
    pub chosen: Chosen,
}

/// Interfaces that were chosen, one of each class.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chosen {
    /// Where it comes in.
    pub input: Option<Arc<str>>,
    /// Where its own destination leads.
    pub output: Option<Arc<str>>,
    /// Where steer's target or routing table leads.
    pub detour: Option<Arc<str>>,
}

/// A packet that has been judged, and the memory after it.
struct Way {
    packet: Packet,
    decision: Decision,
    state: State,
    detour: Option<Arc<str>>,
}

impl Bench<'_> {
    /// What becomes of a case's packet: one answer for each way that steer's decision can lead.
    pub fn judge(&self, case: &Case) -> Vec<Judged> {
        let Some(opening) = &case.opening else {
            let ways = self.ways(&case.packet, &self.empty, NOON);
            return ways.into_iter().map(|w| w.judged(case, true)).collect();
        };
        let mut all = Vec::new();
        for opened in self.ways(opening, &self.empty, NOON) {
            if opened.decision.outcome == Outcome::Allow {
                let ways = self.ways(&case.packet, &opened.state, NOON);
                all.extend(ways.into_iter().map(|w| w.judged(case, true)));
            } else {
                all.push(opened.judged(case, false));
            }
        }
        all
    }

    /// What becomes of `count` flows in `within` milliseconds, each from a port of its own: the first
    /// at the beginning, the last at the end. `pick` chooses among the ways that steer's decisions can lead; the second result is how many there
    /// are.
    pub(super) fn send(
        &self,
        case: &Case,
        (count, within): (u16, u64),
        pick: usize,
    ) -> (Vec<Judged>, usize) {
        let last = u64::from(count).saturating_sub(1).max(1);
        let mut state = self.empty.clone();
        let mut all = Vec::new();
        let mut widest = 1;
        for (number, port) in (0..u64::from(count)).zip(ports()) {
            let now = NOON + number.saturating_mul(within) / last;
            let packet = with_source_port(&case.packet, port);
            let places = self.detours(&packet, &state, now);
            widest = widest.max(places.len());
            let place = places.get(pick).or(places.first()).cloned();
            let (packet, detour) = detoured(packet, place);
            let decision = judge(self.ir, &packet, &mut state, now);
            all.push(judged(packet, decision, detour, case, true));
        }
        (all, widest)
    }

    /// What becomes of a packet after others. Of several ways that steer's decision can lead, the
    /// first is taken. `quoted` is the packet that an ICMP error is about.
    pub fn next(
        &self,
        packet: Packet,
        quoted: Option<&Packet>,
        state: &mut State,
        now: u64,
    ) -> (Packet, Decision) {
        let place = self.detours(&packet, state, now).into_iter().next();
        let (packet, _) = detoured(packet, place);
        let decision = match quoted {
            Some(quoted) => judge_related(self.ir, &packet, quoted, state, now),
            None => judge(self.ir, &packet, state, now),
        };
        (packet, decision)
    }

    /// The memory before any packet.
    pub fn fresh(&self) -> State {
        self.empty.clone()
    }

    /// The interface by which packets to `addr` leave; `None` when the policy does not say.
    pub fn way_out(&self, addr: IpAddr) -> Option<Place> {
        match self.routes(addr).as_slice() {
            [(place, None)] => Some(place.clone()),
            _ => None,
        }
    }

    /// An interface that the policy does not name, where there is one.
    pub fn unnamed(&self) -> Place {
        let last = self.egress.all().pop();
        last.map_or(Place::Host, Place::Iface)
    }

    fn ways(&self, packet: &Packet, before: &State, now: u64) -> Vec<Way> {
        let once = |choice: Choice| {
            let (packet, detour) = detoured(packet.clone(), Some(choice));
            let mut state = before.clone();
            let decision = judge(self.ir, &packet, &mut state, now);
            Way {
                packet,
                decision,
                state,
                detour,
            }
        };
        let places = self.detours(packet, before, now);
        places.into_iter().map(once).collect()
    }

    /// Where a packet may go once it has been steered: at least one place.
    pub(super) fn detours(&self, packet: &Packet, before: &State, now: u64) -> Vec<Choice> {
        let own = vec![(packet.egress.clone(), None)];
        if self.ir.steer.is_empty() {
            return own;
        }
        // Without memory, steer decides as it does of the first packet.
        let before = if self.remembers { before } else { &self.empty };
        let decision = judge(self.ir, packet, &mut before.clone(), now);
        match decision.steered {
            Some(Steered::Dnat { addr, .. }) if !addr.is_loopback() => self.routes(addr),
            Some(Steered::Route { .. }) => self.anywhere(),
            Some(Steered::Redirect { .. } | Steered::Proxy(_) | Steered::Dnat { .. }) => {
                vec![(Place::Host, None)]
            }
            Some(Steered::Direct) | None => own,
        }
    }
}

pub(super) fn detoured(packet: Packet, choice: Option<Choice>) -> (Packet, Option<Arc<str>>) {
    let Some((detour, chosen)) = choice else {
        return (packet, None);
    };
    (Packet { detour, ..packet }, chosen)
}

/// Whether what came before can change what steer does.
pub(super) fn remembers(ir: &Ir) -> bool {
    let dynamic = |a: &Atom| matches!(a, Atom::Dynamic { .. });
    ir.steer.iter().any(|rule| {
        let balanced = matches!(&rule.verdict, Some(Verdict::Dnat(nat)) if nat.balance.is_some());
        let asks = rule.cubes.iter().any(|c| c.atoms.keys().any(dynamic));
        balanced || asks || !rule.limits.is_empty()
    })
}

/// The source ports of flows that are sent: ephemeral ones first.
pub(super) fn ports() -> impl Iterator<Item = u16> {
    (49_152..=u16::MAX).chain(1024..49_152)
}

/// The most flows that one step can send: one for each source port.
pub(super) const MOST_FLOWS: u16 = u16::MAX - 1023;

fn judged(
    packet: Packet,
    decision: Decision,
    detour: Option<Arc<str>>,
    case: &Case,
    asked: bool,
) -> Judged {
    Judged {
        packet,
        decision,
        asked,
        chosen: Chosen {
            input: case.chosen_in.clone(),
            output: case.chosen_out.clone(),
            detour,
        },
    }
}

impl Way {
    fn judged(self, case: &Case, asked: bool) -> Judged {
        judged(self.packet, self.decision, self.detour, case, asked)
    }
}
