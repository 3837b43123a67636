//! How a policy sees a piece in a phase: what rules before have left may tell it apart.

use std::rc::Rc;

use super::fate::{Fate, Goes};
use super::script::{Line, Sight, Views, of};
use super::walk::Walk;
use crate::analyse::model::{Memory, Phase, View};
use crate::ir::Stage;
use crate::packet::Region;
use crate::packet::cover::OutOfBudget;

/// A piece inside of a phase.
pub(super) struct Frame {
    pub(super) region: Region,
    pub(super) fates: [Fate; 2],
    /// Which policies have not decided yet.
    pub(super) open: [bool; 2],
    /// How they see the piece, and the lines that they see so.
    pub(super) views: Views,
    pub(super) lines: Rc<[Line]>,
    /// The step at which a rule has added its key to a dynamic set: behind it, rules may see the piece
    /// otherwise.
    pub(super) added_at: Option<usize>,
    /// The lines that meet the piece, and which of them is next.
    pub(super) live: Rc<[usize]>,
    pub(super) next: usize,
}

impl Walk<'_, '_, '_> {
    /// Once a piece is behind the step at which a rule has added its key to a dynamic set, later rules
    /// of the phase may see it otherwise.
    pub(super) fn look_again(
        &mut self,
        frame: &mut Frame,
        phase: Phase,
        root: &Region,
    ) -> Result<(), OutOfBudget> {
        let Some(step) = frame.added_at else {
            return Ok(());
        };
        while let Some(line) = frame.live.get(frame.next).and_then(|i| frame.lines.get(*i)) {
            let asked = line
                .acts
                .iter()
                .zip(frame.open)
                .any(|(a, open)| open && a.is_some());
            if line.step != step {
                break;
            }
            if asked && line.regions.iter().any(|r| r.intersects(&frame.region)) {
                return Ok(());
            }
            frame.next += 1;
        }
        frame.added_at = None;
        let mut views = frame.views;
        for (side, sight) in views.iter_mut().enumerate() {
            if let Some(sight) = sight.as_mut().filter(|_| *of(&frame.open, side)) {
                sight.memory.added = self.added(side, of(&frame.fates, side), phase);
            }
        }
        if views != frame.views {
            let lines = self.lines(phase, views, root)?;
            let behind = lines.partition_point(|line| line.step <= step);
            frame.live = meeting(&lines, behind..lines.len(), &frame.region);
            (frame.views, frame.lines, frame.next) = (views, lines, 0);
        }
        Ok(())
    }

    /// The sets that have the packet's key, as far as the phase asks.
    fn added(&self, side: usize, fate: &Fate, phase: Phase) -> u64 {
        let asked = self.pair.asks(phase).sets;
        if asked == 0 || fate.added.is_empty() {
            return 0;
        }
        let model = self.model(side);
        let sets = model.ir.dynamic.iter().enumerate();
        let added = sets.filter(|(_, set)| fate.added.contains(&model.space.dynamic_label(set)));
        added.fold(0, |bits, (id, _)| bits | model.dynamic_bit(id)) & asked
    }

    /// How a policy sees a packet in a phase; `None` when it is not asked.
    pub(super) fn sight(&self, side: usize, fate: &Fate, phase: Phase) -> Option<Sight> {
        let view = view(fate, phase)?;
        let asks = self.pair.asks(phase);
        let mut memory = Memory {
            added: self.added(side, fate, phase),
            ..Memory::NONE
        };
        if asks.mark {
            memory.mark = fate.mark;
        }
        if asks.flow {
            memory.flow = Some(fate.flow_mark);
        }
        Some(Sight { view, memory })
    }
}

/// How a policy sees a packet in a phase; `None` when it is not asked.
fn view(fate: &Fate, phase: Phase) -> Option<View> {
    let asked = match phase {
        Phase::Filter => !fate.admitted,
        Phase::Egress => {
            !fate.untracked && !matches!(fate.goes, Goes::Redirect(_) | Goes::Proxy { .. })
        }
        _ => true,
    };
    let stage = phase.stage().unwrap_or(Stage::Steer);
    (asked && fate.end.is_none()).then_some(View {
        stage,
        moved: fate.moved,
        untracked: fate.untracked,
    })
}

/// Those of the lines that mean packets of the region.
pub(super) fn meeting(
    lines: &[Line],
    among: impl Iterator<Item = usize>,
    region: &Region,
) -> Rc<[usize]> {
    let meets = |i: &usize| {
        let line = lines.get(*i);
        line.is_some_and(|l| l.regions.iter().any(|r| r.intersects(region)))
    };
    among.filter(meets).collect()
}
