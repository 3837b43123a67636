//! The lines of a stage that decide, and what can follow each of steer's.

use super::class::Class;
use crate::analyse::model::{Model, Moved, Source, View};
use crate::interpret::Fact;
use crate::ir::{Nat, Rule, Verdict};
use crate::packet::Region;
use crate::packet::cover::OutOfBudget;

/// A line that decides.
pub(super) struct Decider {
    pub(super) source: Source,
    /// `None` for a fact of the language.
    pub(super) verdict: Option<Verdict>,
    admit: bool,
    pub(super) regions: Vec<Region>,
}

/// The lines of a stage that decide, in order.
pub(super) struct List {
    pub(super) lines: Vec<Decider>,
}

impl List {
    pub(super) fn of(model: &Model, view: View) -> Result<Self, OutOfBudget> {
        let lines = model.lines(view)?.into_iter().filter_map(|line| {
            let rule: Option<&Rule> = line.rule().and_then(|id| id.of(model.ir));
            let decides = rule.is_none_or(|r| r.verdict.is_some());
            decides.then(|| Decider {
                source: line.source,
                verdict: rule.and_then(|r| r.verdict.clone()),
                admit: rule.is_some_and(|r| r.admit),
                regions: line.regions,
            })
        });
        Ok(Self {
            lines: lines.collect(),
        })
    }

    /// The regions of the first `count` lines.
    pub(super) fn before(&self, count: usize) -> impl Iterator<Item = &Region> {
        self.lines.iter().take(count).flat_map(|l| &l.regions)
    }

    /// What can follow from each line of steer, and from none. A packet that is not tracked has no
    /// flow whose addresses could be rewritten, nor one that could be admitted.
    pub(super) fn turns(&self, model: &Model, untracked: bool) -> Vec<Turn> {
        let mut turns = Vec::new();
        for (at, line) in self.lines.iter().enumerate() {
            match (&line.verdict, untracked) {
                (Some(Verdict::Dnat(nat)), false) => line.targets(at, nat, model, &mut turns),
                _ => turns.push(line.turn(at, untracked)),
            }
        }
        turns.push(Turn {
            leaves: !untracked,
            ..Turn::new(None, Some(Class::Direct))
        });
        turns
    }
}

/// What steer does to packets: a line, and one of its targets.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    /// The index of the line; `None` when no line decides.
    pub(super) line: Option<usize>,
    /// The outcome if they are admitted; `None` when steer refuses them.
    pub(super) steered: Option<Class>,
    /// What it does to their destination.
    pub(super) moved: Moved,
    /// How filter and egress see them.
    pub(super) seen: Moved,
    /// The choice that falls on this target, and the target's number.
    pub(super) choice: Option<(usize, u128)>,
    /// Whether filter is skipped.
    pub(super) admits: bool,
    /// Whether egress is asked.
    pub(super) leaves: bool,
}

impl Turn {
    fn new(line: Option<usize>, steered: Option<Class>) -> Self {
        Self {
            line,
            steered,
            moved: Moved::No,
            seen: Moved::No,
            choice: None,
            admits: false,
            leaves: true,
        }
    }

    fn moving(self, moved: Moved) -> Self {
        Self {
            moved,
            seen: moved,
            ..self
        }
    }
}

impl Decider {
    /// What follows from a line that sends packets to no other address.
    fn turn(&self, at: usize, untracked: bool) -> Turn {
        let turn = |class| Turn {
            admits: self.admit && !untracked,
            leaves: !untracked,
            ..Turn::new(Some(at), Some(class))
        };
        let here = |class| Turn {
            admits: !untracked,
            leaves: false,
            seen: Moved::Here,
            ..turn(class)
        };
        match &self.verdict {
            None if self.source == Source::Fact(Fact::UnconditionalIcmp) => Turn {
                admits: true,
                leaves: false,
                ..turn(Class::Direct)
            },
            None | Some(Verdict::Deny | Verdict::Reject(_)) => Turn::new(Some(at), None),
            Some(Verdict::Redirect { .. }) if !untracked => here(Class::Redirect),
            Some(Verdict::Proxy(_)) => here(Class::Proxy),
            Some(Verdict::Route { .. }) => turn(Class::Route).moving(Moved::Routed),
            Some(_) => turn(Class::Direct),
        }
    }

    /// What follows from each target of a line.
    fn targets(&self, at: usize, nat: &Nat, model: &Model, out: &mut Vec<Turn>) {
        for targets in [&nat.v4, &nat.v6] {
            let choice = model.space.choices.iter().position(|c| c == targets);
            for (number, target) in (0..).zip(targets) {
                let turn = Turn::new(Some(at), Some(Class::Dnat)).moving(Moved::To(*target));
                out.push(Turn {
                    choice: choice.map(|c| (c, number)),
                    admits: self.admit,
                    ..turn
                });
            }
        }
    }
}
