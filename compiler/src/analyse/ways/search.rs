//! The search itself: way by way, stage by stage.

use super::lists::{List, Turn};
use super::{Asked, Class, Ending, Found, Goal, Opening, Searched, Ways, narrowed, view};
use crate::analyse::model::{Dim, Moved, Source};
use crate::field::IP_FRAGMENT;
use crate::interpret::Fact;
use crate::ir::{Stage, Verdict};
use crate::packet::cover::{Budget, Cover, OutOfBudget, cover};
use crate::packet::{Region, Values};

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

pub(super) fn meet(pieces: &[Region], regions: &[Region]) -> Vec<Region> {
    let pairs = pieces
        .iter()
        .flat_map(|p| regions.iter().map(move |r| (p, r)));
    pairs.filter_map(|(p, r)| p.intersection(r)).collect()
}

/// A search for packets with a wanted outcome.
#[derive(Clone, Copy)]
pub(super) struct Search<'a> {
    pub(super) ways: &'a Ways<'a>,
    pub(super) asked: Asked<'a>,
    pub(super) goal: Goal,
}

impl<'a> Search<'a> {
    pub(super) fn refused_by_guard(&self, budget: &mut Budget) -> Searched {
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
    pub(super) fn refused_by_lookup(&self, budget: &mut Budget) -> Searched {
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
    pub(super) fn steered(
        &self,
        list: &List,
        turn: &Turn,
        untracked: bool,
        budget: &mut Budget,
    ) -> Searched {
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
        go_on: &mut dyn FnMut(Trail<'l>, &mut Budget) -> Searched,
    ) -> Searched
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
    ) -> Searched
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
    ) -> Searched {
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
fn ends(trail: &Trail, ending: Ending, budget: &mut Budget) -> Searched {
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
