//! The packets that a search was about, for those who check its answer.

use crate::analyse::model::Moved;
use crate::ir::Stage;
use crate::packet::Region;

use super::{Asked, Opening, Ways};

/// The packets in question that steer treats alike.
pub(in crate::analyse) struct Space {
    /// What steer does to them.
    pub(in crate::analyse) moved: Moved,
    /// The packets.
    pub(in crate::analyse) packets: Vec<Region>,
    /// Those of them that are not in question, or that there cannot be.
    pub(in crate::analyse) excluded: Vec<Region>,
}

impl Ways<'_> {
    /// The packets in question, by what steer can do to them.
    pub(in crate::analyse) fn spaces(&self, asked: Asked) -> Vec<Space> {
        let mut moves = vec![Moved::No];
        for turn in self.steer(false).turns(self.model, false) {
            if !moves.contains(&turn.moved) {
                moves.push(turn.moved);
            }
        }
        let space = |moved| {
            let mut excluded = self.model.impossible(moved);
            if asked.opening == Opening::Can {
                excluded.extend(self.closed.iter().cloned());
                excluded.extend(self.no_syn.iter().cloned());
            }
            Space {
                moved,
                packets: self.packets(asked, moved, false, Stage::Steer),
                excluded,
            }
        };
        moves.into_iter().map(space).collect()
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
