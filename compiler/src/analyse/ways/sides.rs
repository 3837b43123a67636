//! The packets that a search was about, for those who check its answer.

use crate::analyse::model::Moved;
use crate::ir::Stage;
use crate::packet::Region;

use super::{Asked, Opening, Ways};

/// The packets in question that steer treats alike.
pub(in crate::analyse) struct Space {
    /// What steer does to them.
    pub(in crate::analyse) moved: Moved,
    /// Whether they belong to no flow.
    pub(in crate::analyse) untracked: bool,
    /// The packets.
    pub(in crate::analyse) packets: Vec<Region>,
    /// Those of them that are not in question, or that there cannot be.
    pub(in crate::analyse) excluded: Vec<Region>,
}

impl Ways<'_> {
    /// The packets in question, by what steer can do to them.
    pub(in crate::analyse) fn spaces(&self, asked: Asked) -> Vec<Space> {
        let mut spaces = Vec::new();
        for untracked in [false, true] {
            let mut moves = vec![Moved::No];
            for turn in self.steer(untracked).turns(self.model, untracked) {
                if !moves.contains(&turn.moved) {
                    moves.push(turn.moved);
                }
            }
            spaces.extend(moves.into_iter().map(|moved| {
                let mut excluded = self.model.impossible(moved);
                excluded.extend(self.excluded(asked, untracked).into_iter().cloned());
                if asked.opening == Opening::Can && !untracked {
                    excluded.extend(self.no_syn.iter().cloned());
                }
                Space {
                    moved,
                    untracked,
                    packets: self.packets(asked, moved, untracked, Stage::Steer),
                    excluded,
                }
            }));
        }
        spaces
    }

    /// Whether a packet belongs to no flow whatever guard says.
    pub(in crate::analyse) fn is_never_tracked(&self, point: &[u128]) -> bool {
        self.never_tracked.iter().any(|r| r.contains(point))
    }

    /// What the lines of guard, steer and filter mean.
    pub(in crate::analyse) fn regions(&self) -> Vec<Region> {
        let later = self.later.borrow();
        let lists = [&self.guard, self.steer(false)].into_iter();
        let lists = lists.chain(later.iter().map(|(_, list)| &**list));
        lists
            .flat_map(|list| &list.lines)
            .flat_map(|line| line.regions.iter().cloned())
            .collect()
    }
}
