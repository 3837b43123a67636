//! Which plays can share a machine.
//!
//! Each step begins with nothing in memory, and a machine that has just begun is dear. So a play
//! takes place on a machine that remembers others where the interpreter, told of all that the machine
//! has seen, judges its packets exactly as on a machine that has just begun.

use super::super::{Bench, NOON};
use super::Play;
use super::unplayable::same_ends;
use crate::interpret::{Packet, State, judge};

/// A machine, and what it has seen.
struct Machine<'p> {
    plays: Vec<usize>,
    state: State,
    seen: Vec<&'p Packet>,
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
            let packets = play
                .volleys
                .iter()
                .flat_map(|v| &v.shots)
                .map(|s| &s.packet);
            if let Some((index, state)) = found
                && let Some(machine) = machines.get_mut(index)
            {
                machine.plays.push(number);
                machine.state = state;
                machine.seen.extend(packets);
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
                seen: packets.collect(),
                ..empty
            });
        }
        machines.into_iter().map(|m| m.plays).collect()
    }

    /// The memory of a machine after a play, if the play is judged there as it is elsewhere.
    fn joins(&self, play: &Play, machine: &Machine<'_>) -> Option<State> {
        let mut state = machine.state.clone();
        for shot in play.volleys.iter().flat_map(|v| &v.shots) {
            if machine.seen.iter().any(|p| same_ends(p, &shot.packet)) {
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
