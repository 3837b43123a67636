//! Random fields, sets, rows and points. Numbers are near few places, so that sets meet.

use polc_compiler::packet::{IntervalSet, Region, Values};
use polc_compiler::target::ebpf::classify::plan::{Plan, Step};
use polc_compiler::target::ebpf::classify::{FieldSpec, Problem, Row};
use proptest::prelude::*;

pub(crate) fn field() -> impl Strategy<Value = FieldSpec> {
    prop_oneof![
        3 => Just(FieldSpec::address4("a")),
        2 => Just(FieldSpec::address6("b")),
        2 => Just(FieldSpec::port("c")),
        2 => Just(FieldSpec::number("d", 8)),
        1 => Just(FieldSpec::number("e", 1)),
        1 => Just(FieldSpec::number("f", 32)),
        1 => Just(FieldSpec::number("g", 48)),
        1 => Just(FieldSpec::number("h", 64)),
        1 => Just(FieldSpec::number("i", 72)),
        1 => Just(FieldSpec::number("j", 128)),
    ]
}

/// A number near one of few places of a field.
pub(crate) fn number(bits: u8) -> impl Strategy<Value = u128> {
    let max = u128::MAX >> (128 - u32::from(bits));
    let places = [
        0,
        max,
        max / 3,
        0x2001_0db8 << 96,
        0xc000_0200,
        1 << 64,
        0x5555 << 16,
    ];
    let near = (0..places.len(), 0u8..12, prop_oneof![Just(0u128), 0u128..4]);
    let near =
        near.prop_map(move |(at, shift, off)| places[at].wrapping_add(off << (shift * 11)) & max);
    prop_oneof![8 => near, 1 => any::<u128>().prop_map(move |n| n & max)]
}

fn range(bits: u8) -> BoxedStrategy<(u128, u128)> {
    let max = u128::MAX >> (128 - u32::from(bits));
    let prefix = (number(bits), 0..=bits).prop_map(move |(n, len)| {
        let host = max.checked_shr(len.into()).unwrap_or(0);
        (n & !host, n | host)
    });
    let ends = (number(bits), number(bits)).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let short = (number(bits), 0u128..5).prop_map(move |(a, n)| (a, a.saturating_add(n).min(max)));
    prop_oneof![3 => prefix, 1 => ends, 1 => short, 2 => number(bits).prop_map(|n| (n, n))].boxed()
}

pub(crate) fn values(spec: &FieldSpec) -> BoxedStrategy<Values> {
    let one = range(spec.bits).prop_map(|(a, b)| Values::Range(a, b));
    let many = proptest::collection::vec(range(spec.bits), 1..12);
    let many = many.prop_map(|ranges| {
        Values::of(&IntervalSet::<u128>::from_ranges(ranges)).expect("there is a range")
    });
    prop_oneof![2 => Just(spec.full()), 3 => one, 1 => many].boxed()
}

fn row(fields: &[FieldSpec]) -> impl Strategy<Value = Row> + use<> {
    let dims: Vec<_> = fields.iter().map(values).collect();
    // Some answers are the same, and some need all bits.
    let rule = prop_oneof![8 => 0u32..6, 1 => 250u32..300, 1 => any::<u32>()];
    (dims, rule).prop_map(|(dims, rule)| Row {
        region: Region::new(dims),
        rule,
    })
}

pub(crate) fn problem(rows: usize) -> impl Strategy<Value = Problem> {
    let fields = proptest::collection::vec(field(), 1..5);
    fields.prop_flat_map(move |fields| {
        let rows = proptest::collection::vec(row(&fields), 0..=rows);
        (Just(fields), rows, prop_oneof![Just(0u32), any::<u32>()])
            .prop_map(|(fields, rows, default)| Problem::new(fields, rows, default).expect("fits"))
    })
}

/// The ends of the ranges of a set, and the numbers beside them.
pub(crate) fn ends(values: &Values) -> Vec<u128> {
    let ranges = values.ranges();
    let ends = ranges.iter().flat_map(|(a, b)| [*a, *b]);
    ends.flat_map(|n| [n.saturating_sub(1), n, n.saturating_add(1)])
        .collect()
}

/// Points at corners of rows, and anywhere.
pub(crate) fn points(problem: &Problem, seed: u64, count: usize) -> Vec<Vec<u128>> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut ends_of: Vec<Vec<u128>> = problem.fields().iter().map(|f| vec![0, f.max()]).collect();
    for row in problem.rows() {
        for (list, dim) in ends_of.iter_mut().zip(row.region.dims()) {
            list.extend(ends(dim));
        }
    }
    let mut point = |at: usize| -> Vec<u128> {
        let row = at
            .is_multiple_of(3)
            .then(|| rng.choice(problem.rows()))
            .flatten();
        let fields = problem.fields().iter().zip(&ends_of).enumerate();
        fields
            .map(|(field, (spec, ends))| {
                let inside = row
                    .map(|row| ends_of_dim(row, field))
                    .filter(|e| !e.is_empty());
                match rng.u8(0..8) {
                    0 => rng.u128(..) & spec.max(),
                    _ => *rng.choice(inside.as_ref().unwrap_or(ends)).expect("some") & spec.max(),
                }
            })
            .collect()
    };
    (0..count).map(&mut point).collect()
}

fn ends_of_dim(row: &Row, field: usize) -> Vec<u128> {
    let ranges = row.region.dim(field).expect("it is there").ranges();
    ranges
        .iter()
        .flat_map(|(a, b)| [*a, *b, a + (b - a) / 2])
        .collect()
}

/// What a program relies on: no read leaves the blob, and the last step ends.
pub(crate) fn assert_sound(plan: &Plan) {
    for table in &plan.tables {
        let size = (u64::from(table.mask) + 1) * u64::from(table.width.bytes());
        assert!(
            (table.mask + 1).is_power_of_two() && table.offset % 64 == 0,
            "{table:?}"
        );
        assert!(
            u64::from(table.offset) + size <= plan.blob.len() as u64,
            "{table:?}"
        );
    }
    assert!(matches!(plan.steps.last(), Some(Step::Answer { .. })));
}
