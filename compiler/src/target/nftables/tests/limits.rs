//! Buckets, dynamic sets, guard, and what cannot be expressed.

use super::build::*;
use crate::field::{ICMP, META_MARK, TCP, UDP, VLAN_ID};
use crate::ir::{
    Atom, Bucket, Cube, Effects, Key, KeyKind, Log, Mark, Rate, Sense, Stage, TimeUnit, Verdict,
};
use crate::packet::AddrSet;

fn limited(sense: Sense, full: Sense, key: Option<Key>) -> crate::ir::Ir {
    let verdict = match sense {
        Sense::Within => Verdict::Allow,
        Sense::Over => Verdict::Deny,
    };
    let mut ir = input(vec![
        filter("ssh", vec![any().port(&[TCP], &[22])], verdict).limit(sense, 0),
        default(Stage::Filter, Verdict::Deny),
    ]);
    ir.buckets.push(bucket("b", TEN, key, full));
    ir
}

#[test]
fn limits_fail_the_way_the_bucket_says() {
    let mut out = String::new();
    for sense in [Sense::Within, Sense::Over] {
        for full in [Sense::Over, Sense::Within] {
            for key in [None, Some(SOURCE)] {
                let script = text(&limited(sense, full, key));
                out.extend([
                    format!(
                        "== {sense:?}, full {full:?}
"
                    ),
                    script,
                    "
"
                    .to_owned(),
                ]);
            }
        }
    }
    insta::assert_snapshot!(out);
}

#[test]
fn keys_are_masked_and_flows_are_counted() {
    let pair = Key {
        kind: KeyKind::Pair,
        v4: 24,
        v6: 56,
    };
    let mut ir = input(vec![
        filter("a", vec![any().port(&[TCP], &[22])], Verdict::Allow).limit(Sense::Within, 0),
        filter("b", vec![any().port(&[TCP], &[80])], Verdict::Allow).limit(Sense::Within, 1),
        filter("c", vec![any().port(&[TCP], &[81])], Verdict::Deny).limit(Sense::Over, 2),
        filter(
            "d",
            vec![any().port(&[UDP], &[53]), any().from(&["10.0.0.0/8"])],
            Verdict::Allow,
        )
        .limit(Sense::Within, 0)
        .limit(Sense::Over, 2),
        default(Stage::Filter, Verdict::Deny),
    ]);
    let day = Rate::Packets {
        count: 1,
        per: TimeUnit::Day,
        burst: 2,
    };
    ir.buckets = vec![
        bucket("pairs", day, Some(pair), Sense::Over),
        bucket("live", Rate::Flows { count: 20 }, Some(SOURCE), Sense::Over),
        bucket("all", Rate::Flows { count: 100 }, None, Sense::Over),
    ];
    insta::assert_snapshot!(text(&ir));
}

#[test]
fn guard_is_stateless_and_fills_sets() {
    let mut ir = policy();
    let noisy = |answer| Cube {
        atoms: [(
            Atom::Dynamic {
                set: 0,
                dest: false,
            },
            answer,
        )]
        .into(),
        ..any()
    };
    let eth0 = |cube: Cube| cube.in_by(&["eth0"]);
    ir.dynamic.push(dynamic("noisy"));
    ir.buckets = vec![
        bucket("pps", TEN, Some(SOURCE), Sense::Over),
        bucket(
            "bw",
            Rate::Bytes {
                count: 50_000_000,
                burst: 64_000_000,
            },
            Some(Key {
                kind: KeyKind::Dest,
                ..SOURCE
            }),
            Sense::Over,
        ),
        bucket("log", TEN, Some(SOURCE), Sense::Over),
    ];
    ir.guard = vec![
        at(
            Stage::Guard,
            "noisy",
            vec![eth0(noisy(true))],
            Verdict::Deny,
        )
        .effects(Effects {
            log: Some(Log {
                text: None,
                at: Some(2),
            }),
            count: true,
            ..Effects::default()
        }),
        at(Stage::Guard, "pps", vec![eth0(any())], Verdict::Deny)
            .limit(Sense::Over, 0)
            .effects(Effects {
                add: Some(0),
                ..Effects::default()
            }),
        at(
            Stage::Guard,
            "bw",
            vec![eth0(any().with_proto(&numbers(&[UDP])))],
            Verdict::Deny,
        )
        .limit(Sense::Over, 1),
        at(
            Stage::Guard,
            "fast",
            vec![eth0(any().port(&[UDP], &[4789]))],
            Verdict::Notrack,
        ),
        effect(
            Stage::Guard,
            "seen",
            vec![
                eth0(any().port(&[TCP], &[1])),
                eth0(any().from(&["10.0.0.0/8"])),
            ],
            Effects {
                count: true,
                ..Effects::default()
            },
        ),
        at(Stage::Guard, "rest", vec![eth0(any())], Verdict::Allow),
    ];
    insta::assert_snapshot!(text(&ir));
}

#[test]
fn what_cannot_be_expressed_is_an_error_at_its_rule() {
    let vlan = any().value(VLAN_ID, &[7]);
    let ir = input(vec![
        filter("v", vec![vlan], Verdict::Deny),
        default(Stage::Filter, Verdict::Deny),
    ]);
    assert_eq!(
        errors(&ir),
        ["target `nftables` cannot express a VLAN tag's fields"]
    );

    let mut ir = limited(Sense::Within, Sense::Over, None);
    ir.buckets = vec![Bucket {
        rate: Rate::Bytes {
            count: 1000,
            burst: 10,
        },
        ..ir.buckets[0].clone()
    }];
    assert_eq!(
        errors(&ir),
        [
            "target `nftables` cannot express a bucket of bytes that holds less than a second's worth"
        ]
    );

    let mut ir = steer(vec![
        at(
            Stage::Steer,
            "r",
            vec![any().with_proto(&numbers(&[TCP, ICMP]))],
            Verdict::Redirect { port: Some(1) },
        ),
        at(
            Stage::Steer,
            "o",
            vec![any().in_by(&["eth0"]).out_by(&["eth1"])],
            Verdict::Deny,
        ),
    ]);
    assert_eq!(
        errors(&ir),
        [
            "target `nftables` cannot express a target port for protocols that have no ports",
            "target `nftables` cannot express the egress interface before routing",
        ]
    );
    let mark = Effects {
        mark: Some(Mark { value: 1, mask: 1 }),
        ..Effects::default()
    };
    ir.steer = vec![
        effect(Stage::Steer, "m", vec![any()], mark),
        at(
            Stage::Steer,
            "r",
            vec![any().value(META_MARK, &[1])],
            Verdict::Deny,
        ),
    ];
    assert_eq!(
        errors(&ir),
        [
            "target `nftables` cannot express the mark as it was before an earlier rule of the stage set it"
        ]
    );
}

#[test]
fn a_dynamic_set_begins_with_what_it_can_hold() {
    let mut ir = guard_on_noisy();
    ir.dynamic[0].initial = addrs(&["192.0.2.0/30"]);
    insta::assert_snapshot!(text(&ir));
    ir.dynamic[0].initial = addrs(&["10.0.0.0/8"]);
    assert_eq!(
        errors(&ir),
        ["`@noisy` begins with more addresses than it may hold"]
    );
    ir.dynamic[0].initial = AddrSet::empty();
    assert!(emit(&ir).is_ok());
}

fn guard_on_noisy() -> crate::ir::Ir {
    let mut ir = policy();
    ir.dynamic.push(dynamic("noisy"));
    let cube = Cube {
        atoms: [(
            Atom::Dynamic {
                set: 0,
                dest: false,
            },
            true,
        )]
        .into(),
        ..any()
    };
    ir.guard = vec![at(Stage::Guard, "noisy", vec![cube], Verdict::Deny)];
    ir
}
