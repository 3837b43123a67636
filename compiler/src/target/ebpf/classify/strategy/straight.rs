//! A list of tests: a few rows without large sets.
//!
//! `10.0.0.0/8 × 22 → 7` and nothing else is two comparisons of the source and one of the port, then
//! 7; otherwise the default.

use super::super::Limits;
use super::super::analysis::Analysis;
use super::super::draft::Draft;
use super::super::plan::{Step, Test};
use super::super::problem::Row;
use super::{Offer, Refusal};

pub(super) fn propose<'a>(
    analysis: &'a Analysis<'a>,
    limits: &'a Limits,
) -> Result<Offer<'a>, Refusal> {
    let ranges = |row: usize| {
        let asked = analysis.columns.iter().filter(move |c| !c.is_any(row));
        let dims = asked.filter_map(move |c| analysis.rows.get(row)?.region.dim(c.field.into()));
        dims.map(|values| values.ranges().len()).sum::<usize>()
    };
    let rows = analysis.rows.len();
    let few = rows <= limits.straight_rows;
    let ranges = if few { (0..rows).map(ranges).sum() } else { 0 };
    if !few || ranges > limits.straight_ranges {
        return Err(Refusal::Rows { rows, ranges });
    }
    Ok(Offer {
        cost: 0.6 * f64::from(u32::try_from(ranges).unwrap_or(u32::MAX)),
        build: Box::new(|| Ok(build(analysis))),
    })
}

fn build(analysis: &Analysis<'_>) -> Draft {
    let mut draft = Draft::default();
    for (at, row) in analysis.rows.iter().enumerate() {
        draft.push(Step::Match {
            tests: tests(analysis, at, row),
            answer: row.rule,
        });
    }
    let slot = draft.slot();
    draft.push(Step::Set {
        to: slot,
        value: analysis.problem.default(),
    });
    draft.push(Step::Answer { slot });
    draft
}

/// The shortest tests first: they are the cheapest.
fn tests(analysis: &Analysis<'_>, at: usize, row: &Row) -> Vec<Test> {
    let asked = analysis.columns.iter().filter(|c| !c.is_any(at));
    let test = asked.filter_map(|column| {
        let ranges = row.region.dim(column.field.into())?.ranges();
        Some(Test {
            field: column.field,
            ranges,
        })
    });
    let mut tests: Vec<Test> = test.collect();
    tests.sort_by_key(|test| test.ranges.len());
    tests
}
