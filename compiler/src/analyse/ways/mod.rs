//! The ways that packets can take through all stages.
//!
//! A way is a line of guard (or none), a line of steer (or none), a line of filter (or none: its
//! direction is not governed, or steer has admitted the packet) and, when it is asked for, a line
//! of egress. The packets that take it are those in a region of each of these lines and in no
//! region of a line that stands before one of them in its stage and decides.
//!
//! [`Ways::find`] goes through the ways to outcomes that are wanted, and looks for a packet that
//! takes one. It intersects regions from stage to stage, leaves a way as soon as nothing is left of
//! it, and asks [`cover`](crate::packet::cover::cover()) whether the earlier lines leave anything.
//!
//! The packets in question are given as cubes. Their destination (`to`, ports) is where the packet
//! ends up: it is looked at as filter would see it, so it depends on what steer's line does to the
//! packet. `to original` is where it was sent. Packets that do not reach filter (refused before,
//! redirected, proxied) have their own destination.

mod class;
mod lists;
mod search;
mod sides;

use std::cell::RefCell;
use std::rc::Rc;

pub use class::{Class, Ending, Goal};
pub(super) use sides::Space;

use lists::List;
use search::{Search, meet};

use super::model::{self, Dim, Model, Moved, Source, V4, View};
use crate::ir::{Cube, Side, Stage};
use crate::packet::cover::{Budget, OutOfBudget};
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

/// What a search comes to.
type Searched = Result<Option<Found>, OutOfBudget>;

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
            for dim in space.dims.iter().filter(|d| matches!(d, Dim::Tokens(_))) {
                let (_, all) = space.full(dim, V4).bounds();
                regions = narrowed(space, &regions, dim, &Values::one(all));
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
