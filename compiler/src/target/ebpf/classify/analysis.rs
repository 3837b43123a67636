//! What every strategy wants to know of a problem: the rows that can count, and for each field the
//! classes of its numbers.
//!
//! Two numbers of a field are in one class when the same rows have them. With rows about the ports
//! 22, 80 and 22 or 443, the classes are: 22 (rows 0 and 2), 80 (row 1), 443 (row 2), and all others
//! (no row). A field with one class is asked by no row, and no plan reads it. When rows ask about one
//! field only, the first row of a number says all, and 22 is in a class with row 0.

use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::packet::Values;

use super::bits::Bits;
use super::partition::{Partition, turns};
use super::pool::{Name, Pool};
use super::problem::{FieldSpec, Problem, Row};

/// A problem, looked through.
#[derive(Clone, Debug)]
pub struct Analysis<'a> {
    /// The problem.
    pub problem: &'a Problem,
    /// The rows that no earlier one makes useless at first sight, in order.
    pub rows: Vec<&'a Row>,
    /// The fields that rows ask about.
    pub columns: Vec<Column<'a>>,
}

/// A field that some row asks about.
#[derive(Clone, Debug)]
pub struct Column<'a> {
    /// The number of the field.
    pub field: u16,
    /// What it is.
    pub spec: &'a FieldSpec,
    /// The class of every number.
    pub partition: Partition,
    /// For each class, which of the sets that rows ask for have it.
    classes: Vec<Name>,
    pool: Pool,
    /// For each set, the rows that ask for it.
    askers: Vec<Vec<u32>>,
    /// For each row the set that it asks for; none for rows that take any number.
    asks: Vec<Option<u32>>,
}

impl<'a> Analysis<'a> {
    /// Looks a problem through: in about the number of all ranges, times its logarithm.
    pub fn of(problem: &'a Problem) -> Self {
        let fields = problem.fields();
        let sets: Vec<Sets<'a>> = (0..fields.len()).map(|f| Sets::of(problem, f)).collect();
        let kept = useful(problem.rows().len(), &sets);
        let rows = kept.iter().filter_map(|row| problem.rows().get(*row));
        let columns = (0..).zip(fields).zip(&sets);
        let asked = |sets: &&Sets<'_>| {
            let mut asks = kept.iter().filter_map(|row| sets.of_row.get(*row));
            asks.any(Option::is_some)
        };
        let alone = sets.iter().filter(asked).count() == 1;
        let columns =
            columns.filter_map(|((field, spec), sets)| column(field, spec, sets, &kept, alone));
        Self {
            problem,
            rows: rows.collect(),
            columns: columns.collect(),
        }
    }

    /// The answers of the rows.
    pub fn rules(&self) -> Vec<u32> {
        self.rows.iter().map(|row| row.rule).collect()
    }
}

impl Column<'_> {
    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.classes.len()
    }

    /// Whether a row takes any number of this field.
    pub fn is_any(&self, row: usize) -> bool {
        self.asks.get(row).is_none_or(Option::is_none)
    }

    /// Which of the sets of this field a row asks for; none for any number.
    pub fn asks(&self, row: usize) -> Option<u32> {
        self.asks.get(row).copied().flatten()
    }

    /// How many classes each row has.
    pub fn spread(&self) -> Vec<usize> {
        let mut of_set = vec![0; self.askers.len()];
        for class in &self.classes {
            for set in self.pool.numbers(*class) {
                if let Some(count) = of_set.get_mut(set as usize) {
                    *count += 1;
                }
            }
        }
        let spread = |set: &Option<u32>| match set {
            None => self.classes.len(),
            Some(set) => of_set.get(*set as usize).copied().unwrap_or_default(),
        };
        self.asks.iter().map(spread).collect()
    }

    /// The first row of each class.
    pub(super) fn firsts(&self) -> impl Iterator<Item = Option<usize>> {
        let any = (0..self.asks.len()).find(|row| self.is_any(*row));
        self.classes.iter().map(move |class| {
            let sets = self.pool.numbers(*class);
            let rows = sets
                .iter()
                .filter_map(|set| self.askers.get(*set as usize)?.first());
            rows.map(|row| *row as usize).chain(any).min()
        })
    }

    /// The rows of each class. They take `rows * classes / 8` bytes: see to it that it is not much.
    pub(super) fn vectors(&self) -> Vec<Bits> {
        let any = (0..self.asks.len()).filter(|row| self.is_any(*row));
        let any = Bits::of(self.asks.len(), any);
        let vector = |class: &Name| {
            let mut bits = any.clone();
            let sets = self.pool.numbers(*class);
            for rows in sets.iter().filter_map(|set| self.askers.get(*set as usize)) {
                for row in rows {
                    bits.set(*row as usize);
                }
            }
            bits
        };
        self.classes.iter().map(vector).collect()
    }
}

/// The sets that rows ask a field for, each once.
struct Sets<'a> {
    list: Vec<&'a Values>,
    of_row: Vec<Option<u32>>,
}

impl<'a> Sets<'a> {
    fn of(problem: &'a Problem, field: usize) -> Self {
        let full = problem.fields().get(field).map(FieldSpec::full);
        let mut list = Vec::new();
        let mut known: FxHashMap<&Values, u32> = FxHashMap::default();
        // Copies of a large set share its ranges: no need to read them again.
        let mut shared: FxHashMap<(*const (u128, u128), usize), u32> = FxHashMap::default();
        let mut number = |values: &'a Values| {
            let place = match values {
                Values::Many(set) => Some((set.ranges().as_ptr(), set.ranges().len())),
                Values::Range(..) => None,
            };
            if let Some(set) = place.as_ref().and_then(|place| shared.get(place)) {
                return *set;
            }
            let set = *known.entry(values).or_insert_with(|| {
                list.push(values);
                u32::try_from(list.len() - 1).unwrap_or(u32::MAX)
            });
            shared.extend(place.map(|place| (place, set)));
            set
        };
        let asked = problem.rows().iter().map(|row| row.region.dim(field));
        let asked = asked.map(|values| values.filter(|values| Some(*values) != full.as_ref()));
        let of_row = asked.map(|values| values.map(&mut number)).collect();
        Self { list, of_row }
    }
}

/// The rows that are not behind one for all points, nor behind one for the same points.
fn useful(rows: usize, sets: &[Sets<'_>]) -> Vec<usize> {
    let mut seen = FxHashSet::default();
    let mut kept = Vec::new();
    for row in 0..rows {
        let asks = sets.iter().map(|s| s.of_row.get(row).copied().flatten());
        let asks: Vec<Option<u32>> = asks.collect();
        let all = asks.iter().all(Option::is_none);
        if seen.insert(asks) {
            kept.push(row);
        }
        if all {
            break;
        }
    }
    kept
}

/// The classes of a field; `None` when there is only one.
fn column<'a>(
    field: u16,
    spec: &'a FieldSpec,
    sets: &Sets<'_>,
    kept: &[usize],
    alone: bool,
) -> Option<Column<'a>> {
    let asks: Vec<Option<u32>> = kept
        .iter()
        .map(|row| sets.of_row.get(*row).copied().flatten())
        .collect();
    let mut askers = vec![Vec::new(); sets.list.len()];
    for (row, set) in (0u32..).zip(&asks) {
        if let Some(rows) = set.and_then(|set| askers.get_mut(set as usize)) {
            rows.push(row);
        }
    }
    let mut marks = Vec::new();
    for ((set, values), rows) in (0u32..).zip(&sets.list).zip(&askers) {
        if !rows.is_empty() {
            turns(values, |at| marks.push((at, set)));
        }
    }
    marks.sort_by_key(|(at, _)| *at);
    let mut here = Here::new(sets.list.len(), alone);
    let mut names = Names::default();
    let mut partition = Partition::constant(spec.bits, names.class(Name::EMPTY));
    for turns in marks.chunk_by(|a, b| a.0 == b.0) {
        for (_, set) in turns {
            here.turn(*set);
        }
        if let Some((at, _)) = turns.first().filter(|(at, _)| *at <= spec.max()) {
            partition.cut(*at, names.class(here.name()));
        }
    }
    // The class that the field began with may have no number.
    let (partition, classes) = names.used(&partition);
    (classes.len() > 1).then_some(Column {
        field,
        spec,
        partition,
        classes,
        pool: here.pool,
        askers,
        asks,
    })
}

/// The sets that have the number where a walk along a field is.
struct Here {
    pool: Pool,
    all: Name,
    /// With one field, only the first set counts: there are far fewer of these than combinations.
    alone: Option<BTreeSet<u32>>,
}

impl Here {
    fn new(sets: usize, alone: bool) -> Self {
        Self {
            pool: Pool::new(u32::try_from(sets).unwrap_or(u32::MAX)),
            all: Name::EMPTY,
            alone: alone.then(BTreeSet::new),
        }
    }

    /// A set begins or ends.
    fn turn(&mut self, set: u32) {
        if let Some(sets) = &mut self.alone {
            if !sets.remove(&set) {
                sets.insert(set);
            }
        } else {
            self.all = self.pool.toggle(self.all, set);
        }
    }

    fn name(&mut self) -> Name {
        match &self.alone {
            None => self.all,
            Some(sets) => {
                let first = sets.first();
                first.map_or(Name::EMPTY, |set| self.pool.toggle(Name::EMPTY, *set))
            }
        }
    }
}

/// Classes in the order of their first number.
#[derive(Default)]
struct Names {
    list: Vec<Name>,
    classes: FxHashMap<Name, u32>,
}

impl Names {
    fn class(&mut self, name: Name) -> u32 {
        *self.classes.entry(name).or_insert_with(|| {
            self.list.push(name);
            u32::try_from(self.list.len() - 1).unwrap_or(u32::MAX)
        })
    }

    /// Without the classes that no piece has.
    fn used(self, partition: &Partition) -> (Partition, Vec<Name>) {
        let mut used = Self::default();
        let partition = partition.map(|class| {
            let name = self.list.get(class as usize).copied();
            used.class(name.unwrap_or(Name::EMPTY))
        });
        (partition, used.list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{IntervalSet, Region};

    #[test]
    fn numbers_that_the_same_rows_have_are_one_class() {
        let both = Values::Many(
            [(22, 22), (443, 443)]
                .into_iter()
                .collect::<IntervalSet<_>>(),
        );
        let asked = [Values::one(22), Values::one(80), both];
        let row = |(rule, values): (u32, &Values)| Row {
            region: Region::new(vec![
                values.clone(),
                Values::Range(0, 9),
                Values::Range(0, 255),
            ]),
            rule,
        };
        let fields = vec![
            FieldSpec::port("port"),
            FieldSpec::number("protocol", 8),
            FieldSpec::number("mark", 8),
        ];
        let rows = (0..).zip(&asked).map(row).collect();
        let problem = Problem::new(fields, rows, 9).unwrap();
        let analysis = Analysis::of(&problem);
        let [port, _] = analysis.columns.as_slice() else {
            panic!("{:?}", analysis.columns);
        };
        let rows = |port_: u128| {
            let class = port.partition.at(port_) as usize;
            port.vectors()[class].ones().collect::<Vec<_>>()
        };
        assert_eq!(port.classes(), 4);
        assert_eq!(rows(22), [0, 2]);
        assert_eq!(rows(80), [1]);
        assert_eq!(rows(443), [2]);
        assert_eq!((rows(0), rows(65_535)), (vec![], vec![]));
        assert_eq!(port.spread(), [1, 1, 2]);
    }

    #[test]
    fn rows_behind_one_for_all_points_are_left_out() {
        let fields = vec![FieldSpec::port("port")];
        let values = [(1, 1), (1, 1), (0, 65_535), (2, 2)];
        let row = |(a, b)| Row {
            region: Region::new(vec![Values::Range(a, b)]),
            rule: 0,
        };
        let problem = Problem::new(fields, values.map(row).to_vec(), 0).unwrap();
        assert_eq!(Analysis::of(&problem).rows.len(), 2);
    }
}
