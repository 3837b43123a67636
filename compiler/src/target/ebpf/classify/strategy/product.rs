//! Classes of all fields, combined two at a time, until one table has the answers.
//!
//! Source (500 classes), destination (400), port (60) and protocol (5): the small ones make 90
//! classes together, the addresses 200,000 pairs. Of these pairs many have the same answers for
//! all 90: each such row of answers is kept once, and the table of the pairs says where it begins.
//! An answer is then at `row + class`: the sixth read, after four fields and one other pair.
//!
//! Sizes are known before a table is begun: pairs are the product of two numbers of classes, and
//! nothing is built when they are too many. Rows of answers are counted while they are found, and
//! the first beyond the limit ends it.

use rustc_hash::FxHashMap;

use super::super::Limits;
use super::super::analysis::Analysis;
use super::super::draft::{Data, Draft};
use super::super::plan::{Step, Term};
use super::super::stage;
use super::axis::{Axis, allowed, pairs};
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
    let tables = u32::try_from(columns.len() - 1).unwrap_or(u32::MAX);
    Ok(Offer {
        cost: fields + f64::from(tables) * read_cost(limits.product_bytes / 4),
        build: Box::new(|| build(analysis, limits)),
    })
}

/// The order in which fields are combined.
#[derive(Clone, Copy)]
enum Order {
    /// The two with the most classes, and all others: few answers for each pair, much in common.
    Outer,
    /// From the fewest classes to the most.
    Rising,
}

fn build(analysis: &Analysis<'_>, limits: &Limits) -> Result<Draft, Refusal> {
    let mut columns: Vec<usize> = (0..analysis.columns.len()).collect();
    let classes = |at: &usize| analysis.columns.get(*at).map_or(0, |c| c.classes());
    columns.sort_by_key(classes);
    let bytes = columns.iter().map(classes).sum::<usize>() * analysis.rows.len() / 8;
    if bytes > limits.vector_bytes {
        let limit = limits.vector_bytes;
        return Err(Refusal::Bytes { bytes, limit });
    }
    let made = with_order(Order::Outer, analysis, &columns, limits);
    match made {
        Err(_) if columns.len() > 2 => with_order(Order::Rising, analysis, &columns, limits),
        made => made,
    }
    // The first order is the one that most often works: its refusal says more.
    .or_else(|last| Err(refused(analysis, &columns, limits).unwrap_or(last)))
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

fn with_order(
    order: Order,
    analysis: &Analysis<'_>,
    rising: &[usize],
    limits: &Limits,
) -> Result<Draft, Refusal> {
    let (small, large) = match order {
        _ if rising.len() == 2 => rising.split_at(1),
        Order::Outer => rising.split_at(rising.len() - 2),
        Order::Rising => rising.split_at(rising.len() - 1),
    };
    // The larger side first: it is the one that is most likely refused.
    let outer = fold(analysis, large, limits)?;
    let inner = fold(analysis, small, limits)?;
    answers(&outer, &inner, analysis, limits)
}

/// The columns combined, in order.
fn fold(analysis: &Analysis<'_>, columns: &[usize], limits: &Limits) -> Result<Axis, Refusal> {
    let mut axes = columns.iter().map(|at| Axis::of(analysis, *at));
    let first = axes.next().ok_or(Refusal::Fields(0))?;
    axes.try_fold(first, |all, next| all.combine(&next, analysis, limits))
}

/// The table with the answers, and all steps.
fn answers(
    outer: &Axis,
    inner: &Axis,
    analysis: &Analysis<'_>,
    limits: &Limits,
) -> Result<Draft, Refusal> {
    let (rules, default) = (analysis.rules(), analysis.problem.default());
    let roomy = Limits {
        product_bytes: usize::MAX,
        ..limits.clone()
    };
    allowed(outer, inner, analysis, &roomy)?;
    let mut known: FxHashMap<Vec<u32>, u32> = FxHashMap::default();
    let (mut places, mut table) = (Vec::with_capacity(outer.classes()), Vec::new());
    for rows in &outer.vectors {
        let rows: Vec<usize> = rows.ones().collect();
        let answer = |has: &super::super::bits::Bits| {
            let row = rows.iter().find(|row| has.has(**row));
            row.and_then(|row| rules.get(*row))
                .copied()
                .unwrap_or(default)
        };
        let row: Vec<u32> = inner.vectors.iter().map(answer).collect();
        let next = u32::try_from(table.len()).unwrap_or(u32::MAX);
        let place = *known.entry(row).or_insert_with_key(|row| {
            table.extend_from_slice(row);
            next
        });
        places.push(place);
        if table.len() > limits.product_bytes {
            return Err(Refusal::Bytes {
                bytes: table.len(),
                limit: limits.product_bytes,
            });
        }
    }
    let mut draft = Draft::default();
    let place = |class: u32| places.get(class as usize).copied().unwrap_or_default();
    let row = outer.emit(&mut draft, analysis, limits, place)?;
    let class = inner.emit(&mut draft, analysis, limits, |class| class)?;
    let (to, table) = (draft.slot(), draft.table(Data::narrow(table)));
    let index = vec![Term::slot(row, 1), Term::slot(class, 1)];
    draft.push(Step::Load { to, table, index });
    draft.push(Step::Answer { slot: to });
    within(draft, limits.product_bytes)
}
