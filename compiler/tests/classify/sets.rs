//! Tables of one field: every kind, and other contents for the same steps.

use polc_compiler::packet::{IntervalSet, Values};
use polc_compiler::target::ebpf::classify::stage::StageKind;
use polc_compiler::target::ebpf::classify::{AddressTable, FieldSpec, Limits, Partition, Plan};
use proptest::prelude::*;

use crate::made::{assert_sound, ends, field, values};

/// A field, and up to three sets of its numbers.
fn case() -> impl Strategy<Value = (FieldSpec, Vec<Values>)> {
    field().prop_flat_map(|spec| {
        let sets = proptest::collection::vec(values(&spec), 0..4);
        (Just(spec), sets)
    })
}

/// Hosts.
fn hosts() -> impl Strategy<Value = (FieldSpec, Vec<Values>)> {
    let spec = prop_oneof![
        Just(FieldSpec::address4("a")),
        Just(FieldSpec::address6("b")),
        Just(FieldSpec::number("c", 48)),
    ];
    spec.prop_flat_map(|spec| {
        let set = proptest::collection::vec(crate::made::number(spec.bits), 1..60);
        let set = set.prop_map(|n| {
            Values::of(&n.into_iter().map(|n| (n, n)).collect::<IntervalSet<u128>>()).unwrap()
        });
        (Just(spec), proptest::collection::vec(set, 1..3))
    })
}

fn check(spec: &FieldSpec, sets: &[Values]) -> Result<usize, TestCaseError> {
    let partition = Partition::of_sets(spec.bits, &sets.iter().collect::<Vec<_>>());
    let mut numbers: Vec<u128> = sets.iter().flat_map(ends).collect();
    numbers.extend([0, spec.max()]);
    numbers.retain(|n| *n <= spec.max());
    let mut kinds = 0;
    for kind in StageKind::ALL {
        let Ok(table) = AddressTable::of_kind(kind, &partition, 7) else {
            continue;
        };
        kinds += 1;
        assert_sound(table.plan());
        for n in &numbers {
            let found = table.plan().eval(&[*n]);
            prop_assert_eq!(found, Some(partition.at(*n)), "{:?} {}", kind, n);
        }
    }
    Ok(kinds)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    #[test]
    fn every_kind_of_table_has_the_values((spec, sets) in case()) {
        // At least the search, and for all that is no odd width one more.
        prop_assert!(check(&spec, &sets)? >= 1);
    }

    #[test]
    fn hosts_fit_in_buckets((spec, sets) in hosts()) {
        prop_assert!(check(&spec, &sets)? >= 3);
    }
}

/// Editions of a list of hosts, or of networks, for one program.
#[test]
fn another_edition_of_a_list_is_another_blob_for_the_same_steps() {
    let small = Limits {
        multibit_bytes: 1 << 20,
        ..Limits::default()
    };
    let host = |n: u32| u128::from(n.wrapping_mul(2_654_435_761));
    let wide = |n: u32| (0x2001_0db8 << 96) | host(n) << 64;
    let cases = [
        (
            FieldSpec::address4("hosts"),
            0,
            small.clone(),
            StageKind::Bucket,
        ),
        (
            FieldSpec::address4("hosts"),
            0,
            Limits::default(),
            StageKind::Multibit,
        ),
        (
            FieldSpec::address4("networks"),
            8,
            small.clone(),
            StageKind::Multibit,
        ),
        (
            FieldSpec::address6("networks"),
            64,
            small,
            StageKind::Search,
        ),
    ];
    for (spec, tail, limits, kind) in cases {
        let first = |n: u32| match spec.bits {
            32 => host(n) >> tail << tail,
            _ => wide(n),
        };
        let partition = |from: u32, to: u32| {
            let ranges = (from..to).map(|n| (first(n), first(n) | ((1 << tail) - 1)));
            let set: IntervalSet<u128> = ranges.collect();
            Partition::of_sets(spec.bits, &[&Values::Many(set)])
        };
        let editions = [partition(0, 20_000), partition(100, 20_300)];
        let table = |partition| AddressTable::build(&spec, partition, 1, &limits).unwrap();
        let [one, other] = [&editions[0], &editions[1]].map(table);
        assert_eq!([one.kind(), other.kind()], [kind; 2], "{spec:?}");
        let bare = |plan: &Plan| Plan {
            blob: Vec::new(),
            ..plan.clone()
        };
        assert_eq!(bare(one.plan()), bare(other.plan()), "{spec:?}");
        assert_eq!(one.plan().blob.len(), other.plan().blob.len());
        let exchanged = Plan {
            blob: other.plan().blob.clone(),
            ..one.plan().clone()
        };
        for n in [0, 50, 100, 10_000, 20_299, 30_000] {
            let number = first(n);
            assert_eq!(
                exchanged.eval(&[number]),
                Some(editions[1].at(number)),
                "{n}"
            );
        }
    }
}
