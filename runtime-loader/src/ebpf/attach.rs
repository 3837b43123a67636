//! Giving hooks of interfaces the programs of a generation, and taking that back.

use std::collections::{BTreeMap, BTreeSet};

use polc_bundle::ProgramHook;

use super::EbpfError;
use super::clsact::FilterError;
use super::pins::{Pins, Point};
use super::program::{self, Program, Way, is_severed};
use super::seen::{Seen, Wanted};
use crate::netlink::RouteConnection;
use crate::netns::Netns;

/// Something that was done to a hook.
#[derive(Clone, Debug)]
enum Change {
    /// It had no program of ours.
    Attached,
    /// It has another program than this one, by number.
    Replaced(u32),
    /// It has none any more; it had this one.
    Detached(u32),
}

/// Changes hooks one by one, and remembers how.
pub(crate) struct Switch<'s> {
    netns: &'s Netns,
    pins: &'s Pins,
    connection: RouteConnection,
    /// How hooks for packets run their programs.
    way: Way,
    /// What was there before.
    before: &'s Seen,
    /// The numbers of our programs.
    ours: BTreeSet<u32>,
    /// The programs pinned before, by number, so that they can be put back.
    old: BTreeMap<u32, Program>,
    made: Vec<(Point, Change)>,
}

impl<'s> Switch<'s> {
    pub(crate) fn new(
        (netns, pins): (&'s Netns, &'s Pins),
        connection: RouteConnection,
        way: Way,
        before: &'s Seen,
        old: BTreeMap<u32, Program>,
    ) -> Self {
        Self {
            netns,
            pins,
            connection,
            way,
            before,
            ours: before.ours.clone(),
            old,
            made: Vec::new(),
        }
    }

    /// Lets a hook run a program.
    pub(crate) fn put(&mut self, wanted: &Wanted, program: &mut Program) -> Result<(), EbpfError> {
        let point = wanted.point;
        let failed =
            |source| EbpfError::attach(point, (&wanted.interface, &wanted.program), source);
        if self.filters(point) {
            let before = self.before.running.get(&point);
            let change = before.map_or(Change::Attached, |old| Change::Replaced(*old));
            // Taking it back is right wherever it fails.
            self.made.push((point, change));
            if before.is_none() {
                self.pins.remove_link(point)?;
            }
            return self.put_filter(point, program).map_err(failed);
        }
        let failed = |source| failed(FilterError::Program(source));
        if let Some(old) = self.before.running.get(&point) {
            match program.update(self.pins, point) {
                Err(error) if is_severed(&error) => {}
                other => {
                    other.map_err(failed)?;
                    self.made.push((point, Change::Replaced(*old)));
                    return Ok(());
                }
            }
        }
        self.pins.remove_link(point)?;
        program
            .attach(self.netns, self.pins, point)
            .map_err(failed)?;
        self.made.push((point, Change::Attached));
        Ok(())
    }

    /// Takes the program of a hook away.
    pub(crate) fn take(&mut self, point: Point, running: u32) -> Result<(), EbpfError> {
        self.detach(point)?;
        self.made.push((point, Change::Detached(running)));
        Ok(())
    }

    /// Takes away what a hook has of ours.
    pub(crate) fn detach(&mut self, point: Point) -> Result<(), EbpfError> {
        program::detach(&mut self.connection, self.pins, point, &self.ours)
    }

    /// Whether a point runs its program by a filter.
    fn filters(&self, point: Point) -> bool {
        point.hook != ProgramHook::Xdp && self.way == Way::Filter
    }

    fn put_filter(&mut self, point: Point, program: &mut Program) -> Result<(), FilterError> {
        self.ours.insert(program.info()?.id());
        program.put_filter(&mut self.connection, self.pins, point, &self.ours)
    }

    /// Puts everything back, the last change first; what could not be put back.
    pub(crate) fn undo(mut self) -> Vec<String> {
        let mut problems = Vec::new();
        for (point, change) in std::mem::take(&mut self.made).into_iter().rev() {
            if let Err(error) = self.take_back(point, &change) {
                let at = self.before.place(point);
                problems.push(format!("the program at {at}: {error}"));
            }
        }
        problems
    }

    fn take_back(&mut self, point: Point, change: &Change) -> Result<(), EbpfError> {
        let (Change::Replaced(id) | Change::Detached(id)) = change else {
            return self.detach(point);
        };
        let (filters, name) = (self.filters(point), format!("number {id}"));
        let program = self.old.get_mut(id);
        let program = program.ok_or_else(|| EbpfError::NoProgram(name.clone()))?;
        let put_back = if filters {
            program.put_filter(&mut self.connection, self.pins, point, &self.ours)
        } else {
            let linked = match change {
                Change::Detached(_) => program.attach(self.netns, self.pins, point),
                _ => program.update(self.pins, point),
            };
            linked.map_err(FilterError::Program)
        };
        let interface = self.before.name(point.index);
        put_back.map_err(|source| EbpfError::attach(point, (&interface, &name), source))
    }
}
