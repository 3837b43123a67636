//! The first rows, when they ask for something that no row behind them asks for: they are compared
//! one by one before any table is read. Else every point would have this field looked up and
//! combined.
//!
//! For example, the first of a thousand rows is the only one that asks for an ICMP type and a code. A
//! comparison of the protocol passes all other packets by, and the tables know neither field.

use std::borrow::Cow;

use super::super::Limits;
use super::super::plan::{Step, Test};
use super::super::problem::{FieldSpec, Problem, Row};
use crate::packet::Values;

/// The most rows that are compared.
const ROWS: usize = 4;

/// The most ranges that one of them has.
const RANGES: usize = 16;

/// The steps that compare the first rows, and the problem without these.
pub(super) fn split<'p>(problem: &'p Problem, limits: &Limits) -> (Vec<Step>, Cow<'p, Problem>) {
    let rows = problem.rows();
    let most = ROWS.min(limits.straight_rows).min(rows.len());
    let lone = |count: &usize| {
        let (first, behind) = rows.split_at(*count);
        let mut unasked = vec![true; problem.fields().len()];
        for row in behind {
            for (unasked, asks) in unasked.iter_mut().zip(asked(problem, row)) {
                *unasked &= !asks;
            }
        }
        let alone = |row: &Row| asked(problem, row).zip(&unasked).any(|(a, b)| a && *b);
        first
            .iter()
            .all(|row| alone(row) && tests(problem, row).is_some())
    };
    let count = (1..=most).rev().find(lone).unwrap_or(0);
    if count == 0 {
        return (Vec::new(), Cow::Borrowed(problem));
    }
    let steps = rows.iter().take(count).filter_map(|row| {
        let (tests, answer) = (tests(problem, row)?, row.rule);
        Some(Step::Match { tests, answer })
    });
    (steps.collect(), Cow::Owned(problem.behind(count)))
}

/// For each field, whether a row asks for it.
fn asked<'r>(problem: &'r Problem, row: &'r Row) -> impl Iterator<Item = bool> + Clone + 'r {
    let full = problem.fields().iter().map(FieldSpec::full);
    full.zip(row.region.dims()).map(|(full, dim)| *dim != full)
}

/// What a row asks; `None` when that is much.
fn tests(problem: &Problem, row: &Row) -> Option<Vec<Test>> {
    let dims = (0u16..).zip(row.region.dims()).zip(asked(problem, row));
    let dims = dims.filter(|(_, asks)| *asks).map(|(dim, _)| dim);
    let ranges = dims.clone().map(|(_, values)| match values {
        Values::Range(..) => 1,
        Values::Many(set) => set.ranges().len(),
    });
    if ranges.sum::<usize>() > RANGES {
        return None;
    }
    let test = |(field, values): (u16, &Values)| Test {
        field,
        ranges: values.ranges(),
    };
    Some(dims.map(test).collect())
}
