//! The lines of a stage that decide, and what can follow each of steer's.

use super::class::Class;
use crate::analyse::model::{Model, Moved, Source, View};
use crate::interpret::Fact;
use crate::ir::{Cube, Rule, Stage, Verdict};
use crate::packet::Region;
use crate::packet::cover::OutOfBudget;

/// A line that decides.
pub(super) struct Decider {
    pub(super) source: Source,
    /// `None` for a fact of the language, which hands on, leaves alone and admits.
    pub(super) verdict: Option<Verdict>,
    admit: bool,
    pub(super) regions: Vec<Region>,
}

impl Decider {
    /// Whether guard hands on what the line takes, untracked or not.
    pub(super) fn hands_on(&self, untracked: bool) -> bool {
        match self.verdict {
            None | Some(Verdict::Allow) => !untracked,
            Some(Verdict::Notrack) => untracked,
            _ => false,
        }
    }
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

    /// What can follow from each line of steer, and from none.
    pub(super) fn turns(&self, model: &Model) -> Vec<Turn> {
        let mut turns = Vec::new();
        for (at, line) in self.lines.iter().enumerate() {
            line.turns(at, model, &mut turns);
        }
        turns.push(Turn::new(None, Some(Class::Direct), Moved::No, false));
        turns
    }
}

/// What steer does to packets: a line, and one of its targets.
#[derive(Clone, Debug)]
pub struct Turn {
    /// The index of the line; `None` when no line decides.
    pub(super) line: Option<usize>,
    /// The outcome if they are admitted; `None` when steer refuses them.
    pub(super) steered: Option<Class>,
    /// How the stages behind see them.
    pub(super) moved: Moved,
    /// The choice that falls on this target, and the target's number.
    pub(super) choice: Option<(usize, u128)>,
    /// Whether filter is skipped.
    pub(super) admits: bool,
}

impl Turn {
    fn new(line: Option<usize>, steered: Option<Class>, moved: Moved, admits: bool) -> Self {
        Self {
            line,
            steered,
            moved,
            choice: None,
            admits,
        }
    }
}

impl Decider {
    fn turns(&self, at: usize, model: &Model, out: &mut Vec<Turn>) {
        let turn = |class, moved, admits| Turn::new(Some(at), class, moved, admits);
        match &self.verdict {
            Some(Verdict::Deny | Verdict::Reject(_)) => out.push(turn(None, Moved::No, true)),
            Some(Verdict::Redirect { .. }) => {
                out.push(turn(Some(Class::Redirect), Moved::No, true));
            }
            Some(Verdict::Proxy(_)) => out.push(turn(Some(Class::Proxy), Moved::No, true)),
            Some(Verdict::Route { .. }) => {
                out.push(turn(Some(Class::Route), Moved::Routed, self.admit));
            }
            Some(Verdict::Dnat(nat)) => {
                for targets in [&nat.v4, &nat.v6] {
                    let choices = &model.space.choices;
                    let choice = choices.iter().position(|c| c == targets);
                    for (number, target) in (0..).zip(targets) {
                        let moved = Moved::To(*target);
                        out.push(Turn {
                            choice: choice.map(|c| (c, number)),
                            ..turn(Some(Class::Dnat), moved, self.admit)
                        });
                    }
                }
            }
            _ => out.push(turn(Some(Class::Direct), Moved::No, self.admit)),
        }
    }
}

/// Which packets a search is about, by what the flow lookup finds of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Those that can open a flow.
    Can,
    /// All.
    Any,
}

impl Opening {
    /// The packets that a search is not about.
    pub(super) fn excluded(self, model: &Model, moved: Moved, untracked: bool) -> Vec<Region> {
        if self == Self::Any || untracked {
            return Vec::new();
        }
        let view = View {
            stage: Stage::Guard,
            moved,
            untracked,
        };
        let _: (Vec<Cube>, Fact) = (Vec::new(), Fact::Invalid);
        model.regions(&[], view)
    }
}
