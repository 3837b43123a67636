//! The rows of each class as vectors of bits, of which all are intersected: for any number of rows,
//! with memory in proportion to rows times classes.
//!
//! With 10,000 rows a vector has 157 words, and 3 more whose bits say which of these are not zero.
//! The source's vector has a bit in words 0 and 90, the destination's in 3 and 90: only word 90 is
//! read of both, and its first common bit is the row. Fields that are no addresses are combined
//! beforehand as long as that stays small.

use super::super::Limits;
use super::super::analysis::Analysis;
use super::super::bits::Bits;
use super::super::draft::{Data, Draft};
use super::super::plan::{Step, Term};
use super::super::stage;
use super::axis::Axis;
use super::{Offer, Refusal, read_cost, stage_cost, within};

pub(super) fn propose<'a>(
    analysis: &'a Analysis<'a>,
    limits: &'a Limits,
) -> Result<Offer<'a>, Refusal> {
    let columns = &analysis.columns;
    let size = Size::of(analysis.rows.len());
    let bytes = |classes: usize| classes.saturating_mul(size.stride() * 8);
    let total = columns.iter().map(|c| bytes(c.classes())).sum();
    if total > limits.vector_bytes {
        return Err(Refusal::Bytes {
            bytes: total,
            limit: limits.vector_bytes,
        });
    }
    if columns.is_empty() {
        return Err(Refusal::Fields(0));
    }
    let estimates = columns
        .iter()
        .map(|c| stage::choose(c.spec, &c.partition, limits));
    let fields: f64 = estimates.map(stage_cost).sum();
    let reads = columns.len() * (size.summary + 3);
    let reads = f64::from(u32::try_from(reads).unwrap_or(u32::MAX));
    Ok(Offer {
        cost: fields + reads * read_cost(total) / 2.0 + 10.0,
        build: Box::new(|| build(analysis, limits)),
    })
}

/// How many words a vector has.
#[derive(Clone, Copy)]
struct Size {
    words: usize,
    summary: usize,
}

impl Size {
    fn of(rows: usize) -> Self {
        let words = rows.div_ceil(64).max(1);
        Self {
            words,
            summary: words.div_ceil(64),
        }
    }

    fn stride(self) -> usize {
        self.words + self.summary
    }
}

fn build(analysis: &Analysis<'_>, limits: &Limits) -> Result<Draft, Refusal> {
    let size = Size::of(analysis.rows.len());
    let mut draft = Draft::default();
    let mut sources = Vec::new();
    for axis in axes(analysis, limits) {
        let slot = axis.emit(&mut draft, analysis, limits, |class| class)?;
        let table = draft.table(Data::wide(words(&axis.vectors, size)));
        sources.push((slot, table));
    }
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let (row, to) = (draft.slot(), draft.slot());
    draft.push(Step::FirstCommon {
        to: row,
        sources,
        stride: number(size.stride()),
        summary: number(size.summary),
        none: number(analysis.rows.len()),
    });
    let mut rules = analysis.rules();
    rules.push(analysis.problem.default());
    let table = draft.table(Data::narrow(rules));
    let index = vec![Term::slot(row, 1)];
    draft.push(Step::Load { to, table, index });
    draft.push(Step::Answer { slot: to });
    within(draft, limits.vector_bytes.saturating_mul(2))
}

/// The addresses, and everything else combined as far as that stays small.
fn axes(analysis: &Analysis<'_>, limits: &Limits) -> Vec<Axis> {
    let columns = analysis.columns.iter().enumerate();
    let (wide, mut small): (Vec<_>, Vec<_>) = columns.partition(|(_, c)| c.spec.is_address());
    small.sort_by_key(|(_, column)| column.classes());
    let small_limits = Limits {
        product_bytes: limits.product_bytes / 8,
        vector_bytes: limits.vector_bytes / 8,
        ..limits.clone()
    };
    let axis = |at: usize| Axis::of(analysis, at);
    let mut out: Vec<Axis> = wide.iter().map(|(at, _)| axis(*at)).collect();
    let mut small = small.iter().map(|(at, _)| *at);
    let Some(mut all) = small.next().map(axis) else {
        return out;
    };
    for next in small.map(axis) {
        match all.combine(&next, analysis, &small_limits) {
            Ok(both) => all = both,
            Err(_) => out.push(std::mem::replace(&mut all, next)),
        }
    }
    out.push(all);
    out
}

/// The vectors with their summaries, one behind the other.
fn words(vectors: &[Bits], size: Size) -> Vec<u64> {
    let mut out = Vec::with_capacity(vectors.len() * size.stride());
    for vector in vectors {
        let words = vector.words();
        let set = words.iter().enumerate().filter(|(_, word)| **word != 0);
        let summary = Bits::of(size.words, set.map(|(at, _)| at));
        out.extend_from_slice(summary.words());
        out.extend_from_slice(words);
    }
    out
}
