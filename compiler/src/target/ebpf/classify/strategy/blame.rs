//! Which rows make the tables large.
//!
//! A row costs as much as it has combinations of classes: one that takes any source, of 4,000
//! classes, and one of 500 destination classes is in 2,000,000 cells, of which a table has to say
//! something.

use super::super::analysis::{Analysis, Column};

/// How many rows are named.
const NAMED: usize = 10;

/// What a row costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Blame {
    /// Its rule.
    pub rule: u32,
    /// Of how many fields it takes any number, of those that any row asks about.
    pub any: usize,
    /// In how many combinations of classes it is.
    pub cells: f64,
}

/// The rows that cost most, the worst first.
pub(super) fn worst(analysis: &Analysis<'_>) -> Vec<Blame> {
    let spreads: Vec<Vec<usize>> = analysis.columns.iter().map(Column::spread).collect();
    let rules = analysis.rows.iter().map(|row| row.rule).enumerate();
    let mut all: Vec<Blame> = rules
        .map(|(row, rule)| {
            let counts = spreads.iter().filter_map(|spread| spread.get(row));
            let counts = counts.map(|n| f64::from(u32::try_from(*n).unwrap_or(u32::MAX)));
            Blame {
                rule,
                any: analysis.columns.iter().filter(|c| c.is_any(row)).count(),
                cells: counts.product(),
            }
        })
        .collect();
    all.sort_by(|a, b| b.cells.total_cmp(&a.cells));
    all.truncate(NAMED);
    all
}
