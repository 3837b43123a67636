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
mod sides;

use std::cell::RefCell;
use std::rc::Rc;

pub use class::{Class, Ending, Goal};
pub(super) use sides::Space;

use lists::{List, Turn};

use super::model::{self, Dim, Model, Moved, Source, View};
use crate::field::IP_FRAGMENT;
use crate::interpret::Fact;
use crate::ir::{Cube, Side, Stage, Verdict};
use crate::packet::cover::{Budget, Cover, OutOfBudget, cover};
use crate::packet::{Region, Values};

/// The packets that a search is about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The packets, as alternatives; their destination is where they end up.
    pub cubes: &'a [Cube],
    /// Whether every bucket has tokens for them. If not, each may or may not.
    pub tokens: bool,
    /// Which of them.
    pub opening: Opening,
    /// The class of outcomes that is asked about: some are about fewer packets.
    ///
    /// * What is for this machine is for no proxy, nor does it go on directly: questions about
    ///   these leave it out, unless a cube says `to host`.
    /// * Discovery messages belong to no flow, and only a flow's addresses are rewritten.
    pub class: Option<Class>,
}

impl Asked<'_> {
    fn is_about_others(&self) -> bool {
        matches!(self.class, Some(Class::Direct | Class::Proxy))
    }

    fn is_about_flows(&self) -> bool {
        use Class::{Dnat, Masquerade, Redirect, Snat};
        matches!(self.class, Some(Redirect | Dnat | Snat | Masquerade))
    }
}

/// Which packets a search is about, by what the flow lookup finds of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Those that open a flow, and those that rules judge without one.
    Can,
    /// All, as if each could open a flow, but for `strict tcp`.
    Any,
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
    /// Which of steer's targets they get, when there are several.
    pub choice: Option<usize>,
}

/// The ways of one policy.
pub struct Ways<'m> {
    pub(super) model: &'m Model<'m>,
    guard: List,
    /// For packets that are tracked, and that are not.
    steer: [List; 2],
    later: RefCell<Vec<(View, Rc<List>)>>,
    /// Packets that open no flow: they are denied for it, or always pass.
    closed: Vec<Region>,
    /// Those of them that always pass.
    unconditional: Vec<Region>,
    /// Those of them that `strict tcp` denies.
    not_syn: Vec<Region>,
    /// Packets that `strict tcp` denies when steer admits them.
    no_syn: Vec<Region>,
    never_tracked: Vec<Region>,
}

/// A way as far as it has been followed.
#[derive(Clone)]
struct Trail<'l> {
    /// What is left of the packets, but for the blockers.
    pieces: Vec<Region>,
    /// Regions of lines that stand before those of the way.
    blockers: Vec<&'l Region>,
    way: Vec<Source>,
    choice: Option<usize>,
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
        let not_syn = model.not_syn()?;
        let mut closed = model.cannot_open()?;
        closed.extend(not_syn.iter().cloned());
        let unconditional = model.unconditional_icmp(Stage::Steer);
        closed.extend(unconditional.iter().cloned());
        Ok(Self {
            model,
            guard: List::of(model, View::of(Stage::Guard))?,
            steer: [steer(false)?, steer(true)?],
            later: RefCell::default(),
            closed,
            unconditional,
            not_syn,
            no_syn: model.no_syn(),
            never_tracked: model.never_tracked(),
        })
    }

    /// Looks for packets whose outcome is wanted.
    pub fn find(
        &self,
        asked: Asked,
        goal: Goal,
        budget: &mut Budget,
    ) -> Result<Option<Found>, OutOfBudget> {
        let search = Search {
            ways: self,
            asked,
            goal,
        };
        if let Some(found) = search.refused_by_guard(budget)? {
            return Ok(Some(found));
        }
        if let Some(found) = search.refused_by_lookup(budget)? {
            return Ok(Some(found));
        }
        for untracked in [false, true] {
            let list = self.steer(untracked);
            for turn in list.turns(self.model, untracked) {
                if let Some(found) = search.steered(list, &turn, untracked, budget)? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    fn steer(&self, untracked: bool) -> &List {
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

    /// The packets in question that steer treats so, as far as they reach the stage.
    pub(super) fn packets(
        &self,
        asked: Asked,
        moved: Moved,
        untracked: bool,
        stage: Stage,
    ) -> Vec<Region> {
        let space = &self.model.space;
        let view = view(Stage::Filter, moved, untracked);
        let mut regions = Vec::new();
        for cube in asked.cubes {
            let all = self.model.meant(std::slice::from_ref(cube), view);
            if asked.is_about_others() && moved == Moved::No && !says_host(cube) {
                regions.extend(all.iter().filter_map(|r| self.model.away(r)));
            } else {
                regions.extend(all);
            }
        }
        if asked.tokens {
            let yes = Values::one(1);
            for dim in space.dims.iter().filter(|d| matches!(d, Dim::Tokens(_))) {
                regions = narrowed(space, &regions, dim, &yes);
            }
        }
        meet(&regions, &self.model.universe(stage))
    }

    /// The packets that a search is not about, or that do not come so far.
    fn excluded(&self, asked: Asked, untracked: bool) -> Vec<&Region> {
        let lists: [&[Region]; 2] = match (asked.opening, untracked) {
            (Opening::Can, true) if asked.is_about_flows() => {
                [&self.unconditional, &self.never_tracked]
            }
            (Opening::Can, true) => [&self.unconditional, &[]],
            (Opening::Can, false) => [&self.closed, &[]],
            (Opening::Any, true) => [&[], &[]],
            (Opening::Any, false) => [&self.not_syn, &[]],
        };
        lists.into_iter().flatten().collect()
    }
}

/// Whether a cube is about this machine as the receiver: `to host`, or `out lo`.
fn says_host(cube: &Cube) -> bool {
    let Side { host, ifaces } = &cube.egress;
    (*host && ifaces.is_empty()) || (ifaces.include().is_some() && ifaces.contains("lo"))
}

fn narrowed(space: &model::Space, regions: &[Region], dim: &Dim, values: &Values) -> Vec<Region> {
    let all = regions.iter();
    all.filter_map(|r| space.narrowed(r, dim, values)).collect()
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

impl<'a> Search<'a> {
    fn refused_by_guard(&self, budget: &mut Budget) -> Result<Option<Found>, OutOfBudget> {
        let ending = Ending::Refused(Class::Deny);
        let guard = &self.ways.guard;
        if !self.goal.wants(ending) || guard.lines.is_empty() {
            return Ok(None);
        }
        let impossible = self.ways.model.impossible(Moved::No);
        let excluded = match self.asked.opening {
            Opening::Can => &self.ways.closed[..],
            Opening::Any => &[],
        };
        let trail = Trail {
            pieces: self
                .ways
                .packets(self.asked, Moved::No, false, Stage::Guard),
            blockers: impossible.iter().chain(excluded).collect(),
            way: Vec::new(),
            choice: None,
        };
        for (at, line) in guard.lines.iter().enumerate() {
            if line.verdict == Some(Verdict::Deny)
                && let Some(found) = ends(&trail.along(guard, at), ending, budget)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Looks for packets that `strict tcp` denies, when the search is about them.
    fn refused_by_lookup(&self, budget: &mut Budget) -> Result<Option<Found>, OutOfBudget> {
        let ending = Ending::Refused(Class::Deny);
        let fact = Source::Fact(Fact::NotSyn);
        if self.asked.opening == Opening::Can || !self.goal.wants(ending) {
            return Ok(None);
        }
        let impossible = self.ways.model.impossible(Moved::No);
        let asked = self
            .ways
            .packets(self.asked, Moved::No, false, Stage::Steer);
        let trail = Trail {
            pieces: meet(&asked, &self.ways.not_syn),
            blockers: impossible.iter().collect(),
            way: vec![fact],
            choice: None,
        };
        self.each_handed_on(&trail, false, budget, &mut |trail, budget| {
            ends(&trail, ending, budget)
        })
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
            Some(class) => self.goal.may_admit(class) || self.goal.may_refuse(),
            None => self.goal.wants(Ending::Refused(Class::Deny)),
        };
        if !wanted {
            return Ok(None);
        }
        let impossible = model.impossible(turn.moved);
        let mut blockers: Vec<&Region> = impossible.iter().collect();
        blockers.extend(self.ways.excluded(self.asked, untracked));
        let asked = self
            .ways
            .packets(self.asked, turn.moved, untracked, Stage::Steer);
        let mut trail = Trail {
            pieces: asked,
            blockers,
            way: Vec::new(),
            choice: turn.choice.and_then(|(_, n)| usize::try_from(n).ok()),
        };
        trail = match turn.line {
            Some(at) => trail.along(list, at),
            None => trail.past(list, list.lines.len(), Source::Fact(Fact::Implied)),
        };
        if let Some((choice, target)) = turn.choice {
            let target = Values::one(target);
            trail.pieces = narrowed(&model.space, &trail.pieces, &Dim::Choice(choice), &target);
        }
        if !alive(&mut trail, budget)? {
            return Ok(None);
        }
        self.each_handed_on(&trail, untracked, budget, &mut |trail, budget| {
            self.handed_on(turn, trail, untracked, budget)
        })
    }

    /// Goes on with the packets of a trail that guard hands on, line by line, until something is
    /// found.
    fn each_handed_on<'l>(
        &self,
        trail: &Trail<'l>,
        untracked: bool,
        budget: &mut Budget,
        go_on: &mut dyn FnMut(Trail<'l>, &mut Budget) -> Result<Option<Found>, OutOfBudget>,
    ) -> Result<Option<Found>, OutOfBudget>
    where
        'a: 'l,
    {
        let guard = &self.ways.guard;
        for at in 0..=guard.lines.len() {
            let (mut next, verdict) = match guard.lines.get(at) {
                None => (trail.past(guard, at, Source::Fact(Fact::NotGuarded)), None),
                Some(line) if line.verdict == Some(Verdict::Deny) => continue,
                Some(line) => (trail.along(guard, at), line.verdict.as_ref()),
            };
            // The way begins with guard.
            next.way.rotate_right(1);
            self.track(&mut next, verdict == Some(&Verdict::Notrack), untracked);
            if alive(&mut next, budget)?
                && let Some(found) = go_on(next, budget)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Leaves the packets that are tracked, or those that are not. Discovery messages never are;
    /// fragments are although a rule says `notrack`.
    fn track<'l>(&self, trail: &mut Trail<'l>, notrack: bool, untracked: bool)
    where
        'a: 'l,
    {
        let space = &self.ways.model.space;
        let fragment = Dim::Field(IP_FRAGMENT);
        let is = |trail: &Trail, fragments: u128| {
            narrowed(space, &trail.pieces, &fragment, &Values::one(fragments))
        };
        let discovery = &self.ways.never_tracked;
        trail.pieces = match (notrack, untracked) {
            (false, true) => meet(&trail.pieces, discovery),
            (true, true) => {
                let mut pieces = is(trail, 0);
                pieces.extend(meet(&is(trail, 1), discovery));
                pieces
            }
            (true, false) => is(trail, 1),
            (false, false) => std::mem::take(&mut trail.pieces),
        };
        if !untracked {
            trail.blockers.extend(discovery);
        }
    }

    /// Follows packets that guard hands on and steer has decided about.
    fn handed_on<'l>(
        &self,
        turn: &Turn,
        mut trail: Trail<'l>,
        untracked: bool,
        budget: &mut Budget,
    ) -> Result<Option<Found>, OutOfBudget>
    where
        'a: 'l,
    {
        let Some(steered) = turn.steered else {
            return ends(&trail, Ending::Refused(Class::Deny), budget);
        };
        if turn.admits {
            let denied = Ending::Refused(Class::Deny);
            if self.asked.opening == Opening::Any && self.goal.wants(denied) {
                let mut strict = trail.clone();
                strict.pieces = meet(&strict.pieces, &self.ways.no_syn);
                strict.way.push(Source::Fact(Fact::NotSyn));
                if let Some(found) = ends(&strict, denied, budget)? {
                    return Ok(Some(found));
                }
            }
            trail.blockers.extend(&self.ways.no_syn);
            trail.way.push(Source::Fact(Fact::Admitted));
            return self.admitted(turn, steered, trail, untracked, budget);
        }
        let filter = self.ways.list(view(Stage::Filter, turn.seen, untracked))?;
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
                Some(ending) => ends(&next, ending, budget)?,
                None => self.admitted(turn, steered, next, untracked, budget)?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        let outside = Source::Fact(Fact::NotGoverned);
        let rest = trail.past(&filter, filter.lines.len(), outside);
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
        let as_it_is = ending(None);
        if !self.goal.asks_egress() || !turn.leaves {
            let wanted = self.goal.wants(as_it_is);
            return if wanted {
                ends(&trail, as_it_is, budget)
            } else {
                Ok(None)
            };
        }
        if !alive(&mut trail, budget)? {
            return Ok(None);
        }
        let egress = self.ways.list(view(Stage::Egress, turn.seen, untracked))?;
        for (at, line) in egress.lines.iter().enumerate() {
            let sourced = match line.verdict {
                Some(Verdict::Snat(_)) => Some(Class::Snat),
                Some(Verdict::Masquerade) => Some(Class::Masquerade),
                _ => None,
            };
            if self.goal.wants(ending(sourced))
                && let Some(found) = ends(&trail.along(&egress, at), ending(sourced), budget)?
            {
                return Ok(Some(found));
            }
        }
        if !self.goal.wants(as_it_is) {
            return Ok(None);
        }
        let rest = trail.past(&egress, egress.lines.len(), Source::Fact(Fact::Implied));
        ends(&rest, as_it_is, budget)
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
fn ends(trail: &Trail, ending: Ending, budget: &mut Budget) -> Result<Option<Found>, OutOfBudget> {
    for piece in &trail.pieces {
        if let Cover::Hole(region) = cover(piece, &trail.blockers, budget)? {
            return Ok(Some(Found {
                region,
                way: trail.way.clone(),
                ending,
                choice: trail.choice,
            }));
        }
    }
    Ok(None)
}
