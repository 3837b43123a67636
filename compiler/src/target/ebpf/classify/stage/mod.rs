//! Lookups of one field: from a number to the value of its piece.
//!
//! | kind | for | reads | update in place |
//! |---|---|---|---|
//! | [`mod@array`] | up to 17 bits | 1 | yes |
//! | [`multibit`] | addresses, when the table is small enough | 1 to 3 (v4), 1 to 7 (v6) | yes |
//! | [`dxr`] | IPv4 beyond that | 1 and a search among the pieces of a /18 | yes |
//! | [`bucket`] | addresses that are nearly all hosts | 1 line of the cache | yes |
//! | [`search`] | few pieces; wide numbers; IPv6 beyond that | a line of the cache for 3 or 4 bits of a place among all pieces | yes |
//!
//! Values of address tables have at most 31 bits: the rest is a flag (see
//! [`plan`](super::plan)).
//!
//! For example, the pieces of 198.51.100.0/24 are three: a search is taken, which reads one line of the
//! cache. For the 100,000 hosts of a blocklist it is buckets, and
//! for the 170,000 networks of all countries a multibit table of 4 MB.

pub mod array;
pub mod bucket;
mod chunks;
mod cuts;
pub mod dxr;
pub mod multibit;
pub mod search;

pub use chunks::ChunkTables;

use super::Limits;
use super::draft::{Data, Draft, FLAG};
use super::partition::Partition;
use super::plan::{Part, Slot};
use super::problem::FieldSpec;
use cuts::Head;

/// How a field is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StageKind {
    /// An entry for every number.
    Array,
    /// Blocks of 16, 8 and 8 bits.
    Multibit,
    /// A direct table of the upper bits, and a search among the pieces below.
    Dxr,
    /// Buckets of hosts.
    Bucket,
    /// A search among all pieces.
    Search,
}

impl StageKind {
    /// All.
    pub const ALL: [Self; 5] = [
        Self::Array,
        Self::Multibit,
        Self::Dxr,
        Self::Bucket,
        Self::Search,
    ];

    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Multibit => "multibit",
            Self::Dxr => "dxr",
            Self::Bucket => "bucket",
            Self::Search => "search",
        }
    }
}

/// Whether tables get room for what they may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// The tables stay as they are.
    Fixed,
    /// Other contents shall fit, too.
    Spare,
}

impl Growth {
    fn room(self, entries: usize, least: usize) -> usize {
        match self {
            Self::Fixed => entries,
            Self::Spare => (entries + entries / 4).max(least),
        }
    }
}

/// What the entries of a table have to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Results {
    /// The largest value.
    pub(super) largest: u32,
    /// The largest reference; 0 when there are none.
    pub(super) references: u32,
}

impl Results {
    /// How many bits a value has.
    fn bits(self) -> u8 {
        u8::try_from(32 - self.largest.leading_zeros()).unwrap_or(32)
    }

    fn data(self, entries: Vec<u32>) -> Data {
        Data::flagged(entries, self.largest.max(self.references))
    }
}

/// What a stage is made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order<'a> {
    /// The number of the field.
    pub(super) field: u16,
    /// The values of its numbers.
    pub(super) partition: &'a Partition,
    /// The largest value that tables can hold.
    pub(super) largest: u32,
    /// Whether they can change.
    pub(super) growth: Growth,
}

/// Why a kind of stage cannot look a partition up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The field is too wide or too narrow for it.
    #[error("the field has {0} bits")]
    Bits(u8),
    /// There are too many values for the entries.
    #[error("{0} values leave no bit for references")]
    Values(u32),
    /// Too many numbers that are no hosts, or buckets that do not come out even.
    #[error("the pieces are not single hosts")]
    Hosts,
}

/// Adds the tables and steps of a kind; the value ends up in the slot.
pub(super) fn build(kind: StageKind, draft: &mut Draft, order: Order<'_>) -> Result<Slot, Unfit> {
    if order.largest >= FLAG {
        return Err(Unfit::Values(order.largest));
    }
    match kind {
        StageKind::Array => array::build(draft, order),
        StageKind::Multibit => multibit::build(draft, order),
        StageKind::Dxr => dxr::build(draft, order),
        StageKind::Bucket => bucket::build(draft, order),
        StageKind::Search => Ok(search::build(draft, order)),
    }
}

/// What is known of a stage before it is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Estimate {
    /// Which.
    pub(super) kind: StageKind,
    /// At most how many bytes its tables have.
    pub(super) bytes: usize,
    /// How many entries are read one after the other, in the worst case.
    pub(super) reads: usize,
}

/// Pieces up to which a search is better than any table: they lie in one or two lines of the cache.
const FEW: usize = 16;

/// The kind for a field, with its estimate: in time linear in the number of pieces.
pub(super) fn choose(spec: &FieldSpec, partition: &Partition, limits: &Limits) -> Estimate {
    let searched = search::estimate(partition);
    if spec.bits <= array::WIDEST {
        return array::estimate(spec.bits, partition);
    }
    if !spec.is_address() || partition.count() <= FEW {
        return searched;
    }
    let multibit = multibit::estimate(partition);
    if multibit.bytes <= limits.multibit_bytes {
        return multibit;
    }
    bucket::estimate(partition).unwrap_or_else(|| match spec.bits {
        0..=32 => dxr::estimate(partition),
        _ => searched,
    })
}

/// Bits of a field.
fn part(field: u16, shift: u8, bits: u8) -> Part {
    Part { field, shift, bits }
}

/// The pieces by upper bits, and the tables for what they leave out, if there is anything.
fn head(draft: &mut Draft, order: Order<'_>) -> (cuts::Cuts, Tails) {
    let head = Head::of(order.partition);
    let none = Results {
        largest: order.largest,
        references: 0,
    };
    let needed = |tails: &chunks::Chunks| tails.largest() > 0;
    let Some(chunks) = head.tails.filter(needed) else {
        let tails = Tails {
            shift: head.shift,
            results: none,
            tables: None,
        };
        return (head.cuts, tails);
    };
    let room = super::draft::room(chunks.room(order.growth));
    let results = Results {
        references: u32::try_from(room - 1).unwrap_or(FLAG - 1),
        ..none
    };
    let tables = chunks.place(draft, 64, none, order.growth);
    let tails = Tails {
        shift: head.shift,
        results,
        tables: Some(tables),
    };
    (head.cuts, tails)
}

/// The lower bits of a wide field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tails {
    /// How many lower bits there are.
    shift: u8,
    /// What the tables of the upper bits hold.
    results: Results,
    /// The chunks that they refer to.
    tables: Option<ChunkTables>,
}

impl Tails {
    /// Adds the step that follows references to the chunks.
    fn follow(&self, draft: &mut Draft, field: u16, slot: Slot, flag: u64) {
        if let Some(tables) = self.tables {
            draft.push(tables.step(slot, flag, part(field, 0, 64)));
        }
    }
}
