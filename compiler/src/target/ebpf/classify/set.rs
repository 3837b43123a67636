//! A large set of one field, or several, with a blob of their own.
//!
//! The steps of an [`AddressTable`] do not depend on its contents but only on the room that it was
//! made with, which is a quarter more than it needed, rounded up to powers of two. So the contents
//! can change under a program that runs:
//!
//! * [`patch`](AddressTable::patch) changes a range of numbers with a few writes (see [`Write`] for
//!   their order), and needs nothing but the blob: how much of its room is used is written in it;
//! * [`refill`](AddressTable::refill) makes another blob with other contents for the same steps. It
//!   takes the place of the first as one entry in a map of maps: readers see one or the other.
//!
//! Only when the contents outgrow the room does the program have to be made anew.
//!
//! For example, a blocklist of 100,000 hosts: one more host is one write of four bytes. Another
//! edition of the list, with 104,000, is another blob of the same size.
//!
//! Several sets that are asked about the same field share a table: bit `i` of a value says whether
//! the number is in set `i` (see [`Partition::of_sets`]).

use super::Limits;
use super::draft::{Data, Draft, Packing};
use super::partition::Partition;
use super::plan::{Plan, Step, TableId, Width};
use super::problem::FieldSpec;
use super::stage::{self, Change, Growth, NoRoom, Order, Patcher, Shape, StageKind, Unfit, Write};

/// A table for the values of one field's numbers, which can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressTable {
    plan: Plan,
    kind: StageKind,
    shape: Shape,
    /// How wide the field is.
    bits: u8,
    /// The largest value.
    largest: u32,
    /// The table that says how much of the others is used.
    used: TableId,
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
            StageKind::Search if spec.is_address() => StageKind::Dxr,
            kind => kind,
        };
        Self::of_kind(kind, partition, largest)
    }

    /// A table of one kind.
    pub fn of_kind(kind: StageKind, partition: &Partition, largest: u32) -> Result<Self, Unfit> {
        let largest = largest.max(partition.largest());
        let (draft, shape, used) = draft(kind, partition, largest, None)?;
        Ok(Self {
            plan: draft.finish(kind.name(), Packing::Apart),
            kind,
            shape,
            bits: partition.bits(),
            largest,
            used,
        })
    }

    /// The steps, and the blob as it was made. The point has the one number.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Which kind of table it is.
    pub fn kind(&self) -> StageKind {
        self.kind
    }

    /// A blob with other contents for the same steps; `None` when they do not fit.
    pub fn refill(&self, partition: &Partition) -> Option<Vec<u8>> {
        if partition.bits() != self.bits || partition.largest() > self.largest {
            return None;
        }
        let (draft, ..) = draft(self.kind, partition, self.largest, Some(&self.shape)).ok()?;
        draft.refill(&self.plan)
    }

    /// The writes that change a range of numbers in a blob of this table, in the order in which
    /// they have to be made.
    pub fn patch(&self, blob: &[u8], change: Change) -> Result<Vec<Write>, NoRoom> {
        if change.value > self.largest {
            return Err(NoRoom::Value(change.value));
        }
        let max = u128::MAX >> (128 - u32::from(self.bits));
        let change = Change {
            last: change.last.min(max),
            ..change
        };
        if change.first > change.last {
            return Ok(Vec::new());
        }
        let mut patcher = Patcher::new(&self.plan, blob, self.used);
        self.shape.patch(&mut patcher, change)?;
        patcher.finish()
    }
}

fn draft(
    kind: StageKind,
    partition: &Partition,
    largest: u32,
    like: Option<&Shape>,
) -> Result<(Draft, Shape, TableId), Unfit> {
    let mut draft = Draft::default();
    let order = Order {
        field: 0,
        partition,
        largest,
        growth: Growth::Spare,
        like,
    };
    let (slot, shape) = stage::build(kind, &mut draft, order)?;
    draft.push(Step::Answer { slot });
    let used = draft.table(Data::of(draft.used(), Width::U32));
    Ok((draft, shape, used))
}

impl Write {
    /// Makes the write in a copy of the blob.
    pub fn apply(&self, blob: &mut [u8]) {
        let at = self.offset as usize;
        if let Some(to) = blob.get_mut(at..at + self.bytes.len()) {
            to.copy_from_slice(&self.bytes);
        }
    }
}
