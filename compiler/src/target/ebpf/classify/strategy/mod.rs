//! Ways to make a plan, and the choice among them.
//!
//! Before any of them, the first rows are compared one by one if they ask for a field that no other
//! row asks for (see `ahead`). A strategy is a file with one function, which looks at the analysis and makes an `Offer`: about
//! how long a lookup takes, and what builds it. `ALL` has a line for each.
//!
//! For example, 10,000 rows whose sources and destinations have 4,000 classes each: `straight`
//! refuses so many rows, `direct` more than one field, `product` sees that its first table would have
//! 16 million entries. `vectors` builds, and the plan's notes say why the others
//! did not, naming the two fields.

mod ahead;
mod axis;
mod blame;
mod direct;
mod parts;
mod product;
mod straight;
mod tables;
mod vectors;

pub use blame::Blame;

use super::Limits;
use super::analysis::{Analysis, Column};
use super::draft::{Draft, Packing};
use super::plan::{Plan, Slot, Step};
use super::problem::Problem;
use super::stage::{self, Estimate, Growth, Order, StageKind, Unfit};

/// A strategy: its name, and its offer for a problem.
struct Strategy {
    name: &'static str,
    propose: for<'a> fn(&'a Analysis<'a>, &'a Limits) -> Result<Offer<'a>, Refusal>,
}

/// All of them.
const ALL: &[Strategy] = &[
    Strategy {
        name: "straight",
        propose: straight::propose,
    },
    Strategy {
        name: "direct",
        propose: direct::propose,
    },
    Strategy {
        name: "product",
        propose: product::propose,
    },
    Strategy {
        name: "vectors",
        propose: vectors::propose,
    },
];

/// The names of all strategies.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|strategy| strategy.name)
}

/// What a strategy would do.
struct Offer<'a> {
    /// About how many nanoseconds a lookup takes.
    cost: f64,
    /// Does it, or finds out that it costs too much.
    build: Box<dyn FnOnce() -> Result<Draft, Refusal> + 'a>,
}

/// Why a strategy does not serve a problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too many rows to test one by one.
    #[error("{rows} rows with {ranges} ranges are too many to test one by one")]
    Rows {
        /// How many rows.
        rows: usize,
        /// How many ranges they have.
        ranges: usize,
    },
    /// Rows ask about more or fewer than one field.
    #[error("rows ask about {0} fields")]
    Fields(usize),
    /// Two fields have too many classes together.
    #[error("`{left}` and `{right}` have {cells} pairs of classes; there is room for {limit}")]
    Pairs {
        /// One side.
        left: String,
        /// The other.
        right: String,
        /// How many pairs.
        cells: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The tables are too large.
    #[error("the tables have {bytes} bytes; there is room for {limit}")]
    Bytes {
        /// How large they are, or are at least.
        bytes: usize,
        /// How large they may be.
        limit: usize,
    },
    /// A field cannot be looked up.
    #[error("a field cannot be looked up: {0}")]
    Stage(#[from] Unfit),
}

/// A strategy that was not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The strategy.
    pub strategy: &'static str,
    /// What speaks against it.
    pub why: Refusal,
}

/// A problem that no strategy can serve within the limits.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{rows} rows are more than the tables have room for")]
pub struct Unbuildable {
    /// How many rows count.
    pub rows: usize,
    /// What speaks against each strategy.
    pub notes: Vec<Note>,
    /// The rows that cost most, the worst first.
    pub blame: Vec<Blame>,
}

/// The plan that looks points up fastest and stays within the limits.
pub fn choose(problem: &Problem, limits: &Limits) -> Result<Plan, Unbuildable> {
    among(ALL.iter(), problem, limits)
}

/// For each step of a plan that tests row after row, the row that it tests; nothing for other plans.
pub fn rows_of_steps(problem: &Problem, plan: &Plan, limits: &Limits) -> Vec<Option<usize>> {
    if !plan
        .steps
        .iter()
        .any(|step| matches!(step, Step::Match { .. }))
    {
        return Vec::new();
    }
    if plan.strategy != "straight" {
        let mut ahead = 0..;
        let row = |step: &Step| match step {
            Step::Match { .. } => ahead.next(),
            _ => None,
        };
        return plan.steps.iter().map(row).collect();
    }
    let Ok(numbered) = only(plan.strategy, &problem.numbered(), limits) else {
        return Vec::new();
    };
    let row = |step: &Step| match step {
        Step::Match { answer, .. } => usize::try_from(*answer).ok(),
        _ => None,
    };
    numbered.steps.iter().map(row).collect()
}

/// The plan of one strategy, by its name.
pub fn only(name: &str, problem: &Problem, limits: &Limits) -> Result<Plan, Unbuildable> {
    let named = ALL.iter().filter(|strategy| strategy.name == name);
    among(named, problem, limits)
}

fn among<'s>(
    strategies: impl Iterator<Item = &'s Strategy>,
    problem: &Problem,
    limits: &Limits,
) -> Result<Plan, Unbuildable> {
    let (ahead, rest) = ahead::split(problem, limits);
    let analysis = Analysis::of(&rest);
    let (mut offers, mut notes) = (Vec::new(), Vec::new());
    for strategy in strategies {
        match (strategy.propose)(&analysis, limits) {
            Ok(offer) => offers.push((strategy.name, offer)),
            Err(why) => notes.push(Note {
                strategy: strategy.name,
                why,
            }),
        }
    }
    offers.sort_by(|(_, a), (_, b)| a.cost.total_cmp(&b.cost));
    for (strategy, offer) in offers {
        match (offer.build)() {
            Ok(draft) => {
                let plan = draft.finish(strategy, Packing::Shared);
                let steps = ahead.into_iter().chain(plan.steps).collect();
                return Ok(Plan {
                    steps,
                    notes,
                    ..plan
                });
            }
            Err(why) => notes.push(Note { strategy, why }),
        }
    }
    Err(Unbuildable {
        rows: analysis.rows.len(),
        notes,
        blame: blame::worst(&analysis),
    })
}

/// About how many nanoseconds a read takes somewhere in so many bytes.
fn read_cost(bytes: usize) -> f64 {
    match bytes {
        0..=0x8000 => 1.5,
        0x8001..=0x10_0000 => 4.0,
        0x10_0001..=0x200_0000 => 12.0,
        _ => 60.0,
    }
}

/// About how many nanoseconds the lookup of a field takes.
fn stage_cost(estimate: Estimate) -> f64 {
    let reads = f64::from(u32::try_from(estimate.reads).unwrap_or(u32::MAX));
    match estimate.kind {
        // The later reads are near the first.
        StageKind::Search | StageKind::Dxr => read_cost(estimate.bytes) + reads,
        _ => read_cost(estimate.bytes) * reads,
    }
}

/// Adds the lookup of a field's class, or of a value for each class.
fn look_up(
    draft: &mut Draft,
    column: &Column<'_>,
    limits: &Limits,
    value: impl FnMut(u32) -> u32,
) -> Result<Slot, Refusal> {
    let partition = column.partition.map(value);
    let order = Order {
        field: column.field,
        partition: &partition,
        largest: partition.largest(),
        growth: Growth::Fixed,
    };
    let kind = stage::choose(column.spec, &partition, limits).kind;
    // What one kind cannot hold, the search can.
    let built = stage::build(kind, draft, order);
    Ok(built.or_else(|_| stage::build(StageKind::Search, draft, order))?)
}

/// The draft, unless it is too large.
fn within(draft: Draft, limit: usize) -> Result<Draft, Refusal> {
    let bytes = draft.bytes(Packing::Shared);
    if bytes > limit {
        return Err(Refusal::Bytes { bytes, limit });
    }
    Ok(draft)
}
