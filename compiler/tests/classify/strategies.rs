//! Every strategy on random problems.

use polc_compiler::packet::{IntervalSet, Region, Values};
use polc_compiler::target::ebpf::classify::plan::Step;
use polc_compiler::target::ebpf::classify::strategy::{Refusal, names, rows_of_steps};
use polc_compiler::target::ebpf::classify::{FieldSpec, Limits, Plan, Problem, Row, choose, only};
use proptest::prelude::*;

use crate::made::{assert_sound, points, problem};

fn agrees(problem: &Problem, plan: &Plan, seed: u64) -> Result<(), TestCaseError> {
    assert_sound(plan);
    for point in points(problem, seed, 300) {
        let (expected, found) = (problem.first_match(&point), plan.eval(&point));
        prop_assert_eq!(found, Some(expected), "{} at {:?}", plan.strategy, point);
    }
    Ok(())
}

/// Without multibit tables: buckets and searches.
fn dense() -> Limits {
    Limits {
        multibit_bytes: 0,
        ..Limits::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn plans_answer_with_the_first_row(problem in problem(30), seed in any::<u64>()) {
        for limits in [Limits::default(), dense()] {
            agrees(&problem, &choose(&problem, &limits).unwrap(), seed)?;
            let mut made = 0;
            for name in names() {
                if let Ok(plan) = only(name, &problem, &limits) {
                    prop_assert_eq!(plan.strategy, name);
                    agrees(&problem, &plan, seed)?;
                    made += 1;
                }
            }
            prop_assert!(made > 0);
        }
    }

    #[test]
    fn rows_of_one_field_are_one_lookup(problem in problem(60), seed in any::<u64>()) {
        let fields = vec![problem.fields()[0].clone()];
        let rows = problem.rows().iter().map(|row| Row {
            region: row.region.only(&[0]),
            rule: row.rule,
        });
        let problem = Problem::new(fields, rows.collect(), problem.default()).unwrap();
        for limits in [Limits::default(), dense()] {
            for name in ["direct", "vectors"] {
                if let Ok(plan) = only(name, &problem, &limits) {
                    agrees(&problem, &plan, seed)?;
                }
            }
        }
    }
}

fn row(dims: Vec<Values>, rule: u32) -> Row {
    Row {
        region: Region::new(dims),
        rule,
    }
}

#[test]
fn no_rows_and_rows_for_everything() {
    let fields = || vec![FieldSpec::address4("a"), FieldSpec::port("b")];
    let empty = Problem::new(fields(), Vec::new(), 3).unwrap();
    let plan = choose(&empty, &Limits::default()).unwrap();
    assert_eq!((plan.eval(&[1, 2]), plan.blob.len()), (Some(3), 0));

    let all = || row(fields().iter().map(FieldSpec::full).collect(), 5);
    let rows = (0..100).map(|_| all()).collect();
    let wild = Problem::new(fields(), rows, 3).unwrap();
    let plan = choose(&wild, &Limits::default()).unwrap();
    assert_eq!((plan.eval(&[1, 2]), plan.strategy), (Some(5), "straight"));
}

/// 70,000 classes: more than 16 bits say.
#[test]
fn many_classes() {
    let fields = vec![FieldSpec::address4("a"), FieldSpec::number("b", 1)];
    let host = |n: u32| Values::one(n.wrapping_mul(2_654_435_761).into());
    let rows = (0..70_000).map(|n| row(vec![host(n), fields[1].full()], n + 1));
    let mut rows: Vec<Row> = rows.collect();
    let problem = Problem::new(fields.clone(), rows.clone(), 0).unwrap();
    for limits in [Limits::default(), dense()] {
        let plan = choose(&problem, &limits).unwrap();
        assert_eq!(plan.strategy, "direct");
        for n in (0..70_000).step_by(7) {
            let point = [host(n).bounds().0, 1];
            assert_eq!(plan.eval(&point), Some(n + 1));
        }
    }
    rows.push(row(vec![host(7), Values::one(1)], 99));
    let problem = Problem::new(fields, rows, 0).unwrap();
    // With a second field they are too many for what there is: no plan rather than a huge one.
    let refused = choose(&problem, &Limits::default()).unwrap_err();
    assert_eq!(refused.rows, 70_001);
}

/// The only row that asks for a field is compared before the tables are read.
#[test]
fn a_first_row_about_another_field() {
    let fields = vec![FieldSpec::address4("a"), FieldSpec::number("b", 8)];
    let host = |n: u32| Values::one((n * 1000).into());
    let mut rows = vec![row(vec![host(7), Values::one(3)], 9999)];
    rows.extend((0..1000).map(|n| row(vec![host(n), fields[1].full()], n + 1)));
    let problem = Problem::new(fields, rows, 0).unwrap();
    let limits = Limits::default();
    let plan = choose(&problem, &limits).unwrap();
    assert_eq!(plan.strategy, "direct");
    assert_eq!(plan.eval(&[7000, 3]), Some(9999));
    assert_eq!(plan.eval(&[7000, 4]), Some(8));
    assert_eq!(plan.eval(&[7001, 3]), Some(0));
    let rows = rows_of_steps(&problem, &plan, &limits);
    assert_eq!(rows.first(), Some(&Some(0)));
    assert!(rows.iter().skip(1).all(Option::is_none));
}

/// The last level of a set's table has a bit for each entry, whatever the two answers are.
#[test]
fn a_set_of_networks_is_bits() {
    for spec in [FieldSpec::address4("a"), FieldSpec::address6("a")] {
        let nets = (0..5000u128).map(|n| {
            let first = (n * 12_347) << (spec.bits - 26);
            (first, first | spec.max() >> (20 + n % 5))
        });
        let set = Values::Many(nets.collect());
        for (inside, outside) in [(1, 0), (3, 7), (70_000, 5)] {
            let rows = vec![row(vec![set.clone()], inside)];
            let problem = Problem::new(vec![spec.clone()], rows, outside).unwrap();
            let plan = only("direct", &problem, &Limits::default()).unwrap();
            assert_sound(&plan);
            let bit = |step: &Step| matches!(step, Step::Bit { .. });
            assert!(plan.steps.iter().any(bit), "{:?}", plan.steps);
            for point in points(&problem, 9, 5000) {
                assert_eq!(plan.eval(&point), Some(problem.first_match(&point)));
            }
        }
    }
}

/// Lists of rows of all pairs of addresses are too many, but not those of narrow and of wide rows.
#[test]
fn rows_for_any_address_are_a_part_of_their_own() {
    let fields = vec![
        FieldSpec::address4("a"),
        FieldSpec::address4("b"),
        FieldSpec::port("c"),
    ];
    let any = || fields[0].full();
    let host = |n: u32| Values::one((n * 1000).into());
    let port = |n: u32| Values::one((n % 97).into());
    let mut rows = Vec::new();
    for n in 0..400 {
        rows.push(row(vec![host(n), host(n * 7 % 400), port(n)], 3 * n));
        rows.push(row(vec![host(n), any(), port(n * 3)], 3 * n + 1));
        rows.push(row(vec![any(), host(n), port(n * 5)], 3 * n + 2));
    }
    let problem = Problem::new(fields.clone(), rows, 5000).unwrap();
    let limits = Limits::default();
    for bytes in [limits.product_bytes, 2 << 20] {
        let limits = Limits {
            product_bytes: bytes,
            ..limits.clone()
        };
        let plan = only("product", &problem, &limits).unwrap();
        let least = |step: &Step| matches!(step, Step::Least { .. });
        assert!(plan.steps.iter().any(least), "{:?}", plan.steps);
        for point in points(&problem, 5, 20_000) {
            assert_eq!(plan.eval(&point), Some(problem.first_match(&point)));
        }
    }
}

#[test]
fn what_is_too_large_is_refused_with_the_rows_to_blame() {
    let fields = vec![FieldSpec::address4("a"), FieldSpec::address4("b")];
    let (any, wide) = (fields[0].full(), Values::Range(0, 1 << 20));
    let narrow = |n: u32| Values::one((n * 7).into());
    let mut rows: Vec<Row> = (0..2000)
        .map(|n| row(vec![narrow(n), narrow(n + 1)], n))
        .collect();
    rows.push(row(vec![any, wide], 4000));
    let problem = Problem::new(fields, rows, 0).unwrap();
    let limits = Limits {
        product_bytes: 1 << 20,
        vector_bytes: 1 << 16,
        ..Limits::default()
    };
    let refused = choose(&problem, &limits).unwrap_err();
    assert_eq!(refused.blame[0].rule, 4000);
    assert_eq!(refused.blame[0].any, 1);
    let notes: Vec<_> = refused.notes.iter().map(|n| n.strategy).collect();
    assert_eq!(notes, ["straight", "direct", "vectors", "product"]);

    let roomy = Limits {
        vector_bytes: 64 << 20,
        ..limits
    };
    let plan = choose(&problem, &roomy).unwrap();
    assert_eq!(plan.strategy, "vectors");
    let pairs = plan
        .notes
        .iter()
        .any(|n| matches!(n.why, Refusal::Pairs { .. }));
    assert!(pairs, "{:?}", plan.notes);
    assert_eq!(plan.eval(&[7, 14]), Some(1));
    assert_eq!(plan.eval(&[8, 14]), Some(4000));
}

/// A set of many ranges that many rows share is read once.
#[test]
fn a_large_set_in_many_rows() {
    let fields = vec![FieldSpec::address4("a"), FieldSpec::port("b")];
    let set: IntervalSet<u128> = (0..100_000u128)
        .map(|n| (n * 40_000, n * 40_000 + 99))
        .collect();
    let set = Values::Many(set);
    let rows = (0..1000).map(|n| row(vec![set.clone(), Values::one(n)], n.try_into().unwrap()));
    let problem = Problem::new(fields, rows.collect(), 9999).unwrap();
    let plan = choose(&problem, &Limits::default()).unwrap();
    assert_eq!(plan.eval(&[40_000 * 77 + 99, 5]), Some(5));
    assert_eq!(plan.eval(&[40_000 * 77 + 100, 5]), Some(9999));
}
