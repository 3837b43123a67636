//! Both pipelines at once: pieces of the packet space, cut along the lines that decide them.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::fate::{Decider, Entry, Fate, Kind, differences};
use super::rates::Rates;
use super::script::{Act, Line, Pair, Views, of, of_mut};
use super::sight::{Frame, meeting};
use super::turn::Turn;
use crate::analyse::model::{Ending, Model, Phase};
use crate::interpret::{Fact, Outcome, RuleId};
use crate::ir::{Rule, Stage};
use crate::packet::cover::{Budget, OutOfBudget};
use crate::packet::{Region, remainder};

/// The most pieces of one region that are looked at at a time.
const MOST_PIECES: u64 = 500_000;

/// Packets whose fate changes.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) kind: Kind,
    pub(super) region: Region,
    pub(super) fates: [Fate; 2],
}

/// A piece before a phase.
struct Task {
    region: Region,
    fates: [Fate; 2],
    phase: usize,
}

/// The lines of a phase in some views.
type Known = ((Phase, Views), Rc<[Line]>);

/// The walk through a pair of policies.
pub(super) struct Walk<'w, 'm, 'a> {
    pub(super) pair: &'w Pair<'m, 'a>,
    /// The packets that a rule means which not both have, by phase; `None` when that is not known.
    pub(super) edits: Option<&'w BTreeMap<Phase, Vec<Region>>>,
    /// The names that rules of the second policy have in the first.
    pub(super) renamed: &'w BTreeMap<RuleId, String>,
    /// How many more comparisons of a piece with a line there may be.
    pub(super) budget: u64,
    pub(super) found: Vec<Found>,
    lines: Vec<Known>,
    tasks: Vec<Task>,
}

impl<'w, 'm, 'a> Walk<'w, 'm, 'a> {
    pub(super) fn new(
        pair: &'w Pair<'m, 'a>,
        edits: Option<&'w BTreeMap<Phase, Vec<Region>>>,
        renamed: &'w BTreeMap<RuleId, String>,
        budget: u64,
    ) -> Self {
        Self {
            pair,
            edits,
            renamed,
            budget,
            found: Vec::new(),
            lines: Vec::new(),
            tasks: Vec::new(),
        }
    }

    pub(super) fn model(&self, side: usize) -> &'m Model<'a> {
        let [first, second] = self.pair.models;
        if side == 0 { first } else { second }
    }

    fn spend(&mut self, steps: u64) -> Result<(), OutOfBudget> {
        self.budget = self.budget.checked_sub(steps).ok_or(OutOfBudget)?;
        Ok(())
    }

    /// Walks through both pipelines with the packets of a region.
    pub(super) fn run(&mut self, root: &Region) -> Result<(), OutOfBudget> {
        self.lines.clear();
        self.tasks = vec![Task {
            region: root.clone(),
            fates: [Fate::new(), Fate::new()],
            phase: 0,
        }];
        while let Some(task) = self.tasks.pop() {
            self.spend(1)?;
            self.task(task, root)?;
        }
        Ok(())
    }

    /// Whether a rule that not both have means packets of the region, in this phase or later.
    fn is_edited(&self, region: &Region, phase: usize) -> bool {
        let Some(edits) = self.edits else {
            return true;
        };
        let phases = Phase::ALL.iter().skip(phase);
        let mut regions = phases.filter_map(|p| edits.get(p)).flatten();
        regions.any(|edit| edit.intersects(region))
    }

    fn task(&mut self, task: Task, root: &Region) -> Result<(), OutOfBudget> {
        let Task {
            region,
            fates,
            phase: at,
        } = task;
        let refused = |f: &Fate| f.end.is_some_and(|end| end != Outcome::Allow);
        // Once filter has been asked, a packet that one of the two refuses is told by that alone.
        let told = at == Phase::ALL.len() - 1 && fates.iter().any(refused);
        let ended = told || fates.iter().all(|f| f.end.is_some());
        let Some(phase) = Phase::ALL.get(at).copied().filter(|_| !ended) else {
            return self.finish(&region, &fates);
        };
        let [a, b] = &fates;
        if a.in_step(b) && !self.is_edited(&region, at) {
            return Ok(());
        }
        let views = [0, 1].map(|side| self.sight(side, of(&fates, side), phase));
        let lines = self.lines(phase, views, root)?;
        self.spend(lines.len() as u64 / 8)?;
        let frame = Frame {
            live: meeting(&lines, 0..lines.len(), &region),
            region,
            fates,
            open: views.map(|v| v.is_some()),
            views,
            lines,
            added_at: None,
            next: 0,
        };
        self.phase(frame, at, phase, root)
    }

    pub(super) fn lines(
        &mut self,
        phase: Phase,
        views: Views,
        root: &Region,
    ) -> Result<Rc<[Line]>, OutOfBudget> {
        let key = (phase, views);
        if let Some((_, lines)) = self.lines.iter().find(|(k, _)| *k == key) {
            return Ok(Rc::clone(lines));
        }
        let lines: Rc<[Line]> = self.pair.lines(phase, views, root)?.into();
        self.lines.push((key, Rc::clone(&lines)));
        Ok(lines)
    }

    /// First match by first match.
    fn phase(
        &mut self,
        first: Frame,
        at: usize,
        phase: Phase,
        root: &Region,
    ) -> Result<(), OutOfBudget> {
        let mut frames = vec![first];
        while let Some(mut frame) = frames.pop() {
            self.look_again(&mut frame, phase, root)?;
            let lines = &Rc::clone(&frame.lines);
            let left = frame.live.get(frame.next..).unwrap_or_default();
            self.spend(1 + left.len() as u64 / 8)?;
            let [a, b] = &frame.fates;
            let alike = frame.open == [true, true] && a.in_step(b);
            if alike && !self.is_edited(&frame.region, at + 1) {
                // What both decide in the same way is of no interest.
                let head = left.iter().take_while(|i| is_dull(lines, **i)).count();
                let (head, tail) = left.split_at(head);
                if tail
                    .iter()
                    .all(|i| lines.get(*i).is_some_and(Line::is_common))
                {
                    continue;
                }
                if !head.is_empty() {
                    for region in self.without(&frame.region, lines, head)? {
                        frames.push(Frame {
                            live: meeting(lines, tail.iter().copied(), &region),
                            region,
                            fates: frame.fates.clone(),
                            open: frame.open,
                            views: frame.views,
                            lines: Rc::clone(lines),
                            added_at: frame.added_at,
                            next: 0,
                        });
                    }
                    continue;
                }
            }
            let Some((line, acts, region)) = next_line(lines, &mut frame) else {
                let fates = fall_through(frame.fates, frame.open, phase);
                self.tasks.push(Task {
                    region: frame.region,
                    fates,
                    phase: at + 1,
                });
                continue;
            };
            for outside in frame.region.difference(&region) {
                let left = frame.live.iter().skip(frame.next).copied();
                frames.push(Frame {
                    live: meeting(lines, left, &outside),
                    region: outside,
                    fates: frame.fates.clone(),
                    open: frame.open,
                    views: frame.views,
                    lines: Rc::clone(lines),
                    added_at: frame.added_at,
                    next: 0,
                });
            }
            let Some(inside) = frame.region.intersection(&region) else {
                continue;
            };
            self.take(line, acts, inside, &frame, (at, phase), &mut frames);
        }
        Ok(())
    }

    /// What some lines leave of a region, in whatever order they are asked.
    fn without(
        &mut self,
        region: &Region,
        lines: &[Line],
        some: &[usize],
    ) -> Result<Vec<Region>, OutOfBudget> {
        let taken = some.iter().filter_map(|i| lines.get(*i));
        let taken: Vec<&Region> = taken.flat_map(|l| l.regions.iter()).collect();
        let left = remainder(region, &taken, Budget::new(MOST_PIECES))?;
        self.spend(left.len() as u64)?;
        Ok(left)
    }

    /// A line takes a piece.
    fn take(
        &mut self,
        line: &Line,
        acts: [Option<Act>; 2],
        inside: Region,
        frame: &Frame,
        (at, phase): (usize, Phase),
        frames: &mut Vec<Frame>,
    ) {
        let both = line.is_common() && acts.iter().all(Option::is_some);
        let mut pieces = vec![(inside, frame.fates.clone(), frame.open)];
        for (side, act) in acts.into_iter().enumerate() {
            let Some(act) = act else { continue };
            let mut next = Vec::new();
            for (region, fates, open) in pieces {
                let own = of(&fates, side).clone();
                for (region, fate, decided) in self.act(side, act, phase, region, own, both) {
                    let (mut fates, mut open) = (fates.clone(), open);
                    *of_mut(&mut fates, side) = fate;
                    *of_mut(&mut open, side) &= !decided;
                    next.push((region, fates, open));
                }
            }
            pieces = next;
        }
        for (region, fates, open) in pieces {
            if open == [false, false] {
                self.tasks.push(Task {
                    region,
                    fates,
                    phase: at + 1,
                });
            } else {
                let grows = |(old, new): (&Fate, &Fate)| old.added.len() < new.added.len();
                let adds = frame.fates.iter().zip(&fates).any(grows);
                frames.push(Frame {
                    added_at: frame.added_at.or(adds.then_some(line.step)),
                    region,
                    fates,
                    open,
                    views: frame.views,
                    lines: Rc::clone(&frame.lines),
                    live: Rc::clone(&frame.live),
                    next: frame.next + 1,
                });
            }
        }
    }

    /// What a line does to a piece under one policy, and whether it decides. `both`: the other
    /// policy's does the same at the same time.
    fn act(
        &self,
        side: usize,
        act: Act,
        phase: Phase,
        region: Region,
        mut fate: Fate,
        both: bool,
    ) -> Vec<(Region, Fate, bool)> {
        match act {
            Act::Fact(fact, ending) => {
                pass_fact(&mut fate, fact, ending, phase);
                vec![(region, fate, true)]
            }
            Act::Rule(index) => {
                let stage = phase.stage().unwrap_or(Stage::Guard);
                let id = RuleId { stage, index };
                let Some(rule) = id.of(self.model(side).ir) else {
                    return vec![(region, fate, false)];
                };
                let rates = Rates {
                    model: self.model(side),
                    rule,
                };
                let mut out = Vec::new();
                for (region, mut fate, holds) in rates.ask(region, fate) {
                    if !holds {
                        out.push((region, fate, false));
                        continue;
                    }
                    self.effects(side, id, rule, &mut fate, both);
                    for (region, fate) in rates.log(region, fate) {
                        self.decide(side, id, rule, region, fate, &mut out);
                    }
                }
                out
            }
        }
    }

    /// A rule that holds decides, if it does.
    fn decide(
        &self,
        side: usize,
        id: RuleId,
        rule: &Rule,
        region: Region,
        fate: Fate,
        out: &mut Vec<(Region, Fate, bool)>,
    ) {
        let Some(verdict) = &rule.verdict else {
            out.push((region, fate, false));
            return;
        };
        let turn = Turn {
            model: self.model(side),
            id,
            rule,
        };
        let ends = turn.verdict(verdict, region, fate);
        out.extend(ends.into_iter().map(|(region, fate)| (region, fate, true)));
    }

    /// What a rule does besides deciding. An entry in the log that both policies write at the same
    /// time makes no difference.
    fn effects(&self, side: usize, id: RuleId, rule: &Rule, fate: &mut Fate, both: bool) {
        let model = self.model(side);
        let effects = &rule.effects;
        if let Some(mark) = effects.mark {
            fate.set_mark(mark, id.stage);
            fate.effects_by.push(id);
        }
        if let Some(set) = effects.add.and_then(|at| model.ir.dynamic.get(at)) {
            fate.added.push(model.space.dynamic_label(set));
            fate.effects_by.push(id);
        }
        if both && !model.counts(rule) {
            return;
        }
        if let Some(log) = &effects.log {
            let name = || {
                let known = self.renamed.get(&id).filter(|_| side == 1);
                known.cloned().unwrap_or_else(|| rule.name.to_string())
            };
            fate.logged.push(Entry {
                text: log.text.clone().unwrap_or_else(name),
                is_name: log.text.is_none(),
                at: log.at.and_then(|at| model.bucket(at)),
            });
            fate.effects_by.push(id);
        }
    }

    fn finish(&mut self, region: &Region, fates: &[Fate; 2]) -> Result<(), OutOfBudget> {
        let [a, b] = fates;
        let space = &self.pair.models[0].space;
        let parts = differences(space, region, a, b).map_err(|_| OutOfBudget)?;
        self.found
            .extend(parts.into_iter().map(|(kind, region)| Found {
                kind,
                region,
                fates: fates.clone(),
            }));
        Ok(())
    }
}

/// Whether a line decides in the same way in both.
fn is_dull(lines: &[Line], at: usize) -> bool {
    lines
        .get(at)
        .is_some_and(|line| line.is_common() && line.decides && !line.counts)
}

/// The first line that takes a part of the piece, for whom, and one of its regions. The frame is
/// left at that line.
fn next_line<'l>(
    lines: &'l [Line],
    frame: &mut Frame,
) -> Option<(&'l Line, [Option<Act>; 2], Region)> {
    while let Some(line) = frame.live.get(frame.next).and_then(|i| lines.get(*i)) {
        let [a, b] = line.acts;
        let acts = [a.filter(|_| frame.open[0]), b.filter(|_| frame.open[1])];
        let region = line.regions.iter().find(|r| r.intersects(&frame.region));
        if let (true, Some(region)) = (acts.iter().any(Option::is_some), region) {
            return Some((line, acts, region.clone()));
        }
        frame.next += 1;
    }
    None
}

/// No line decides.
fn fall_through(mut fates: [Fate; 2], open: [bool; 2], phase: Phase) -> [Fate; 2] {
    for (fate, open) in fates.iter_mut().zip(open) {
        if open && phase == Phase::Filter {
            fate.end = Some(Outcome::Deny);
            fate.by = Decider::Nobody;
        }
    }
    fates
}

fn pass_fact(fate: &mut Fate, fact: Option<Fact>, ending: Ending, phase: Phase) {
    let by = fact.map_or(Decider::Nobody, Decider::Fact);
    match ending {
        Ending::HandOn if phase == Phase::Filter => fate.by = by,
        Ending::HandOn => {}
        Ending::Untracked => fate.untracked = true,
        Ending::Pass => {
            fate.end = Some(Outcome::Allow);
            fate.by = by;
        }
        Ending::Drop => {
            fate.end = Some(Outcome::Deny);
            fate.by = by;
        }
    }
}
