//! Slots that steps no longer read are used again: what a program keeps on its stack is little.
//!
//! A step that reads two slots for the last time and writes a third needs two: it writes one of those
//! that it has read.

use super::plan::{Operand, Slot, Step, Term};

/// Renumbers the slots, and says how many there are.
pub(super) fn compact(steps: &mut [Step]) -> u8 {
    let mut last = [0; SLOTS];
    for (at, step) in steps.iter_mut().enumerate() {
        visit(step, |slot| {
            if let Some(last) = last.get_mut(usize::from(slot.0)) {
                *last = at;
            }
        });
    }
    let mut names = Names {
        new: [None; SLOTS],
        used: [false; SLOTS],
        most: 0,
    };
    for (at, step) in steps.iter_mut().enumerate() {
        let mut over = Vec::new();
        visit(step, |slot| {
            if last.get(usize::from(slot.0)) == Some(&at) {
                over.push(*slot);
            }
        });
        read(step, |slot| *slot = names.name(*slot));
        let written = written(step).map(|slot| *slot);
        for slot in over.iter().filter(|slot| Some(**slot) != written) {
            names.free(*slot);
        }
        if let Some(slot) = self::written(step) {
            *slot = names.name(*slot);
        }
        written
            .filter(|slot| over.contains(slot))
            .into_iter()
            .for_each(|slot| names.free(slot));
    }
    names.most
}

/// A slot's number has eight bits.
const SLOTS: usize = 256;

/// What slots are called.
struct Names {
    new: [Option<u8>; SLOTS],
    used: [bool; SLOTS],
    most: u8,
}

impl Names {
    fn name(&mut self, slot: Slot) -> Slot {
        let known = self.new.get(usize::from(slot.0)).copied().flatten();
        let name = known.unwrap_or_else(|| {
            let free = self.used.iter().position(|used| !used);
            u8::try_from(free.unwrap_or(SLOTS - 1)).unwrap_or(u8::MAX)
        });
        self.set(slot, Some(name));
        self.most = self.most.max(name.saturating_add(1));
        Slot(name)
    }

    fn free(&mut self, slot: Slot) {
        self.set(slot, None);
    }

    fn set(&mut self, slot: Slot, name: Option<u8>) {
        let Some(new) = self.new.get_mut(usize::from(slot.0)) else {
            return;
        };
        let old = std::mem::replace(new, name);
        for (name, is_used) in [(old, false), (name, true)] {
            let place = name.and_then(|name| self.used.get_mut(usize::from(name)));
            if let Some(used) = place {
                *used = is_used;
            }
        }
    }
}

/// Every slot of a step.
fn visit(step: &mut Step, mut each: impl FnMut(&Slot)) {
    read(step, |slot| each(slot));
    if let Some(slot) = written(step) {
        each(slot);
    }
}

/// The slots that a step reads and does not write.
fn read(step: &mut Step, mut each: impl FnMut(&mut Slot)) {
    let of_term = |term: &mut Term| match &mut term.of {
        Operand::Slot(slot) | Operand::High(slot) | Operand::Low(slot) => each(slot),
        Operand::Part(_) => {}
    };
    match step {
        Step::Load { index, .. } => index.iter_mut().for_each(of_term),
        Step::FirstCommon { sources, .. } => sources.iter_mut().for_each(|(slot, _)| each(slot)),
        Step::Least { of, .. } => of.iter_mut().for_each(each),
        Step::Answer { slot } => each(slot),
        Step::Set { .. }
        | Step::Descend { .. }
        | Step::Bit { .. }
        | Step::Tree { .. }
        | Step::Search { .. }
        | Step::Bucket { .. }
        | Step::Match { .. } => {}
    }
}

/// The slot that a step writes.
fn written(step: &mut Step) -> Option<&mut Slot> {
    match step {
        Step::Set { to, .. }
        | Step::Load { to, .. }
        | Step::Tree { to, .. }
        | Step::Bucket { to, .. }
        | Step::FirstCommon { to, .. }
        | Step::Least { to, .. } => Some(to),
        Step::Descend { slot, .. } | Step::Bit { slot, .. } | Step::Search { slot, .. } => {
            Some(slot)
        }
        Step::Match { .. } | Step::Answer { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::TableId;
    use super::*;

    #[test]
    fn a_slot_that_is_read_for_the_last_time_is_written_again() {
        let load = |to, of: &[u8]| Step::Load {
            to: Slot(to),
            table: TableId(0),
            index: of.iter().map(|slot| Term::slot(Slot(*slot), 1)).collect(),
        };
        // 0 is read twice; 3 is never read.
        let mut steps = [
            load(0, &[]),
            load(1, &[]),
            load(2, &[0, 1]),
            load(3, &[]),
            load(4, &[0, 2]),
            Step::Answer { slot: Slot(4) },
        ];
        assert_eq!(compact(&mut steps), 3);
        let expected = [
            load(0, &[]),
            load(1, &[]),
            load(1, &[0, 1]),
            load(2, &[]),
            load(0, &[0, 1]),
            Step::Answer { slot: Slot(0) },
        ];
        assert_eq!(steps, expected);
    }
}
