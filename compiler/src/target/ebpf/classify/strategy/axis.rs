//! Fields, or several fields combined, with the rows of each of their classes.
//!
//! The ports have the classes 22 (rows 0, 2) and all others (row 2), the protocols 6 (rows 0, 1) and
//! all others (row 1, 2). Combined they have four pairs: (22, 6) has row 0, (22, other) and
//! (other, other) have row 2, and (other, 6) has none. Pairs with the same rows are one class, so
//! that the pair has three.
//!
//! Not all rows of a pair count. Behind a row that takes anything in the fields still to come, no
//! row does; and of rows that ask the same of these fields, only the first does.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::super::Limits;
use super::super::analysis::{Analysis, Column};
use super::super::bits::Bits;
use super::super::draft::{Data, Draft};
use super::super::plan::{Slot, Step, Term};
use super::tables::Inner;
use super::{Refusal, look_up};

/// One or more fields.
pub(super) struct Axis {
    /// The rows of each class.
    pub(super) vectors: Vec<Bits>,
    /// Which columns of the analysis it has.
    pub(super) columns: Vec<usize>,
    /// How a point's class is found.
    tree: Rc<Tree>,
}

enum Tree {
    Column(usize),
    /// Class `a` of the left and `b` of the right are entry `a * rights + b`.
    Pair {
        left: Rc<Tree>,
        right: Rc<Tree>,
        rights: usize,
        table: Vec<u32>,
    },
}

impl Axis {
    /// A single field. See to it beforehand that the vectors have room.
    pub(super) fn of(analysis: &Analysis<'_>, column: usize) -> Self {
        let vectors = analysis.columns.get(column).map(Column::vectors);
        Self {
            vectors: vectors.unwrap_or_default(),
            columns: vec![column],
            tree: Rc::new(Tree::Column(column)),
        }
    }

    /// How many classes it has.
    pub(super) fn classes(&self) -> usize {
        self.vectors.len()
    }

    /// What messages call it.
    pub(super) fn name(&self, analysis: &Analysis<'_>) -> String {
        let columns = self
            .columns
            .iter()
            .filter_map(|at| analysis.columns.get(*at));
        let names: Vec<&str> = columns.map(|c| c.spec.name.as_str()).collect();
        names.join(" × ")
    }

    /// Both, unless that takes more than the limits allow.
    pub(super) fn combine(
        &self,
        other: &Self,
        analysis: &Analysis<'_>,
        limits: &Limits,
    ) -> Result<Self, Refusal> {
        allowed(self, other, analysis, limits)?;
        let mut columns = self.columns.clone();
        columns.extend(&other.columns);
        let mut later = Later::of(analysis, &columns);
        let mut known: FxHashMap<Box<[u32]>, u32> = FxHashMap::default();
        let (mut vectors, mut rows) = (Vec::new(), Vec::new());
        let mut table = Vec::with_capacity(self.classes() * other.classes());
        let size = analysis.rows.len();
        for a in self.vectors.iter().map(Bits::sparse) {
            for b in &other.vectors {
                later.count(a.common(b), &mut rows);
                if let Some(class) = known.get(rows.as_slice()) {
                    table.push(*class);
                    continue;
                }
                let class = u32::try_from(vectors.len()).unwrap_or(u32::MAX);
                vectors.push(Bits::of(size, rows.iter().map(|row| *row as usize)));
                known.insert(rows.as_slice().into(), class);
                check(vectors.len() * size / 8, limits.vector_bytes)?;
                table.push(class);
            }
        }
        Ok(Self {
            vectors,
            columns,
            tree: Rc::new(Tree::Pair {
                left: Rc::clone(&self.tree),
                right: Rc::clone(&other.tree),
                rights: other.vectors.len(),
                table,
            }),
        })
    }

    /// Adds the steps that find the class, or a value for each class.
    pub(super) fn emit(
        &self,
        draft: &mut Draft,
        analysis: &Analysis<'_>,
        limits: &Limits,
        value: impl Fn(u32) -> u32,
    ) -> Result<Slot, Refusal> {
        self.tree.emit(draft, analysis, limits, &value)
    }
}

/// Refuses pairs that are too many before one of them is looked at.
pub(super) fn allowed(
    left: &Axis,
    right: &Axis,
    analysis: &Analysis<'_>,
    limits: &Limits,
) -> Result<(), Refusal> {
    let names = || (left.name(analysis), right.name(analysis));
    let cells = left.classes().saturating_mul(right.classes());
    pairs(cells, analysis.rows.len(), limits).map_err(|limit| {
        let (left, right) = names();
        Refusal::Pairs {
            left,
            right,
            cells,
            limit,
        }
    })
}

/// The limit, if so many pairs are too many for the table or for the time.
pub(super) fn pairs(cells: usize, rows: usize, limits: &Limits) -> Result<(), usize> {
    let words = rows.div_ceil(64).max(1);
    // Entries of two bytes at least.
    let limit = (limits.product_bytes / 2).min(limits.work / words);
    if cells > limit { Err(limit) } else { Ok(()) }
}

/// Refuses so many bytes if there is no room for them.
pub(super) fn check(bytes: usize, limit: usize) -> Result<(), Refusal> {
    if bytes > limit {
        return Err(Refusal::Bytes { bytes, limit });
    }
    Ok(())
}

impl Tree {
    fn emit(
        &self,
        draft: &mut Draft,
        analysis: &Analysis<'_>,
        limits: &Limits,
        value: &dyn Fn(u32) -> u32,
    ) -> Result<Slot, Refusal> {
        match self {
            Self::Column(at) => {
                let column = analysis.columns.get(*at).ok_or(Refusal::Fields(*at))?;
                look_up(draft, column, limits, value)
            }
            Self::Pair {
                left,
                right,
                rights,
                table,
            } => {
                let a = left.emit(draft, analysis, limits, &|class| class)?;
                let b = right.emit(draft, analysis, limits, &|class| class)?;
                let entries = table.iter().map(|class| value(*class)).collect();
                let table = draft.table(Data::narrow(entries));
                let rights = u32::try_from(*rights).unwrap_or(u32::MAX);
                let index = vec![Term::slot(a, rights), Term::slot(b, 1)];
                let to = draft.slot();
                draft.push(Step::Load { to, table, index });
                Ok(to)
            }
        }
    }
}

/// What rows ask of the fields that are not combined yet.
pub(super) struct Later {
    /// Rows with the same number ask the same.
    group: Vec<u32>,
    /// The group that takes anything.
    all: Option<u32>,
    /// When each group was last seen.
    seen: Vec<u32>,
    now: u32,
}

impl Later {
    pub(super) fn of(analysis: &Analysis<'_>, combined: &[usize]) -> Self {
        let columns = analysis.columns.iter().enumerate();
        let later: Vec<_> = columns.filter(|(at, _)| !combined.contains(at)).collect();
        let mut groups: FxHashMap<Vec<Option<u32>>, u32> = FxHashMap::default();
        let group = (0..analysis.rows.len()).map(|row| {
            let asks = later.iter().map(|(_, column)| column.asks(row)).collect();
            let next = u32::try_from(groups.len()).unwrap_or(u32::MAX);
            *groups.entry(asks).or_insert(next)
        });
        let group = group.collect();
        Self {
            group,
            all: groups.get(&vec![None; later.len()]).copied(),
            seen: vec![0; groups.len()],
            now: 0,
        }
    }

    /// What is asked of the fields of an axis.
    pub(super) fn inner(&self, axis: &Axis) -> Inner {
        Inner {
            cover: self.cover(axis),
            all: Bits::of(axis.classes(), 0..axis.classes()),
            classes: axis.classes(),
        }
    }

    /// The classes of an axis that some row has that asks the same, for each thing asked.
    fn cover(&self, axis: &Axis) -> Vec<Bits> {
        let mut cover = vec![Bits::none(axis.classes()); self.seen.len()];
        for (class, rows) in axis.vectors.iter().enumerate() {
            let groups = rows.ones().filter_map(|row| self.group.get(row));
            for group in groups {
                if let Some(classes) = cover.get_mut(*group as usize) {
                    classes.set(class);
                }
            }
        }
        cover
    }

    /// Which rows ask the same as a row.
    pub(super) fn group(&self, row: u32) -> u32 {
        self.group.get(row as usize).copied().unwrap_or_default()
    }

    /// The rows that count, in order.
    pub(super) fn count(&mut self, rows: impl Iterator<Item = usize>, out: &mut Vec<u32>) {
        self.now += 1;
        out.clear();
        for row in rows {
            let group = self.group.get(row).copied().unwrap_or_default();
            let Some(seen) = self.seen.get_mut(group as usize) else {
                continue;
            };
            if *seen != self.now {
                *seen = self.now;
                out.push(u32::try_from(row).unwrap_or(u32::MAX));
            }
            if self.all == Some(group) {
                break;
            }
        }
    }
}
