//! Tables of one field: every kind, before and after changes.

use polc_compiler::packet::{IntervalSet, Values};
use polc_compiler::target::ebpf::classify::stage::{Change, NoRoom, StageKind, Write};
use polc_compiler::target::ebpf::classify::{AddressTable, FieldSpec, Limits, Partition, Plan};
use proptest::prelude::*;

use crate::made::{assert_sound, ends, field, number, values};

fn apply(writes: &[Write], blob: &mut [u8]) {
    for write in writes {
        write.apply(blob);
    }
}

fn over(plan: &Plan, blob: Vec<u8>) -> Plan {
    Plan {
        blob,
        ..plan.clone()
    }
}

/// A field, up to three sets of its numbers, and changes.
fn case() -> impl Strategy<Value = (FieldSpec, Vec<Values>, Vec<Change>)> {
    field().prop_flat_map(|spec| {
        let sets = proptest::collection::vec(values(&spec), 0..4);
        let ends = (
            number(spec.bits),
            prop_oneof![Just(0u128), number(spec.bits)],
        );
        let change = (ends, 0u32..8).prop_map(|((first, len), value)| Change {
            first,
            last: first.saturating_add(len),
            value,
        });
        let changes = proptest::collection::vec(change, 0..6);
        (Just(spec), sets, changes)
    })
}

/// Hosts, and few of them side by side.
fn hosts() -> impl Strategy<Value = (FieldSpec, Vec<Values>, Vec<Change>)> {
    let spec = prop_oneof![
        Just(FieldSpec::address4("a")),
        Just(FieldSpec::address6("b")),
        Just(FieldSpec::number("c", 48)),
    ];
    spec.prop_flat_map(|spec| {
        let set = proptest::collection::vec(number(spec.bits), 1..60);
        let set = set.prop_map(|n| {
            Values::of(&n.into_iter().map(|n| (n, n)).collect::<IntervalSet<u128>>()).unwrap()
        });
        let change =
            (number(spec.bits), 0u128..3, 0u32..4).prop_map(|(first, len, value)| Change {
                first,
                last: first.saturating_add(len),
                value,
            });
        let sets = proptest::collection::vec(set, 1..3);
        (Just(spec), sets, proptest::collection::vec(change, 0..20))
    })
}

fn check(spec: &FieldSpec, sets: &[Values], changes: &[Change]) -> Result<usize, TestCaseError> {
    let partition = Partition::of_sets(spec.bits, &sets.iter().collect::<Vec<_>>());
    let mut numbers: Vec<u128> = sets.iter().flat_map(ends).collect();
    let around = |c: &Change| {
        [
            c.first.saturating_sub(1),
            c.first,
            c.last,
            c.last.saturating_add(1),
        ]
    };
    numbers.extend(changes.iter().flat_map(around).chain([0, spec.max()]));
    numbers.retain(|n| *n <= spec.max());
    let mut kinds = 0;
    for kind in StageKind::ALL {
        let Ok(table) = AddressTable::of_kind(kind, &partition, 7) else {
            continue;
        };
        kinds += 1;
        assert_sound(table.plan());
        for n in &numbers {
            prop_assert_eq!(
                table.plan().eval(&[*n]),
                Some(partition.at(*n)),
                "{:?} {}",
                kind,
                n
            );
        }
        let mut plan = table.plan().clone();
        let (mut done, mut refused): (Vec<&Change>, usize) = (Vec::new(), 0);
        for change in changes {
            let writes = match table.patch(&plan.blob, *change) {
                Ok(writes) => writes,
                // A new table would be made, and is below.
                Err(why) => {
                    refused += 1;
                    let never = matches!(kind, StageKind::Search | StageKind::Bucket);
                    prop_assert!(never || why == NoRoom::Full, "{:?} {}", kind, why);
                    continue;
                }
            };
            apply(&writes, &mut plan.blob);
            done.push(change);
            for n in &numbers {
                let latest = done.iter().rev().find(|c| c.first <= *n && *n <= c.last);
                let expected = latest.map_or_else(|| partition.at(*n), |c| c.value);
                prop_assert_eq!(
                    plan.eval(&[*n]),
                    Some(expected),
                    "{:?} {} {:?}",
                    kind,
                    n,
                    done
                );
            }
        }
        prop_assert!(kind == StageKind::Search || kind == StageKind::Bucket || refused == 0);
        let empty = Partition::constant(spec.bits, 0);
        for partition in [&partition, &empty] {
            let Some(blob) = table.refill(partition) else {
                prop_assert!(
                    kind == StageKind::Bucket && partition == &empty,
                    "{:?}",
                    kind
                );
                continue;
            };
            let plan = over(table.plan(), blob);
            for n in &numbers {
                prop_assert_eq!(plan.eval(&[*n]), Some(partition.at(*n)), "{:?} {}", kind, n);
            }
        }
    }
    Ok(kinds)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    #[test]
    fn every_kind_of_table_has_the_values((spec, sets, changes) in case()) {
        let kinds = check(&spec, &sets, &changes)?;
        // At least the search, and for all that is no odd width one more.
        prop_assert!(kinds >= 1);
    }

    #[test]
    fn hosts_fit_in_buckets((spec, sets, changes) in hosts()) {
        prop_assert!(check(&spec, &sets, &changes)? >= 3);
    }
}

/// Blocklists of many sizes, one host in and one out.
#[test]
fn one_host_is_one_write() {
    let limits = Limits {
        multibit_bytes: 1 << 20,
        ..Limits::default()
    };
    let host = |n: u32| u128::from(n.wrapping_mul(2_654_435_761));
    let set: IntervalSet<u128> = (0..20_000).map(|n| (host(n), host(n))).collect();
    let set = Values::Many(set);
    let partition = Partition::of_sets(32, &[&set]);
    let table = AddressTable::build(&FieldSpec::address4("a"), &partition, 1, &limits).unwrap();
    assert_eq!(table.kind(), StageKind::Bucket);
    let mut plan = table.plan().clone();
    let mut put = |number: u128, value: u32| {
        let change = Change {
            first: number,
            last: number,
            value,
        };
        let writes = table.patch(&plan.blob, change).unwrap();
        apply(&writes, &mut plan.blob);
        assert_eq!(plan.eval(&[number]), Some(value));
        writes.iter().map(|write| write.bytes.len()).sum::<usize>()
    };
    assert_eq!(put(host(5), 0), 4);
    assert_eq!(put(host(5), 0), 0);
    assert_eq!(put(host(30_000), 1), 4);
    assert_eq!(put(host(30_000), 0), 4);
}

/// When the spare room is used up, a change says so, and the table made anew serves.
#[test]
fn a_table_without_room_is_made_anew() {
    let partition = Partition::of_sets(32, &[&Values::Range(5, 9)]);
    let table = AddressTable::of_kind(StageKind::Multibit, &partition, 1).unwrap();
    let mut blob = table.plan().blob.clone();
    let mut set = IntervalSet::range(5u128, 9);
    let mut refused = 0;
    for n in 0..1000u128 {
        let first = n << 20 | (n & 0xfff) << 8;
        let change = Change {
            first,
            last: first,
            value: 1,
        };
        set = set.union(&IntervalSet::one(first));
        let partition = Partition::of_sets(32, &[&Values::Many(set.clone())]);
        if let Ok(writes) = table.patch(&blob, change) {
            apply(&writes, &mut blob);
        } else if let Some(other) = table.refill(&partition) {
            (blob, refused) = (other, refused + 1);
        } else {
            return assert!(n > 200 && refused > 0);
        }
        let plan = over(table.plan(), blob.clone());
        assert_eq!(plan.eval(&[first]), Some(1));
        assert_eq!(plan.eval(&[first + 1]), Some(partition.at(first + 1)));
    }
    panic!("a thousand blocks do not fit in the room of 256");
}
