//! Which rules let flows in, and through: from the world, from its interfaces, from anywhere.

use std::sync::{Arc, PoisonError};

use super::Context;
use super::context::Asked;
use super::index::Lines;
use super::words::words;
use super::world::{Way, chosen, filter_view, moves};
use crate::analyse::model::{Dim, Line, Model, Moved};
use crate::analyse::reach::Status;
use crate::interpret::RuleId;
use crate::ir::{Cube, Stage, Verdict};
use crate::packet::cover::{Budget, Cover, OutOfBudget, cover};
use crate::packet::{Region, Values};

/// The most pieces that one question looks at.
const PIECES: u64 = 3_000;

/// How many questions are kept with what they are about.
const QUESTIONS: usize = 32;

/// Where flows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The world: its interfaces, and addresses there, if many can have them.
    World,
    /// The interfaces of the world, whatever the addresses.
    Interfaces,
    /// Anywhere: this host, too.
    Anywhere,
}

/// Flows that are asked about.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// Where they come from.
    pub origin: Origin,
    /// What they are, as filter would see them, as alternatives.
    pub asked: &'q [Cube],
    /// Whether no bucket has a token for them. If not, buckets may have some or none.
    pub empty: bool,
}

/// Flows from the world that a rule lets in.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Some of them.
    pub region: Region,
    /// One of them in words, as a test would have it.
    pub example: String,
}

impl Context<'_> {
    /// Flows from the world that a rule of filter allows, or that a rule of steer admits, and
    /// that are among those that `asked` means, as filter would see them; `None` when there are
    /// none, or nothing is known.
    pub fn allowed_from_world(&self, id: RuleId, asked: &Cube) -> Option<Opening> {
        let allows = match (id.stage, id.of(self.ir)?.verdict.as_ref()?) {
            (Stage::Filter, verdict) => matches!(verdict, Verdict::Allow),
            _ => true,
        };
        let question = Question {
            origin: Origin::World,
            asked: std::slice::from_ref(asked),
            empty: false,
        };
        allows.then(|| self.decided(id, question).ok()?).flatten()
    }

    /// Flows that a rule of filter decides, or that a rule of steer admits, and that a question is
    /// about; `None` when there are none.
    pub fn decided(&self, id: RuleId, question: Question) -> Result<Option<Opening>, OutOfBudget> {
        let (world, model) = (self.world(), self.model());
        let (Some(rule), Some(steer)) = (id.of(self.ir), &world.steer) else {
            return Err(OutOfBudget);
        };
        if self.is_dead(id) {
            return Ok(None);
        }
        match (id.stage, &rule.verdict) {
            (Stage::Filter, Some(_)) => first(&world.ways, |way| {
                self.through_filter(way, id.index, question)
            }),
            (Stage::Steer, Some(verdict)) if rule.admit || is_local(verdict) => {
                first(&moves(model, verdict), |way| {
                    self.through_steer(steer, id.index, way, question)
                })
            }
            _ => Ok(None),
        }
    }

    /// Whether it is known that a rule decides nothing.
    fn is_dead(&self, id: RuleId) -> bool {
        let reach = self.reach().rule(id);
        reach.is_some_and(|r| !matches!(r.status, Status::Reached | Status::Unknown))
    }

    fn through_steer(
        &self,
        steer: &Lines,
        index: usize,
        (moved, choice): &(Moved, Option<(Dim, u128)>),
        question: Question,
    ) -> Result<Option<Opening>, OutOfBudget> {
        let model = self.model();
        let Some((at, line)) = steer.line(index) else {
            return Ok(None);
        };
        let regions = line.regions.iter().filter(|r| self.may_ask(question, r));
        let regions = regions.filter_map(|r| chosen(model, r, choice.as_ref()));
        let asked = self.asked(question, *moved);
        let targets = regions.flat_map(|r| meets(&r, &asked));
        let closed = model.impossible(*moved);
        let id = RuleId {
            stage: Stage::Steer,
            index,
        };
        self.opening(
            id,
            question.origin,
            &targets.collect::<Vec<_>>(),
            |target| {
                let earlier = steer.earlier(at, target).into_iter().map(|(_, r)| r);
                earlier.chain(&closed).collect()
            },
        )
    }

    fn through_filter(
        &self,
        way: &Way,
        index: usize,
        question: Question,
    ) -> Result<Option<Opening>, OutOfBudget> {
        let Some((at, line)) = way.lines.line(index) else {
            return Ok(None);
        };
        let mut regions = line.regions.iter().filter(|r| self.may_ask(question, r));
        let Some(first) = regions.next() else {
            return Ok(None);
        };
        let asked = self.asked(question, way.moved);
        let regions = std::iter::once(first).chain(regions);
        let targets = regions.flat_map(|r| meets(r, &asked));
        let targets: Vec<Region> = match &way.by {
            Some((_, by)) => targets.flat_map(|r| meets(&r, by)).collect(),
            None => targets.collect(),
        };
        let steer = self.world().steer.as_ref();
        let id = RuleId {
            stage: Stage::Filter,
            index,
        };
        self.opening(id, question.origin, &targets, |target| {
            let mut closed: Vec<&Region> = way.closed.iter().collect();
            if let (Some(steer), Some((by, _))) = (steer, &way.by)
                && let Some((line, _)) = steer.line(*by)
            {
                closed.extend(steer.earlier(line, target).into_iter().map(|(_, r)| r));
            }
            closed.extend(way.lines.earlier(at, target).into_iter().map(|(_, r)| r));
            closed
        })
    }

    fn may_ask(&self, question: Question, region: &Region) -> bool {
        question.origin != Origin::World || self.world().sends(self.model(), region)
    }

    /// What a question is about, before steer has moved it. Nobody has to wait while it is worked
    /// out.
    fn asked(&self, question: Question, moved: Moved) -> Arc<[Region]> {
        let last = || {
            let last = self.last_asked.lock();
            last.unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(regions) = known(&mut last(), question, moved) {
            return regions;
        }
        let regions: Arc<[Region]> = self.worked_out(question, moved).into();
        let asked = question.asked.to_vec();
        let mut last = last();
        if last.len() >= QUESTIONS {
            last.remove(0);
        }
        last.push((asked, question.empty, moved, Arc::clone(&regions)));
        regions
    }

    fn worked_out(&self, question: Question, moved: Moved) -> Vec<Region> {
        let model = self.model();
        let regions = model.regions(question.asked, filter_view(moved));
        if !question.empty {
            return regions;
        }
        let empty = |region: Region| {
            let buckets = 0..model.space.buckets.len();
            let none = Values::one(0);
            buckets.map(Dim::Tokens).try_fold(region, |region, bucket| {
                model.space.narrowed(&region, &bucket, &none)
            })
        };
        regions.into_iter().filter_map(empty).collect()
    }

    /// Flows of an origin among some, which are not among those that are closed.
    fn opening<'c>(
        &self,
        id: RuleId,
        origin: Origin,
        targets: &[Region],
        closed: impl Fn(&Region) -> Vec<&'c Region>,
    ) -> Result<Option<Opening>, OutOfBudget> {
        let (world, model) = (self.world(), self.model());
        let mut budget = Budget::new(PIECES);
        let arrivals = match origin {
            Origin::World | Origin::Interfaces => &world.arrivals,
            Origin::Anywhere => &world.universe,
        };
        let part = |region: &Region| match origin {
            Origin::World => world.part(model, region),
            Origin::Interfaces | Origin::Anywhere => Some(region.clone()),
        };
        for target in targets.iter().filter_map(part) {
            for arriving in arrivals {
                let Some(target) = target.intersection(arriving) else {
                    continue;
                };
                let closed = |target: &Region| {
                    let denied = world.denied.iter().filter(|d| d.intersects(target));
                    let mut closed = closed(target);
                    closed.extend(denied);
                    closed
                };
                if let Some(region) = hole(model, &target, closed, &mut budget)? {
                    let example = self.shown(id, &region);
                    return Ok(example.map(|example| Opening { region, example }));
                }
            }
        }
        Ok(None)
    }

    /// Packets that a rule of guard decides, among some regions; `None` when there are none.
    pub fn decided_by_guard(
        &self,
        index: usize,
        asked: &[Region],
    ) -> Result<Option<Opening>, OutOfBudget> {
        let guard = self.world().guard.as_ref().ok_or(OutOfBudget)?;
        let Some((at, line)) = guard.line(index) else {
            return Ok(None);
        };
        let mut budget = Budget::new(PIECES);
        for target in line.regions.iter().flat_map(|r| meets(r, asked)) {
            let earlier = |target: &Region| {
                let earlier = guard.earlier(at, target).into_iter();
                earlier.map(|(_, region)| region).collect()
            };
            if let Some(region) = hole(self.model(), &target, earlier, &mut budget)? {
                let stage = Stage::Guard;
                let example = self.shown(RuleId { stage, index }, &region);
                return Ok(example.map(|example| Opening { region, example }));
            }
        }
        Ok(None)
    }

    /// The rules of filter, or of guard, that speak of packets among some, in order: what steer
    /// does before filter is left out.
    pub fn speaking(&self, stage: Stage, asked: &[Region]) -> Vec<RuleId> {
        let world = self.world();
        let lines = match stage {
            Stage::Guard => world.guard.as_ref(),
            Stage::Steer => world.steer.as_ref(),
            _ => world.ways.first().map(|way| &way.lines),
        };
        let Some(lines) = lines else {
            return Vec::new();
        };
        let meeting = asked.iter().flat_map(|a| lines.earlier(usize::MAX, a));
        let mut numbers: Vec<usize> = meeting.map(|(line, _)| line).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let lines = numbers.into_iter().filter_map(|n| lines.lines.get(n));
        lines.filter_map(Line::rule).collect()
    }

    /// A packet of a region in words, as a test would have it.
    pub fn in_words(&self, region: &Region) -> String {
        let model = self.model();
        words(model, &model.example(region).packet)
    }
}

/// What a question is about, if it is among the last ones. It is the last one then.
fn known(last: &mut Vec<Asked>, question: Question, moved: Moved) -> Option<Arc<[Region]>> {
    let is = |(asked, empty, of, _): &Asked| {
        *empty == question.empty && *of == moved && asked == question.asked
    };
    let at = last.iter().rposition(is)?;
    let found = last.remove(at);
    let regions = Arc::clone(&found.3);
    last.push(found);
    Some(regions)
}

/// Points of a region that are in none of some others, of which `closed` gives those that meet a
/// region: one that reads well, if it will do. Mostly it will, and few others meet a point.
fn hole<'c>(
    model: &Model,
    target: &Region,
    closed: impl Fn(&Region) -> Vec<&'c Region>,
    budget: &mut Budget,
) -> Result<Option<Region>, OutOfBudget> {
    let plain = model.plain(target);
    let point = Region::point(&plain);
    if !closed(&point).iter().any(|other| other.contains(&plain)) {
        return Ok(Some(point));
    }
    match cover(target, &closed(target), budget)? {
        Cover::Hole(region) => Ok(Some(region)),
        Cover::Whole(_) => Ok(None),
    }
}

/// The first flows that a search among several finds.
fn first<T>(
    among: &[T],
    search: impl Fn(&T) -> Result<Option<Opening>, OutOfBudget>,
) -> Result<Option<Opening>, OutOfBudget> {
    let mut found = among.iter().map(search);
    let found = found.find(|found| !matches!(found, Ok(None)));
    found.unwrap_or(Ok(None))
}

/// What two regions share, for each of some.
fn meets(region: &Region, others: &[Region]) -> Vec<Region> {
    let meets = others.iter().filter_map(|o| region.intersection(o));
    meets.collect()
}

/// Whether a rule of steer with this verdict admits what it takes.
fn is_local(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Redirect { .. } | Verdict::Proxy(_))
}
