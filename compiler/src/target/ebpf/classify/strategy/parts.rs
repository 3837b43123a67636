//! Rows in parts by how much of two fields they take, each part combined on its own: the first of
//! what the parts answer is the answer.
//!
//! A row for any destination meets each row for a single one, and the lists of rows of all pairs of
//! classes have both: of 200 different lists of the first kind and 800 of the second, 30,000. Apart
//! they are the 1,000 that they are. So rows are split by whether they take an eighth of one side's
//! classes or more, or of both sides'. Each part has a table of pairs, with the number of a record
//! (see [`tables`](super::tables)), whose answer is the number of its first row. The least of these
//! is the row that counts.
//!
//! ```text
//! a = narrow[source, destination] → positions[inner] → row
//! b = wide[source, class of destination] → positions[inner] → row
//! answer = answers[min(a, b)]
//! ```

use rustc_hash::FxHashMap;

use super::super::Limits;
use super::super::analysis::{Analysis, Column};
use super::super::bits::Bits;
use super::super::draft::{Data, Draft};
use super::super::plan::{Slot, Step, Term};
use super::axis::{Axis, Later};
use super::tables::{Inner, Tables, load};
use super::{Refusal, within};

/// A row is wide that takes this part of the classes of a side, or more.
const WIDE: usize = 8;

/// The two fields with the most classes, and all others.
pub(super) struct Sides<'a> {
    analysis: &'a Analysis<'a>,
    outer: [Axis; 2],
    /// For each of these, the rows that take much of it.
    wide: [Bits; 2],
    inner: &'a Axis,
    asked: Inner,
    later: Later,
}

impl<'a> Sides<'a> {
    /// The axes are of the columns.
    pub(super) fn of(
        analysis: &'a Analysis<'a>,
        columns: [usize; 2],
        outer: [Axis; 2],
        inner: &'a Axis,
    ) -> Self {
        let later = Later::of(analysis, &columns);
        Self {
            analysis,
            outer,
            wide: columns.map(|column| wide(analysis, column)),
            inner,
            asked: later.inner(inner),
            later,
        }
    }

    /// The rows that are wide on the side on which more are.
    pub(super) fn widest(&self) -> &Bits {
        let [left, right] = &self.wide;
        if left.ones().count() > right.ones().count() {
            left
        } else {
            right
        }
    }

    /// The rows by whether they are wide on either side.
    pub(super) fn all_parts(&self) -> Vec<Bits> {
        let rows = self.analysis.rows.len();
        let sets = vec![Bits::of(rows, 0..rows)];
        self.wide.iter().fold(sets, |sets, wide| split(&sets, wide))
    }

    /// The tables of all parts, and all steps.
    pub(super) fn write(&mut self, parts: &[Bits], limits: &Limits) -> Result<Draft, Refusal> {
        let none = u32::try_from(self.analysis.rows.len()).unwrap_or(u32::MAX);
        let (mut rules, default) = (self.analysis.rules(), self.analysis.problem.default());
        let rows: Vec<u32> = (0..none).collect();
        let (of_row, otherwise) = match parts {
            [_] => (&rules, default),
            _ => (&rows, none),
        };
        let mut made = Vec::new();
        for part in parts {
            let mut tables = Tables::of(&self.asked, of_row, otherwise);
            let part = Part::of(part, &self.outer);
            let records = part.records(&mut tables, &mut self.later, limits)?;
            made.push((part, records, tables));
        }
        let mut draft = Draft::default();
        let mut emit = |axis: &Axis| axis.emit(&mut draft, self.analysis, limits, |class| class);
        let [left, right] = &self.outer;
        let (outer, inner) = ([emit(left)?, emit(right)?], emit(self.inner)?);
        let mut firsts = Vec::new();
        for (part, records, tables) in made {
            let record = part.emit(&mut draft, &records, outer);
            firsts.push(tables.emit(&mut draft, record, inner));
        }
        let slot = if let [answer] = firsts.as_slice() {
            *answer
        } else {
            let (to, of) = (draft.slot(), firsts);
            draft.push(Step::Least { to, of });
            rules.push(default);
            let rules = draft.table(Data::narrow(rules));
            load(&mut draft, rules, vec![Term::slot(to, 1)])
        };
        draft.push(Step::Answer { slot });
        within(draft, limits.product_bytes)
    }
}

fn wide(analysis: &Analysis<'_>, column: usize) -> Bits {
    let column = analysis.columns.get(column);
    let spread = column.map(Column::spread).unwrap_or_default();
    let classes = column.map_or(0, Column::classes);
    let wide = spread.iter().enumerate();
    let wide = wide.filter(|(_, classes_of_row)| **classes_of_row * WIDE >= classes);
    Bits::of(analysis.rows.len(), wide.map(|(row, _)| row))
}

/// Each of the sets without the rows and with these only; none that is empty.
pub(super) fn split(sets: &[Bits], rows: &Bits) -> Vec<Bits> {
    let mut out = Vec::new();
    for set in sets {
        let mut without = set.clone();
        without.remove(rows);
        let mut only = set.clone();
        only.remove(&without);
        out.extend([without, only]);
    }
    out.retain(|set| set.ones().next().is_some());
    out
}

/// Some of the rows, and the classes that they tell apart.
struct Part {
    sides: [Classes; 2],
}

/// The classes of a side that some of the rows tell apart.
struct Classes {
    vectors: Vec<Bits>,
    /// For each class of all rows, the class of these.
    of: Vec<u32>,
}

impl Part {
    fn of(rows: &Bits, outer: &[Axis; 2]) -> Self {
        let [left, right] = outer;
        Self {
            sides: [left, right].map(|axis| Classes::of(&axis.vectors, rows)),
        }
    }

    /// The number of the record for each pair of classes.
    fn records(
        &self,
        tables: &mut Tables<'_>,
        later: &mut Later,
        limits: &Limits,
    ) -> Result<Vec<u32>, Refusal> {
        let [left, right] = &self.sides;
        let mut known: FxHashMap<Box<[u32]>, u32> = FxHashMap::default();
        let mut rows = Vec::new();
        let mut out = Vec::with_capacity(left.vectors.len() * right.vectors.len());
        for a in left.vectors.iter().map(Bits::sparse) {
            for b in &right.vectors {
                later.count(a.common(b), &mut rows);
                if let Some(record) = known.get(rows.as_slice()) {
                    out.push(*record);
                    continue;
                }
                let asking = rows.iter().map(|row| (*row, later.group(*row)));
                let record = tables.record(asking, limits.product_bytes)?;
                known.insert(rows.as_slice().into(), record);
                out.push(record);
            }
        }
        Ok(out)
    }

    /// Adds the table of pairs, and the step that reads it.
    fn emit(&self, draft: &mut Draft, records: &[u32], outer: [Slot; 2]) -> Slot {
        let [left, right] = &self.sides;
        let rights = right.numbers();
        let mut entries = Vec::new();
        for a in left.numbers() {
            let first = a * right.vectors.len();
            let entry = |b: &usize| records.get(first + b).copied().unwrap_or_default();
            entries.extend(rights.iter().map(entry));
        }
        let [a, b] = outer;
        let (a, b) = (left.emit(draft, a), right.emit(draft, b));
        let table = draft.table(Data::narrow(entries));
        let times = u32::try_from(rights.len()).unwrap_or(u32::MAX);
        load(draft, table, vec![Term::slot(a, times), Term::slot(b, 1)])
    }
}

impl Classes {
    fn of(vectors: &[Bits], rows: &Bits) -> Self {
        let mut known: FxHashMap<Bits, u32> = FxHashMap::default();
        let mut out = Self {
            vectors: Vec::new(),
            of: Vec::with_capacity(vectors.len()),
        };
        for vector in vectors {
            let vector = vector.both(rows);
            let next = u32::try_from(out.vectors.len()).unwrap_or(u32::MAX);
            let class = *known.entry(vector).or_insert_with_key(|vector| {
                out.vectors.push(vector.clone());
                next
            });
            out.of.push(class);
        }
        out
    }

    /// Whether a table that says the class is worth its read: it makes another one much smaller.
    fn are_few(&self) -> bool {
        self.vectors.len() * 2 <= self.of.len()
    }

    /// The slot with what the table of pairs is read by.
    fn emit(&self, draft: &mut Draft, all: Slot) -> Slot {
        if !self.are_few() {
            return all;
        }
        let table = draft.table(Data::narrow(self.of.clone()));
        load(draft, table, vec![Term::slot(all, 1)])
    }

    /// The class of each number in that slot.
    fn numbers(&self) -> Vec<usize> {
        if self.are_few() {
            return (0..self.vectors.len()).collect();
        }
        self.of.iter().map(|class| *class as usize).collect()
    }
}
