//! Packet classification as data: which row of a problem is the first one that a point is in.
//!
//! A [`Problem`] has fields and rows; [`choose`] turns it into a [`Plan`]: tables, all in one blob,
//! and a list of lookups that a program without loops runs. [`Plan::eval`] runs it here, and is what
//! generated programs are compared with. Nothing in here knows policies, packets or the kernel.
//!
//! For example, a thousand rows about two addresses, two ports and a protocol become five lookups,
//! one for each field, that say which *class* its number is in: two numbers are in one class when
//! the same rows have them. A few more lookups combine classes, and the last one is the answer:
//!
//! ```text
//! source, destination, sport, dport, protocol
//!    └────────┬──────┘    └─────┬───┘    │
//!             │                 └───┬────┘
//!             └────────┬────────────┘
//!                    answer
//! ```
//!
//! **Strategies** ([`strategy`]) are ways to make a plan. Each offers one with its costs or says why
//! it cannot; the cheapest that can be built within the [`Limits`] is taken. They share the
//! [`analysis`] of the problem and the [`stage`]s, which look single fields up.
//!
//! **Large sets.** A set that only one field asks for is an [`AddressTable`]: it has a blob of its own,
//! which in the kernel is a map of its own within a map of maps. Another blob for the same steps takes
//! its place at once, and the program stays. Small sets are not worth a map: as sets of a row they
//! become part of the classes of their field.

pub mod analysis;
mod bits;
mod draft;
mod eval;
pub mod partition;
pub mod plan;
mod pool;
pub mod problem;
pub mod set;
mod slots;
pub mod stage;
pub mod strategy;

pub use partition::Partition;
pub use plan::Plan;
pub use problem::{FieldSpec, Kind, Problem, ProblemError, Row};
pub use set::AddressTable;
pub use strategy::{Unbuildable, choose, only};

/// What plans may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most rows that are tested one after the other.
    pub straight_rows: usize,
    /// The most ranges that these rows have together.
    pub straight_ranges: usize,
    /// The largest multibit table, in bytes, before a denser kind of table is taken. Equal blocks
    /// are counted as often as they occur.
    pub multibit_bytes: usize,
    /// The largest blob with combined classes, in bytes.
    pub product_bytes: usize,
    /// The largest blob with vectors of rows, in bytes.
    pub vector_bytes: usize,
    /// The most words that are looked at to combine two fields.
    pub work: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            straight_rows: 24,
            straight_ranges: 96,
            multibit_bytes: 12 << 20,
            product_bytes: 16 << 20,
            vector_bytes: 64 << 20,
            work: 1 << 29,
        }
    }
}
