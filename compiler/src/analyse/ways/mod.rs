//! The ways that packets can take through all stages.
//!
//! A way is a line of guard (or none), a line of steer (or none), a line of filter (or none: its
//! direction is not governed, or steer has admitted the packet) and, when it is asked for, a line
//! of egress. The packets that take it are those in a region of each of these lines and in no
//! region of a line that stands before one of them in its stage and decides.
//!
//! [`Ways::find`] goes through the ways to outcomes that are wanted, and looks for a packet that
//! takes one. It intersects regions from stage to stage, leaves a way as soon as nothing is left of
//! it, and asks [`cover`] whether the earlier lines leave anything.
//!
//! The packets in question are given as cubes. Their destination (`to`, ports) is where the packet
//! ends up: it is looked at as filter would see it, so it depends on what steer's line does to the
//! packet. `to original` is where it was sent. Packets that do not reach filter (refused before,
//! redirected, proxied) have their own destination.

mod class;
mod lists;

use std::cell::RefCell;
use std::rc::Rc;

pub use class::{Class, Ending, Goal};
pub use lists::{Opening, Turn};

use lists::{Decider, List};

use super::model::{Dim, Model, Moved, Source, View};
use crate::interpret::Fact;
use crate::ir::{Cube, Stage, Verdict};
use crate::packet::cover::{Budget, Cover, OutOfBudget, cover};
use crate::packet::{Region, Values};

/// The packets that a search is about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The packets, as alternatives; their destination is where they end up.
    pub cubes: &'a [Cube],
    /// Whether every bucket has tokens for them. If not, each may or may not.
    pub tokens: bool,
    /// Which of them, by what the flow lookup finds.
    pub opening: Opening,
}

/// Packets that take a way that is wanted.
#[derive(Clone, Debug)]
pub struct Found {
    /// The packets.
    pub region: Region,
    /// What decided in each stage, as far as they come.
    pub way: Vec<Source>,
    /// What becomes of them.
    pub ending: Ending,
}

/// The ways of one policy.
pub struct Ways<'m> {
    model: &'m Model<'m>,
    guard: Rc<List>,
    /// By whether guard has said `notrack`.
    steer: [Rc<List>; 2],
    later: RefCell<Vec<(View, Rc<List>)>>,
}

/// A way as far as it has been followed.
#[derive(Clone)]
struct Trail<'l> {
    /// What is left of the packets, but for the blockers.
    pieces: Vec<Region>,
    /// Regions of lines that stand before those of the way.
    blockers: Vec<&'l Region>,
    way: Vec<Source>,
}

impl<'l> Trail<'l> {
    /// Goes on with the packets of a line, which no earlier one takes.
    fn along(&self, list: &'l List, at: usize) -> Self {
        let Some(line) = list.lines.get(at) else {
            return Self {
                pieces: Vec::new(),
                ..self.clone()
            };
        };
        let mut next = self.past(list, at, line.source);
        next.pieces = meet(&self.pieces, &line.regions);
        next
    }

    /// Goes on with the packets that none of the first `count` lines takes.
    fn past(&self, list: &'l List, count: usize, source: Source) -> Self {
        let mut next = self.clone();
        next.blockers.extend(list.before(count));
        next.way.push(source);
        next
    }
}

fn meet(pieces: &[Region], regions: &[Region]) -> Vec<Region> {
    let pairs = pieces
        .iter()
        .flat_map(|p| regions.iter().map(move |r| (p, r)));
    pairs.filter_map(|(p, r)| p.intersection(r)).collect()
}

impl<'m> Ways<'m> {
    /// The ways of the model's policy.
    pub fn new(model: &'m Model<'m>) -> Result<Self, OutOfBudget> {
        let steer = |untracked| List::of(model, view(Stage::Steer, Moved::No, untracked));
        Ok(Self {
            model,
            guard: Rc::new(List::of(model, View::of(Stage::Guard))?),
            steer: [Rc::new(steer(false)?), Rc::new(steer(true)?)],
            later: RefCell::default(),
        })
    }

    /// Looks for packets whose outcome is wanted.
    pub fn find(
        &self,
        asked: Asked,
        goal: Goal,
        budget: &mut Budget,
    ) -> Result<Option<Found>, OutOfBudget> {
        let search = Search { ways: self, asked, goal };
        if let Some(found) = search.refused_by_guard(budget)? {
            return Ok(Some(found));
        }
        let notrack = |line: &Decider| line.verdict == Some(Verdict::Notrack);
        let untracked = self.guard.lines.iter().any(notrack);
        for untracked in [false, true].into_iter().take(1 + usize::from(untracked)) {
            let list = Rc::clone(self.steer(untracked));
            for turn in list.turns(self.model) {
                if let Some(found) = search.steered(&list, &turn, untracked, budget)? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    fn steer(&self, untracked: bool) -> &Rc<List> {
        let [tracked, not] = &self.steer;
        if untracked { not } else { tracked }
    }

    /// The lines of filter or egress, which are worked out once for each view.
    fn list(&self, view: View) -> Result<Rc<List>, OutOfBudget> {
        let known = |(v, _): &&(View, Rc<List>)| *v == view;
        if let Some((_, list)) = self.later.borrow().iter().find(known) {
            return Ok(Rc::clone(list));
        }
        let list = Rc::new(List::of(self.model, view)?);
        self.later.borrow_mut().push((view, Rc::clone(&list)));
        Ok(list)
    }

    /// The packets of some cubes, with their destination as steer leaves it, that can be.
    pub fn packets(&self, asked: Asked, moved: Moved, untracked: bool, stage: Stage) -> Vec<Region> {
        // Fragments are still told apart: claims can speak of them.
        let mut regions = self.model.regions(asked.cubes, view(Stage::Guard, moved, untracked));
        if asked.tokens {
            let dims = self.model.space.dims.iter();
            for dim in dims.filter(|d| matches!(d, Dim::Tokens(_))) {
                let yes = Values::one(1);
                let all = regions.iter();
                regions = all.filter_map(|r| self.model.space.narrowed(r, dim, &yes)).collect();
            }
        }
        meet(&regions, &self.model.universe(stage))
    }
}

fn view(stage: Stage, moved: Moved, untracked: bool) -> View {
    View {
        stage,
        moved,
        untracked,
    }
}

/// A search for packets with a wanted outcome.
#[derive(Clone, Copy)]
struct Search<'a> {
    ways: &'a Ways<'a>,
    asked: Asked<'a>,
    goal: Goal,
}

impl Search<'_> {
    fn refused_by_guard(&self, budget: &mut Budget) -> Result<Option<Found>, OutOfBudget> {
        let model = self.ways.model;
        let ending = Ending::Refused(Class::Deny);
        let guard = &self.ways.guard;
        if !self.goal.wants(ending) || guard.lines.is_empty() {
            return Ok(None);
        }
        let impossible = model.impossible(Moved::No);
        let closed = self.asked.opening.excluded(model, Moved::No, false);
        let trail = Trail {
            pieces: self.ways.packets(self.asked, Moved::No, false, Stage::Guard),
            blockers: impossible.iter().chain(&closed).collect(),
            way: Vec::new(),
        };
        for (at, line) in guard.lines.iter().enumerate() {
            if line.verdict == Some(Verdict::Deny)
                && let Some(found) = ends(trail.along(guard, at), ending, budget)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Follows packets that guard hands on and steer treats as `turn` says.
    fn steered(
        &self,
        list: &List,
        turn: &Turn,
        untracked: bool,
        budget: &mut Budget,
    ) -> Result<Option<Found>, OutOfBudget> {
        let model = self.ways.model;
        let wanted = match turn.steered {
            Some(class) => self.goal.may_admit(class) || (!turn.admits && self.goal.may_refuse()),
            None => self.goal.wants(Ending::Refused(Class::Deny)),
        };
        if !wanted {
            return Ok(None);
        }
        let mut impossible = model.impossible(turn.moved);
        impossible.extend(self.asked.opening.excluded(model, turn.moved, untracked));
        let mut trail = Trail {
            pieces: self.ways.packets(self.asked, turn.moved, untracked, Stage::Steer),
            blockers: impossible.iter().collect(),
            way: Vec::new(),
        };
        trail = match turn.line {
            Some(at) => trail.along(list, at),
            None => trail.past(list, list.lines.len(), Source::Fact(Fact::Implied)),
        };
        if let Some((dim, target)) = turn.choice {
            let target = Values::one(target);
            let chosen = trail.pieces.iter();
            trail.pieces = chosen
                .filter_map(|p| model.space.narrowed(p, &Dim::Choice(dim), &target))
                .collect();
        }
        if !alive(&mut trail, budget)? {
            return Ok(None);
        }
        let guard = &self.ways.guard;
        for at in 0..=guard.lines.len() {
            let mut next = match guard.lines.get(at) {
                None if untracked => continue,
                None => trail.past(guard, at, Source::Fact(Fact::NotGuarded)),
                Some(line) if line.hands_on(untracked) => trail.along(guard, at),
                Some(_) => continue,
            };
            // The way begins with guard.
            next.way.rotate_right(1);
            if !alive(&mut next, budget)? {
                continue;
            }
            if let Some(found) = self.handed_on(turn, next, untracked, budget)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Follows packets that guard hands on and steer has decided about.
    fn handed_on(
        &self,
        turn: &Turn,
        trail: Trail,
        untracked: bool,
        budget: &mut Budget,
    ) -> Result<Option<Found>, OutOfBudget> {
        let Some(steered) = turn.steered else {
            return ends(trail, Ending::Refused(Class::Deny), budget);
        };
        if turn.admits {
            let mut trail = trail;
            trail.way.push(Source::Fact(Fact::Admitted));
            return self.admitted(turn, steered, trail, untracked, budget);
        }
        let filter = self.ways.list(view(Stage::Filter, turn.moved, untracked))?;
        for (at, line) in filter.lines.iter().enumerate() {
            let refused = line.verdict.as_ref().and_then(Ending::refused);
            let wanted = match refused {
                Some(ending) => self.goal.wants(ending),
                None => self.goal.may_admit(steered),
            };
            if !wanted {
                continue;
            }
            let next = trail.along(&filter, at);
            let found = match refused {
                Some(ending) => ends(next, ending, budget)?,
                None => self.admitted(turn, steered, next, untracked, budget)?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        let rest = trail.past(&filter, filter.lines.len(), Source::Fact(Fact::NotGoverned));
        self.admitted(turn, steered, rest, untracked, budget)
    }

    /// Follows packets that are admitted.
    fn admitted(
        &self,
        turn: &Turn,
        steered: Class,
        mut trail: Trail,
        untracked: bool,
        budget: &mut Budget,
    ) -> Result<Option<Found>, OutOfBudget> {
        let ending = |sourced| Ending::Admitted { steered, sourced };
        if !self.goal.asks_egress() {
            let wanted = self.goal.wants(ending(None));
            return if wanted { ends(trail, ending(None), budget) } else { Ok(None) };
        }
        if !alive(&mut trail, budget)? {
            return Ok(None);
        }
        let stays = matches!(steered, Class::Redirect | Class::Proxy) || untracked;
        if stays {
            return if self.goal.wants(ending(None)) { ends(trail, ending(None), budget) } else { Ok(None) };
        }
        let egress = self.ways.list(view(Stage::Egress, turn.moved, untracked))?;
        for (at, line) in egress.lines.iter().enumerate() {
            let sourced = match line.verdict {
                Some(Verdict::Snat(_)) => Some(Class::Snat),
                Some(Verdict::Masquerade) => Some(Class::Masquerade),
                _ => None,
            };
            if self.goal.wants(ending(sourced))
                && let Some(found) = ends(trail.along(&egress, at), ending(sourced), budget)?
            {
                return Ok(Some(found));
            }
        }
        if !self.goal.wants(ending(None)) {
            return Ok(None);
        }
        let rest = trail.past(&egress, egress.lines.len(), Source::Fact(Fact::Implied));
        ends(rest, ending(None), budget)
    }
}

/// Drops the pieces of which nothing is left; `false` when none is.
fn alive(trail: &mut Trail, budget: &mut Budget) -> Result<bool, OutOfBudget> {
    let mut left = Vec::new();
    for piece in trail.pieces.drain(..) {
        if let Cover::Hole(_) = cover(&piece, &trail.blockers, budget)? {
            left.push(piece);
        }
    }
    trail.pieces = left;
    Ok(!trail.pieces.is_empty())
}

/// The packets at the end of a way, if there are any.
fn ends(trail: Trail, ending: Ending, budget: &mut Budget) -> Result<Option<Found>, OutOfBudget> {
    for piece in &trail.pieces {
        if let Cover::Hole(region) = cover(piece, &trail.blockers, budget)? {
            return Ok(Some(Found {
                region,
                way: trail.way,
                ending,
            }));
        }
    }
    Ok(None)
}
