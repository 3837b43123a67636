//! Giving hooks of interfaces the programs of a generation, and taking that back.

use std::collections::BTreeMap;

use super::EbpfError;
use super::pins::{Pins, Point};
use super::program::{Program, is_severed};
use super::seen::{Seen, Wanted};
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
    /// What was there before.
    before: &'s Seen,
    /// The programs pinned before, by number, so that they can be put back.
    old: BTreeMap<u32, Program>,
    made: Vec<(Point, Change)>,
}

impl<'s> Switch<'s> {
    pub(crate) fn new(
        netns: &'s Netns,
        pins: &'s Pins,
        before: &'s Seen,
        old: BTreeMap<u32, Program>,
    ) -> Self {
        Self {
            netns,
            pins,
            before,
            old,
            made: Vec::new(),
        }
    }

    /// Lets a hook run a program.
    pub(crate) fn put(&mut self, wanted: &Wanted, program: &mut Program) -> Result<(), EbpfError> {
        let point = wanted.point;
        let failed = |source| EbpfError::Attach {
            program: wanted.program.clone(),
            interface: wanted.interface.clone(),
            hook: point.hook.word(),
            source: Box::new(source),
        };
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
        self.pins.remove_link(point)?;
        self.made.push((point, Change::Detached(running)));
        Ok(())
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
            return self.pins.remove_link(point);
        };
        let gone = || EbpfError::NoProgram(format!("number {id}"));
        let program = self.old.get_mut(id).ok_or_else(gone)?;
        let put_back = match change {
            Change::Detached(_) => program.attach(self.netns, self.pins, point),
            _ => program.update(self.pins, point),
        };
        put_back.map_err(|source| EbpfError::Attach {
            program: format!("number {id}"),
            interface: self.before.name(point.index),
            hook: point.hook.word(),
            source: Box::new(source),
        })
    }
}
