//! A large set of one field, or several, with a blob of their own.
//!
//! Tables have room for a quarter more than they need, rounded up to powers of two, and so sets that
//! are much alike have the same steps: the contents change under a program that runs when another
//! blob takes the place of the first, as one entry in a map of maps. Readers see one or the other.
//! Only when the contents outgrow the room are the steps others.
//!
//! For example, a blocklist of 100,000 hosts and another edition of it, with 104,000, are two blobs of
//! the same size.
//!
//! Several sets that are asked about the same field share a table: bit `i` of a value says whether
//! the number is in set `i` (see [`Partition::of_sets`]).

use super::Limits;
use super::draft::{Draft, Packing};
use super::partition::Partition;
use super::plan::{Plan, Step};
use super::problem::FieldSpec;
use super::stage::{self, Growth, Order, StageKind, Unfit};

/// A table for the values of one field's numbers, which can become others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressTable {
    plan: Plan,
    kind: StageKind,
}

impl AddressTable {
    /// The kind of table that is best for these contents. Values up to `largest` can come later.
    pub fn build(
        spec: &FieldSpec,
        partition: &Partition,
        largest: u32,
        limits: &Limits,
    ) -> Result<Self, Unfit> {
        let kind = match stage::choose(spec, partition, limits).kind {
            // Few pieces now can be many later.
            StageKind::Search if spec.bits <= 32 && spec.is_address() => StageKind::Dxr,
            kind => kind,
        };
        Self::of_kind(kind, partition, largest)
    }

    /// A table of one kind.
    pub fn of_kind(kind: StageKind, partition: &Partition, largest: u32) -> Result<Self, Unfit> {
        let mut draft = Draft::default();
        let order = Order {
            field: 0,
            partition,
            largest: largest.max(partition.largest()),
            growth: Growth::Spare,
        };
        let slot = stage::build(kind, &mut draft, order)?;
        draft.push(Step::Answer { slot });
        Ok(Self {
            plan: draft.finish(kind.name(), Packing::Apart),
            kind,
        })
    }

    /// The steps, and the blob. The point has the one number.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Which kind of table it is.
    pub fn kind(&self) -> StageKind {
        self.kind
    }
}
