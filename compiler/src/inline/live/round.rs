//! Which plays can share a machine.
//!
//! Each step begins with nothing in memory, and a machine that has just begun is dear. So a play
//! takes place on a machine that remembers others where the interpreter, told of all that the machine
//! has seen, judges its packets exactly as on a machine that has just begun.

use super::super::{Bench, NOON};
use super::{Play, Shot};
use crate::field::{DPORT, SPORT};
use crate::interpret::{Outcome, State, Steered, judge};

/// A machine, and what it has seen.
struct Machine<'p> {
    plays: Vec<usize>,
    state: State,
    seen: Vec<&'p Shot>,
}

impl Bench<'_> {
    /// The plays, by number, of each machine that is needed, in the order in which they take place.
    pub fn rounds(&self, plays: &[&Play]) -> Vec<Vec<usize>> {
        let mut machines: Vec<Machine<'_>> = Vec::new();
        for (number, play) in plays.iter().enumerate() {
            let fits = |m: &Machine<'_>| self.joins(play, m);
            let found = machines
                .iter()
                .enumerate()
                .find_map(|(index, m)| Some((index, fits(m)?)));
            if let Some((index, state)) = found
                && let Some(machine) = machines.get_mut(index)
            {
                machine.plays.push(number);
                machine.state = state;
                machine.seen.extend(play.shots());
                continue;
            }
            let empty = Machine {
                plays: vec![number],
                state: self.empty.clone(),
                seen: Vec::new(),
            };
            machines.push(Machine {
                state: self
                    .joins(play, &empty)
                    .unwrap_or_else(|| self.empty.clone()),
                seen: play.shots().collect(),
                ..empty
            });
        }
        machines.into_iter().map(|m| m.plays).collect()
    }

    /// The memory of a machine after a play, if the play is judged there as it is elsewhere.
    fn joins(&self, play: &Play, machine: &Machine<'_>) -> Option<State> {
        let mut state = machine.state.clone();
        for shot in play.shots() {
            if machine
                .seen
                .iter()
                .any(|s| s.is_remembered() && same_ends(s, shot))
            {
                return None;
            }
            let decision = judge(self.ir, &shot.packet, &mut state, NOON + shot.after);
            if decision != shot.decision {
                return None;
            }
        }
        Some(state)
    }
}

impl Shot {
    /// Whether the kernel may know its flow from then on: it was let through, or sent elsewhere
    /// before it was not.
    fn is_remembered(&self) -> bool {
        let steered = !matches!(self.decision.steered, None | Some(Steered::Direct));
        self.decision.outcome == Outcome::Allow || steered
    }
}

/// Whether two packets have the same protocol and ends, and so can be taken for one flow.
fn same_ends(one: &Shot, other: &Shot) -> bool {
    let ends = |s: &Shot| {
        let packet = &s.packet;
        [
            (packet.saddr, packet.field(SPORT)),
            (packet.daddr, packet.field(DPORT)),
        ]
    };
    let [source, dest] = ends(other);
    one.packet.proto == other.packet.proto
        && (ends(one) == [source, dest] || ends(one) == [dest, source])
}
