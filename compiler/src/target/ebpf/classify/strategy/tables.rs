//! What each inner class answers to each list of rows.
//!
//! Rows 3, 7 and 12 ask for port 22, for TCP, and for nothing. What they answer to the inner classes
//! (ports and protocols) is two tables: *positions* say for each inner class 1, 2 or 3, and serve all
//! lists whose rows ask the same in this order; *answers* turn 1, 2 and 3 into the answers of rows 3,
//! 7 and 12, and 0 into the default. A row that the rows before it leave no inner class to is left
//! out of both. A *record* says where the positions and the answers of a list begin:
//!
//! ```text
//! position = positions[low(record) + inner]
//! answer = answers[high(record) + position]
//! ```

use rustc_hash::FxHashMap;

use super::super::bits::Bits;
use super::super::draft::{Data, Draft};
use super::super::plan::{Operand, Slot, Step, TableId, Term};
use super::Refusal;

/// What rows ask of the inner fields.
pub(super) struct Inner {
    /// Which inner classes rows have, by what they ask.
    pub(super) cover: Vec<Bits>,
    /// All inner classes.
    pub(super) all: Bits,
    /// How many there are.
    pub(super) classes: usize,
}

impl Inner {
    /// The rows that some inner class is left to, with what they ask.
    fn counting(&self, rows: impl Iterator<Item = (u32, u32)>) -> (Vec<u32>, Vec<u32>) {
        let mut left = self.all.clone();
        let (mut asks, mut list) = (Vec::new(), Vec::new());
        for (row, ask) in rows {
            let Some(cover) = self.cover.get(ask as usize) else {
                continue;
            };
            if left.remove(cover) {
                asks.push(ask);
                list.push(row);
            }
        }
        (asks, list)
    }
}

/// The tables, each thing once.
pub(super) struct Tables<'a> {
    inner: &'a Inner,
    /// What is answered for each row.
    of_row: &'a [u32],
    default: u32,
    records: Vec<u64>,
    known_records: FxHashMap<u64, u32>,
    /// What lists of rows ask, in the order of their positions.
    asks: Vec<Vec<u32>>,
    /// Where the positions begin of rows that ask this.
    known_positions: FxHashMap<Vec<u32>, u32>,
    answers: Vec<u32>,
    /// Where these answers begin.
    known_answers: FxHashMap<Vec<u32>, u32>,
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl<'a> Tables<'a> {
    pub(super) fn of(inner: &'a Inner, of_row: &'a [u32], default: u32) -> Self {
        Self {
            inner,
            of_row,
            default,
            records: Vec::new(),
            known_records: FxHashMap::default(),
            asks: Vec::new(),
            known_positions: FxHashMap::default(),
            answers: Vec::new(),
            known_answers: FxHashMap::default(),
        }
    }

    /// The number of the record of these rows, each with what it asks of the inner fields; refuses
    /// when the tables have become too large.
    pub(super) fn record(
        &mut self,
        rows: impl Iterator<Item = (u32, u32)>,
        limit: usize,
    ) -> Result<u32, Refusal> {
        let (asks, list) = self.inner.counting(rows);
        let answer = |row: &u32| self.of_row.get(*row as usize).copied();
        let mut answers = vec![self.default];
        answers.extend(list.iter().map(|row| answer(row).unwrap_or(self.default)));
        let positions = self.positions_of(asks);
        let next = number(self.answers.len());
        let answers = *self
            .known_answers
            .entry(answers)
            .or_insert_with_key(|list: &Vec<u32>| {
                self.answers.extend_from_slice(list);
                next
            });
        let bytes = self.asks.len() * self.inner.classes + self.answers.len();
        if bytes > limit {
            return Err(Refusal::Bytes { bytes, limit });
        }
        let record = u64::from(answers) << 32 | u64::from(positions);
        let next = number(self.records.len());
        Ok(*self.known_records.entry(record).or_insert_with(|| {
            self.records.push(record);
            next
        }))
    }

    /// Where the positions begin of rows that ask this, in this order.
    fn positions_of(&mut self, asks: Vec<u32>) -> u32 {
        let next = number(self.asks.len() * self.inner.classes);
        *self
            .known_positions
            .entry(asks)
            .or_insert_with_key(|asks: &Vec<u32>| {
                self.asks.push(asks.clone());
                next
            })
    }

    /// All positions.
    fn positions(&self) -> Vec<u32> {
        let classes = self.inner.classes;
        let mut out = vec![0; self.asks.len() * classes];
        for (asks, positions) in self.asks.iter().zip(out.chunks_exact_mut(classes.max(1))) {
            // The first row counts: it is written last.
            for (at, ask) in asks.iter().enumerate().rev() {
                let cover = self.inner.cover.get(*ask as usize);
                for class in cover.into_iter().flat_map(Bits::ones) {
                    if let Some(position) = positions.get_mut(class) {
                        *position = number(at + 1);
                    }
                }
            }
        }
        out
    }

    /// Adds the tables, and the steps from the number of a record and an inner class to the answer.
    pub(super) fn emit(self, draft: &mut Draft, record: Slot, inner: Slot) -> Slot {
        let positions = draft.table(Data::narrow(self.positions()));
        let records = draft.table(Data::wide(self.records));
        let record = load(draft, records, vec![Term::slot(record, 1)]);
        let index = vec![Term::of(Operand::Low(record)), Term::slot(inner, 1)];
        let position = load(draft, positions, index);
        let answers = draft.table(Data::narrow(self.answers));
        let index = vec![Term::of(Operand::High(record)), Term::slot(position, 1)];
        load(draft, answers, index)
    }
}

/// Adds a step that reads an entry.
pub(super) fn load(draft: &mut Draft, table: TableId, index: Vec<Term>) -> Slot {
    let to = draft.slot();
    draft.push(Step::Load { to, table, index });
    to
}
