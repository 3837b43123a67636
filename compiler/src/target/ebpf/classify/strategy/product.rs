//! Classes of all fields, combined two at a time, until one table has the answers.
//!
//! Source (500 classes), destination (400), port (60) and protocol (5): the small ones make 90
//! classes together, the *inner* side; the addresses make 200,000 pairs, of which 20,000 are
//! different, the *outer* side. What an outer class answers to the 90 inner ones follows from the
//! few rows that it has, for example rows 3, 7 and 12, which ask for port 22, for TCP, and for
//! nothing. The table does not depend on which rows these are, only on what they ask: it says 1, 2
//! or 3 for each inner class, and serves all outer classes whose rows ask the same in this order. A
//! list for each outer class then turns 1, 2 and 3 into the answers of rows 3, 7 and 12; entry 0 is
//! the default. A row that the rows before it leave no inner class to is left out of both. A lookup is
//!
//! ```text
//! record = records[pair]            where its positions and its answers begin
//! position = positions[low(record) + inner]
//! answer = answers[high(record) + position]
//! ```
//!
//! Sizes are known before a table is begun: pairs are the product of two numbers of classes, and
//! nothing is built when they are too many. Positions and answers are counted while they are found,
//! and the first beyond the limit ends it.

use rustc_hash::FxHashMap;

use super::super::Limits;
use super::super::analysis::{Analysis, Column};
use super::super::bits::Bits;
use super::super::draft::{Data, Draft};
use super::super::plan::{Operand, Step, Term};
use super::super::stage;
use super::axis::{Axis, Later, pairs};
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
    let classes = |at: &usize| analysis.columns.get(*at).map_or(0, Column::classes);
    columns.sort_by_key(classes);
    let bytes = columns.iter().map(classes).sum::<usize>() * analysis.rows.len() / 8;
    if bytes > limits.vector_bytes {
        let limit = limits.vector_bytes;
        return Err(Refusal::Bytes { bytes, limit });
    }
    // The second try has to be a short one.
    let short = Limits {
        work: limits.work / 16,
        ..limits.clone()
    };
    match with_order(Order::Outer, analysis, &columns, limits) {
        Err(_) if columns.len() > 2 => with_order(Order::Rising, analysis, &columns, &short),
        made => made,
    }
    // The first order is the one that most often works: its refusal says more.
    .map_err(|last| refused(analysis, &columns, limits).unwrap_or(last))
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

/// The tables with positions and answers, and all steps.
fn answers(
    outer: &Axis,
    inner: &Axis,
    analysis: &Analysis<'_>,
    limits: &Limits,
) -> Result<Draft, Refusal> {
    let mut later = Later::of(analysis, &outer.columns);
    let mut tables = Tables::of(analysis, later.cover(inner));
    let mut rows = Vec::new();
    for vector in &outer.vectors {
        later.count(vector.ones(), &mut rows);
        let asking = rows.iter().map(|row| (*row, later.group(*row)));
        tables.add(asking, inner.classes());
        let bytes = tables.positions.len() + tables.answers.len();
        if bytes > limits.product_bytes {
            let limit = limits.product_bytes;
            return Err(Refusal::Bytes { bytes, limit });
        }
    }
    let mut draft = Draft::default();
    let record_of = |class: u32| tables.record_of.get(class as usize);
    let record = |class: u32| record_of(class).copied().unwrap_or_default();
    let outer = outer.emit(&mut draft, analysis, limits, record)?;
    let inner = inner.emit(&mut draft, analysis, limits, |class| class)?;
    let mut load = |data: Data, index: Vec<Term>| {
        let (to, table) = (draft.slot(), draft.table(data));
        draft.push(Step::Load { to, table, index });
        to
    };
    let record = load(Data::wide(tables.records), vec![Term::slot(outer, 1)]);
    let index = vec![Term::of(Operand::Low(record)), Term::slot(inner, 1)];
    let position = load(Data::narrow(tables.positions), index);
    let index = vec![Term::of(Operand::High(record)), Term::slot(position, 1)];
    let slot = load(Data::narrow(tables.answers), index);
    draft.push(Step::Answer { slot });
    within(draft, limits.product_bytes)
}

/// Everything behind the outer class, each thing once.
struct Tables {
    rules: Vec<u32>,
    default: u32,
    /// Which inner classes rows have, by what they ask.
    cover: Vec<Bits>,
    /// The record of each outer class.
    record_of: Vec<u32>,
    records: Vec<u64>,
    known_records: FxHashMap<u64, u32>,
    positions: Vec<u32>,
    /// Where the positions begin of rows that ask this.
    known_positions: FxHashMap<Vec<u32>, u32>,
    answers: Vec<u32>,
    /// Where these answers begin.
    known_answers: FxHashMap<Vec<u32>, u32>,
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl Tables {
    fn of(analysis: &Analysis<'_>, cover: Vec<Bits>) -> Self {
        Self {
            rules: analysis.rules(),
            default: analysis.problem.default(),
            cover,
            record_of: Vec::new(),
            records: Vec::new(),
            known_records: FxHashMap::default(),
            positions: Vec::new(),
            known_positions: FxHashMap::default(),
            answers: Vec::new(),
            known_answers: FxHashMap::default(),
        }
    }

    /// Adds an outer class with these rows, each with what it asks of the inner fields.
    fn add(&mut self, rows: impl Iterator<Item = (u32, u32)>, classes: usize) {
        let mut left = Bits::of(classes, 0..classes);
        let (mut asks, mut list) = (Vec::new(), vec![self.default]);
        for (row, ask) in rows {
            let Some(cover) = self.cover.get(ask as usize) else {
                continue;
            };
            if left.remove(cover) {
                asks.push(ask);
                list.push(
                    self.rules
                        .get(row as usize)
                        .copied()
                        .unwrap_or(self.default),
                );
            }
        }
        let positions = self.positions_of(asks, classes);
        let next = number(self.answers.len());
        let answers = *self
            .known_answers
            .entry(list)
            .or_insert_with_key(|list: &Vec<u32>| {
                self.answers.extend_from_slice(list);
                next
            });
        let record = u64::from(answers) << 32 | u64::from(positions);
        let next = number(self.records.len());
        let record = *self.known_records.entry(record).or_insert_with(|| {
            self.records.push(record);
            next
        });
        self.record_of.push(record);
    }

    /// Where the positions begin of rows that ask this, in this order.
    fn positions_of(&mut self, asks: Vec<u32>, classes: usize) -> u32 {
        let next = self.positions.len();
        *self
            .known_positions
            .entry(asks)
            .or_insert_with_key(|asks: &Vec<u32>| {
                self.positions.resize(next + classes, 0);
                // The first row counts: it is written last.
                for (at, ask) in asks.iter().enumerate().rev() {
                    for class in self
                        .cover
                        .get(*ask as usize)
                        .into_iter()
                        .flat_map(Bits::ones)
                    {
                        if let Some(position) = self.positions.get_mut(next + class) {
                            *position = number(at + 1);
                        }
                    }
                }
                number(next)
            })
    }
}
