//! One field: its table has the answers in place of classes.
//!
//! The rows `198.51.100.0/24 → 1` and `203.0.113.0/24 → 2` are one lookup of the source, which ends
//! with 1, 2 or the default.

use super::super::Limits;
use super::super::analysis::{Analysis, Column};
use super::super::draft::Draft;
use super::super::plan::Step;
use super::super::stage;
use super::{Offer, Refusal, look_up, stage_cost, within};

pub(super) fn propose<'a>(
    analysis: &'a Analysis<'a>,
    limits: &'a Limits,
) -> Result<Offer<'a>, Refusal> {
    let [column] = analysis.columns.as_slice() else {
        return Err(Refusal::Fields(analysis.columns.len()));
    };
    let estimate = stage::choose(column.spec, &column.partition, limits);
    Ok(Offer {
        cost: stage_cost(estimate),
        build: Box::new(|| build(analysis, column, limits)),
    })
}

fn build(analysis: &Analysis<'_>, column: &Column<'_>, limits: &Limits) -> Result<Draft, Refusal> {
    let default = analysis.problem.default();
    let firsts = column.firsts();
    let answers: Vec<u32> = firsts
        .map(|row| {
            row.and_then(|row| analysis.rows.get(row))
                .map_or(default, |row| row.rule)
        })
        .collect();
    let mut draft = Draft::default();
    let answer = |class: u32| answers.get(class as usize).copied().unwrap_or(default);
    let slot = look_up(&mut draft, column, limits, answer)?;
    draft.push(Step::Answer { slot });
    within(draft, limits.vector_bytes)
}
