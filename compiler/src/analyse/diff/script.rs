//! The two lists of a phase as one, cut down to what can matter for some packets.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;

use super::align::{Alignment, Step};
use crate::analyse::model::{Asks, Ending, Extent, FactLine, Memory, Model, Outline, Phase, View};
use crate::interpret::{Fact, RuleId};
use crate::ir::Stage;
use crate::packet::Region;
use crate::packet::cover::OutOfBudget;

/// The fewest rules that are worth another processor.
const AT_LEAST: usize = 512;

/// What a line does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// What the rule with this index says.
    Rule(usize),
    /// What the language says.
    Fact(Option<Fact>, Ending),
}

/// A line of either policy, or one that both have.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// What it does in the first and in the second.
    pub(super) acts: [Option<Act>; 2],
    /// Whether it decides, and does not only log, mark or add.
    pub(super) decides: bool,
    /// Whether it is asked how many tokens a packet has taken before: the rule's rates are no part of
    /// its regions.
    pub(super) counts: bool,
    /// Its place among the lines of the phase: that of all lists of the phase.
    pub(super) step: usize,
    /// The packets that it means.
    pub(super) regions: Arc<[Region]>,
}

impl Line {
    pub(super) fn is_common(&self) -> bool {
        matches!(self.acts, [Some(_), Some(_)])
    }
}

/// One of a pair: the first policy's, or the second's.
pub(super) fn of<T>(pair: &[T; 2], side: usize) -> &T {
    let [first, second] = pair;
    if side == 0 { first } else { second }
}

/// As [`of`], to change it.
pub(super) fn of_mut<T>(pair: &mut [T; 2], side: usize) -> &mut T {
    let [first, second] = pair;
    if side == 0 { first } else { second }
}

/// Which rules are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    /// Those that only one of the policies has.
    Lone,
}

/// How a policy sees a packet in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) view: View,
    /// What rules have left, as far as the phase asks.
    pub(super) memory: Memory,
}

/// How both policies see it; `None` of one that is not asked.
pub(super) type Views = [Option<Sight>; 2];

/// Two policies, side by side.
pub(super) struct Pair<'m, 'a> {
    pub(super) models: [&'m Model<'a>; 2],
    pub(super) alignment: &'m Alignment<'a>,
    stages: BTreeMap<Stage, Asked>,
}

/// What is known of the rules of a stage before they are asked.
#[derive(Default)]
struct Asked {
    /// For each step, what its rule may mean.
    outlines: Vec<Outline>,
    /// What all of them ask of what earlier ones have left.
    asks: Asks,
}

impl<'m, 'a> Pair<'m, 'a> {
    pub(super) fn new(models: [&'m Model<'a>; 2], alignment: &'m Alignment<'a>) -> Self {
        let stages = alignment.steps.iter().map(|(stage, steps)| {
            // A rule that both have asks the same in both.
            let rule = |step: &Step| {
                let sides = models.iter().zip(step.rules);
                let mut rules = sides.filter_map(|(model, index)| {
                    let rule = model.ir.stage(*stage).get(index?)?;
                    Some((Outline::of(rule), model.asks_of(rule)))
                });
                rules.next().unwrap_or_default()
            };
            let each: Vec<(Outline, Asks)> = steps.par_iter().map(rule).collect();
            let asks = each.iter().map(|(_, asks)| *asks);
            let asks = asks.fold(Asks::default(), Asks::or);
            let outlines = each.into_iter().map(|(outline, _)| outline).collect();
            (*stage, Asked { outlines, asks })
        });
        Self {
            models,
            alignment,
            stages: stages.collect(),
        }
    }
}

impl Pair<'_, '_> {
    /// What the rules of either policy ask of what earlier ones have left.
    pub(super) fn asks(&self, phase: Phase) -> Asks {
        let asked = phase.stage().and_then(|stage| self.stages.get(&stage));
        asked.map_or(Asks::default(), |asked| asked.asks)
    }

    /// The lines of a phase that mean packets of `hull`, in an order that is right for both.
    pub(super) fn lines(
        &self,
        phase: Phase,
        views: Views,
        hull: &Region,
    ) -> Result<Vec<Line>, OutOfBudget> {
        self.select(phase, views, hull, Which::All)
    }

    /// As [`Pair::lines`], without those that both policies have.
    pub(super) fn lone_lines(
        &self,
        phase: Phase,
        views: Views,
        hull: &Region,
    ) -> Result<Vec<Line>, OutOfBudget> {
        let mut out = self.select(phase, views, hull, Which::Lone)?;
        out.retain(|line| !line.is_common());
        Ok(out)
    }

    fn select(
        &self,
        phase: Phase,
        views: Views,
        hull: &Region,
        which: Which,
    ) -> Result<Vec<Line>, OutOfBudget> {
        let mut out = Vec::new();
        let facts = [0, 1].map(|side| self.facts(side, phase, views, true));
        merge_facts(facts, hull, 0, &mut out);
        self.rules(phase, views, hull, which, &mut out)?;
        let facts = [0, 1].map(|side| self.facts(side, phase, views, false));
        merge_facts(facts, hull, usize::MAX, &mut out);
        Ok(out)
    }

    fn facts(&self, side: usize, phase: Phase, views: Views, before: bool) -> Vec<FactLine> {
        let (Some(model), Some(Some(view))) = (self.models.get(side), views.get(side)) else {
            return Vec::new();
        };
        if before {
            model.facts_before(phase, view.view)
        } else {
            model.facts_behind(phase)
        }
    }

    fn rules(
        &self,
        phase: Phase,
        views: Views,
        hull: &Region,
        which: Which,
        out: &mut Vec<Line>,
    ) -> Result<(), OutOfBudget> {
        let Some(stage) = phase.stage() else {
            return Ok(());
        };
        let steps = self
            .alignment
            .steps
            .get(&stage)
            .map_or(&[][..], Vec::as_slice);
        let outlines = self.stages.get(&stage).map(|asked| &*asked.outlines);
        let extents = views.map(|sight| Some(Extent::of(&self.models[0].space, hull, sight?.view)));
        let may_mean = |at: usize, side: usize| {
            let outline = outlines.and_then(|outlines| outlines.get(at));
            let pair = outline.zip(of(&extents, side).as_ref());
            pair.is_none_or(|(outline, extent)| outline.may_meet(extent))
        };
        let line = |at: usize, acts: [Option<Act>; 2]| {
            let side = usize::from(acts[0].is_none());
            let (Some(Act::Rule(index)), true) = (*of(&acts, side), may_mean(at, side)) else {
                return Ok(None);
            };
            let (model, sight) = (*of(&self.models, side), *of(&views, side));
            let rule = model.ir.stage(stage).get(index);
            let (Some(Sight { view, memory }), Some(rule)) = (sight, rule) else {
                return Ok(None);
            };
            let mut regions = Vec::new();
            model.rule_within(RuleId { stage, index }, view, memory, hull, &mut regions)?;
            Ok((!regions.is_empty()).then(|| Line {
                acts,
                decides: rule.verdict.is_some(),
                counts: model.counts(rule),
                step: at + 1,
                regions: regions.into(),
            }))
        };
        let wanted = |step: &Step| which == Which::All || !step.is_common();
        let steps = steps.par_iter().enumerate().with_min_len(AT_LEAST);
        let found = steps.filter(|(_, step)| wanted(step)).map(|(at, step)| {
            let acts = step.rules.map(|rule| rule.map(Act::Rule));
            let [a, b] = acts;
            if step.is_common() && views[0] == views[1] {
                Ok([line(at, acts)?, None])
            } else {
                Ok([line(at, [a, None])?, line(at, [None, b])?])
            }
        });
        let found = found.filter(|lines| !matches!(lines, Ok([None, None])));
        let found: Vec<[Option<Line>; 2]> = found.collect::<Result<_, OutOfBudget>>()?;
        out.extend(found.into_iter().flatten().flatten());
        Ok(())
    }
}

/// Adds the facts of both, in the one order that all facts have.
fn merge_facts(facts: [Vec<FactLine>; 2], hull: &Region, step: usize, out: &mut Vec<Line>) {
    let [left, right] = facts;
    let mut right = right.into_iter().peekable();
    let mut add = |acts, line: FactLine| {
        let regions: Arc<[Region]> = line
            .regions
            .iter()
            .filter_map(|r| r.intersection(hull))
            .collect();
        if !regions.is_empty() {
            out.push(Line {
                acts,
                decides: true,
                counts: false,
                step,
                regions,
            });
        }
    };
    let act = |line: &FactLine| Some(Act::Fact(line.fact, line.ending));
    let known = right.clone().collect::<Vec<_>>();
    for line in left {
        if known.contains(&line) {
            while let Some(other) = right.next_if(|other| *other != line) {
                add([None, act(&other)], other);
            }
            right.next();
            add([act(&line), act(&line)], line);
        } else {
            add([act(&line), None], line);
        }
    }
    for line in right {
        add([None, act(&line)], line);
    }
}
