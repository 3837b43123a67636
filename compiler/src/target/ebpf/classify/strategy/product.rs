//! Classes of all fields, combined two at a time, until one table has the answers.
//!
//! Source (500 classes), destination (400), port (60) and protocol (5): the small ones make 90
//! classes together, the *inner* side; the addresses make 200,000 pairs, the *outer* side. What a
//! pair answers to the 90 inner classes follows from the few rows that it has (see
//! [`tables`](super::tables)), and most pairs have the same rows as many others. Where that is not
//! so, the rows are taken in [`parts`].
//!
//! Sizes are known before a table is begun: pairs are the product of two numbers of classes, and
//! nothing is built when they are too many. Positions and answers are counted while they are found,
//! and the first beyond the limit ends it.

use super::super::Limits;
use super::super::analysis::{Analysis, Column};
use super::super::bits::Bits;
use super::super::draft::Draft;
use super::super::plan::Step;
use super::super::stage;
use super::axis::{Axis, Later, allowed, check, pairs};
use super::parts::{self, Sides};
use super::tables::Tables;
use super::{Offer, Refusal, read_cost, stage_cost, within};

pub(super) fn propose<'a>(
    analysis: &'a Analysis<'a>,
    limits: &'a Limits,
) -> Result<Offer<'a>, Refusal> {
    let columns = &analysis.columns;
    if columns.len() < 2 {
        return Err(Refusal::Fields(columns.len()));
    }
    let estimates = columns
        .iter()
        .map(|c| stage::choose(c.spec, &c.partition, limits));
    let fields: f64 = estimates.map(stage_cost).sum();
    let mut classes: Vec<usize> = columns.iter().map(Column::classes).collect();
    classes.sort_unstable();
    let outer: usize = classes.iter().rev().take(2).product();
    let tables = u32::try_from(columns.len() - 2).unwrap_or(u32::MAX);
    let large = outer.saturating_mul(2).min(limits.product_bytes);
    Ok(Offer {
        cost: fields + f64::from(tables) * read_cost(1 << 16) + 4.0 * read_cost(large / 4),
        build: Box::new(|| build(analysis, limits)),
    })
}

fn build(analysis: &Analysis<'_>, limits: &Limits) -> Result<Draft, Refusal> {
    let mut columns: Vec<usize> = (0..analysis.columns.len()).collect();
    let classes = |at: &usize| analysis.columns.get(*at).map_or(0, Column::classes);
    columns.sort_by_key(classes);
    let bytes = columns.iter().map(classes).sum::<usize>() * analysis.rows.len() / 8;
    check(bytes, limits.vector_bytes)?;
    let [small @ .., left, right] = columns.as_slice() else {
        return Err(Refusal::Fields(columns.len()));
    };
    // The second try has to be a short one.
    let short = Limits {
        work: limits.work / 16,
        ..limits.clone()
    };
    let made = if small.is_empty() {
        rising(analysis, &columns, limits)
    } else {
        in_parts(analysis, small, [*left, *right], limits)
            .or_else(|_| rising(analysis, &columns, &short))
    };
    // The two largest are the ones that most often are too large: that says more.
    made.map_err(|last| refused(analysis, &columns, limits).unwrap_or(last))
}

/// What the two fields with the most classes are refused for.
fn refused(analysis: &Analysis<'_>, rising: &[usize], limits: &Limits) -> Option<Refusal> {
    let [.., left, right] = rising else {
        return None;
    };
    let (left, right) = (analysis.columns.get(*left)?, analysis.columns.get(*right)?);
    let cells = left.classes().saturating_mul(right.classes());
    let limit = pairs(cells, analysis.rows.len(), limits).err()?;
    Some(Refusal::Pairs {
        left: left.spec.name.clone(),
        right: right.spec.name.clone(),
        cells,
        limit,
    })
}

/// The two fields with the most classes on one side, all others on the other: few answers for each
/// pair, much in common.
fn in_parts(
    analysis: &Analysis<'_>,
    small: &[usize],
    large: [usize; 2],
    limits: &Limits,
) -> Result<Draft, Refusal> {
    let axes = large.map(|at| Axis::of(analysis, at));
    let [left, right] = &axes;
    allowed(left, right, analysis, limits)?;
    let inner = fold(analysis, small, limits)?;
    let mut sides = Sides::of(analysis, large, axes, &inner);
    // Small tables are in the cache: better three more reads in these.
    let tight = Limits {
        product_bytes: limits.product_bytes / 4,
        ..limits.clone()
    };
    let all = [Bits::of(analysis.rows.len(), 0..analysis.rows.len())];
    let two = parts::split(&all, sides.widest());
    sides
        .write(&all, &tight)
        .or_else(|_| sides.write(&two, limits))
        .or_else(|_| sides.write(&sides.all_parts(), limits))
}

/// From the fewest classes to the most: a pair for each class of the last.
fn rising(analysis: &Analysis<'_>, columns: &[usize], limits: &Limits) -> Result<Draft, Refusal> {
    let (small, large) = columns.split_at(columns.len() - 1);
    // The larger side first: it is the one that is most likely refused.
    let outer = fold(analysis, large, limits)?;
    let inner = fold(analysis, small, limits)?;
    let mut later = Later::of(analysis, large);
    let (asked, rules) = (later.inner(&inner), analysis.rules());
    let mut tables = Tables::of(&asked, &rules, analysis.problem.default());
    let (mut rows, mut records) = (Vec::new(), Vec::new());
    for vector in &outer.vectors {
        later.count(vector.ones(), &mut rows);
        let asking = rows.iter().map(|row| (*row, later.group(*row)));
        records.push(tables.record(asking, limits.product_bytes)?);
    }
    let mut draft = Draft::default();
    let record = |class: u32| records.get(class as usize).copied().unwrap_or_default();
    let outer = outer.emit(&mut draft, analysis, limits, record)?;
    let inner = inner.emit(&mut draft, analysis, limits, |class| class)?;
    let slot = tables.emit(&mut draft, outer, inner);
    draft.push(Step::Answer { slot });
    within(draft, limits.product_bytes)
}

/// The columns combined, in order.
fn fold(analysis: &Analysis<'_>, columns: &[usize], limits: &Limits) -> Result<Axis, Refusal> {
    let mut axes = columns.iter().map(|at| Axis::of(analysis, *at));
    let first = axes.next().ok_or(Refusal::Fields(0))?;
    axes.try_fold(first, |all, next| all.combine(&next, analysis, limits))
}
