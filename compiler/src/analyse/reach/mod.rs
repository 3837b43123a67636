//! Which rules decide anything.
//!
//! A rule's reach is what is left of the packets that it means after those that earlier rules
//! decide. A rule without reach is dead. What earlier rules decide is taken **together**: three
//! rules can hide a fourth that none of them hides alone.
//!
//! Rates and dynamic sets are dimensions of the space, so a rule with a rate hides another one
//! only where the rate says so. Each "dead" is proven by a
//! [`Certificate`](crate::packet::cover::Certificate) that is checked anew, each "alive" by a
//! packet. Past a budget nothing is claimed: the answer is "unknown".
//!
//! A stage is looked at by itself: every packet that there can be may enter it. What guard or steer
//! let through is not taken into account, for a rule behind them is no mistake: it holds when they
//! change. Only where a rule asks for the destination before steer, or for the state of tracking,
//! does it matter what was done to a packet; then all that steer and guard may do counts.

mod cover;
mod index;
mod judge;
mod pairs;
mod points;
mod redundant;
mod rows;
mod taken;
mod views;

use super::model::{Model, Source};
use crate::interpret::RuleId;
use crate::ir::Stage;
use crate::packet::Region;

/// What is known of every rule, in the order of the stages.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// The rules.
    pub rules: Vec<RuleReach>,
    /// Pairs of rules with different actions that share packets while each has packets of its own:
    /// their order matters. The earlier one first; defaults are left out.
    pub conflicts: Vec<(RuleId, RuleId)>,
    /// Whether there are more pairs than are listed.
    pub more_conflicts: bool,
}

/// What is known of a rule.
#[derive(Clone, Debug)]
pub struct RuleReach {
    /// Which one.
    pub id: RuleId,
    /// Whether it decides anything.
    pub status: Status,
    /// What hides it, when it is [`Status::Unreachable`] or [`Status::Closed`]: none of them can be
    /// left out, the one with which it shares most packets comes first.
    pub blockers: Vec<Source>,
    /// An earlier rule that decides some of its packets with another action: the one with which it
    /// shares most of them. Looked for where nothing is left, or almost nothing.
    pub opposite: Option<Source>,
    /// How much of what it means earlier rules decide.
    pub taken: Taken,
    /// Whether removing it would change nothing.
    pub redundant: Redundant,
    /// An earlier rule with the same packets and the same action.
    pub duplicate_of: Option<RuleId>,
    /// Packets that it decides; of a hidden rule, packets that it means.
    pub sample: Option<Region>,
}

/// Whether a rule decides anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Some packets come to it.
    Reached,
    /// No packet that there can be is meant by it.
    Unmatchable,
    /// Earlier rules decide all that it means.
    Unreachable,
    /// A default to which the rules of its block leave nothing: it closes what is closed already.
    Closed,
    /// The search was too long.
    Unknown,
}

/// How much of what a rule means earlier rules decide, in parts per million, rounded down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// So much.
    Exactly(u32),
    /// No more than this.
    AtMost(u32),
    /// The search was too long.
    Unknown,
}

/// The whole, in parts per million.
pub const WHOLE: u32 = 1_000_000;

/// From here on a rule counts as mostly shadowed, in parts per million: below it, shares are only
/// estimated.
pub const MOSTLY: u32 = 900_000;

/// Whether removing a rule would change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redundant {
    /// All its packets come to rules with the same verdict and the same effects.
    Yes,
    /// Some come to something else, or it is not asked: of defaults and of rules that are not
    /// reached.
    No,
    /// The search was too long.
    Unknown,
}

impl Reach {
    /// What is known of a rule.
    pub fn rule(&self, id: RuleId) -> Option<&RuleReach> {
        let found = self.rules.binary_search_by_key(&id, |r| r.id);
        found.ok().and_then(|at| self.rules.get(at))
    }
}

/// Looks at every rule of a policy.
pub fn reach(model: &Model) -> Reach {
    let mut out = Reach::default();
    for stage in Stage::ALL {
        if !model.ir.stage(stage).is_empty() {
            out.rules.extend(views::stage(
                model,
                stage,
                &mut out.conflicts,
                &mut out.more_conflicts,
            ));
        }
    }
    out
}
