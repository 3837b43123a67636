//! The recipes.

use super::build::*;
use crate::field::{
    CT_STATE, ETH_SADDR, ICMP, ICMP_TYPE, ICMPV6, IP_FRAGMENT, IP_LENGTH, IP_TTL, META_MARK, SPORT,
    TCP, TCP_FLAGS, TIME_HOUR, UDP, UID, VLAN_ID,
};
use crate::ir::{
    Atom, Balance, Bucket, Cube, Down, Effects, Key, KeyKind, Log, Mark, Nat, NatTarget, Rate, Raw,
    Reject, Sense, Side, Stage, TimeUnit, Verdict, cube::PrincipalKind,
};
use crate::packet::{AddrSet, Families, IfaceSet, IntervalSet};

fn any() -> Cube {
    Cube::any()
}

fn addr(text: &str, port: Option<u16>) -> NatTarget {
    NatTarget::Addr(text.parse().unwrap(), port)
}

#[test]
fn a_host_filter() {
    let icmp = any().with_proto(&numbers(&[ICMP, ICMPV6]));
    let ir = input(vec![
        filter(
            "bogons",
            vec![any().in_by(&["eth0"]).from(&["10.0.0.0/8", "fc00::/7"])],
            Verdict::Deny,
        ),
        filter(
            "web",
            vec![any().port(&[TCP], &[80, 443]), any().port(&[UDP], &[443])],
            Verdict::Allow,
        ),
        filter(
            "dns",
            vec![any().port(&[TCP], &[53]), any().port(&[UDP], &[53])],
            Verdict::Allow,
        ),
        filter("icmp", vec![icmp], Verdict::Allow),
        default(Stage::Filter, Verdict::Reject(Reject::Default)),
    ]);
    insta::assert_snapshot!(text(&ir));
}

#[test]
fn one_rule_in_three_directions_shares_its_counter_and_chain() {
    let mut ir = input(vec![
        filter("x", vec![any().port(&[TCP], &[25])], Verdict::Deny).effects(Effects {
            count: true,
            log: Some(Log {
                text: Some("smtp \"out\"".into()),
                at: Some(0),
            }),
            ..Effects::default()
        }),
        default(Stage::Filter, Verdict::Allow),
    ]);
    ir.governs.forward = true;
    ir.governs.output = true;
    ir.buckets.push(bucket("x-log", TEN, None, Sense::Over));
    insta::assert_snapshot!(text(&ir));
}

#[test]
fn sides_become_interfaces() {
    let mut ir = policy();
    ir.governs.forward = true;
    let not_lo = Cube {
        ingress: Side::ifaces(IfaceSet::not_loopback()),
        ..any()
    };
    ir.filter = vec![
        filter(
            "a",
            vec![any().in_by(&["eth0"]).out_by(&["eth1", "wg*"])],
            Verdict::Allow,
        ),
        filter("b", vec![not_lo], Verdict::Deny),
        filter("c", vec![any().from_host()], Verdict::Deny),
        default(Stage::Filter, Verdict::Deny),
    ];
    insta::assert_snapshot!(text(&ir));
}

#[test]
fn rules_that_name_loopback_judge_it_apart() {
    let ir = input(vec![
        filter(
            "lo",
            vec![any().in_by(&["lo"]).port(&[TCP], &[22])],
            Verdict::Deny,
        ),
        filter(
            "ssh",
            vec![any().in_by(&["eth0", "lo"]).port(&[TCP], &[22])],
            Verdict::Allow,
        ),
        default(Stage::Filter, Verdict::Deny),
    ]);
    insta::assert_snapshot!(text(&ir));
}

#[test]
fn every_field_has_an_expression() {
    let tcp = || any().with_proto(&IntervalSet::one(TCP));
    let not_syn = (0..256).filter(|v| v & 0x17 != 2).collect::<Vec<u64>>();
    let ir = input(vec![
        filter("syn", vec![tcp().value(TCP_FLAGS, &[2])], Verdict::Allow),
        filter(
            "not-syn",
            vec![tcp().value(TCP_FLAGS, &not_syn)],
            Verdict::Deny,
        ),
        filter(
            "odd",
            vec![tcp().value(TCP_FLAGS, &[0, 3, 6])],
            Verdict::Deny,
        ),
        filter(
            "fragment",
            vec![any().value(IP_FRAGMENT, &[1])],
            Verdict::Deny,
        ),
        filter(
            "short",
            vec![any().with_field(IP_LENGTH, &IntervalSet::range(0, 99))],
            Verdict::Deny,
        ),
        filter(
            "ttl",
            vec![any().with_field(IP_TTL, &IntervalSet::range(0, 4))],
            Verdict::Deny,
        ),
        filter(
            "ping",
            vec![
                any()
                    .only(Families::V4)
                    .with_proto(&numbers(&[ICMP]))
                    .value(ICMP_TYPE, &[8]),
            ],
            Verdict::Allow,
        ),
        filter(
            "hours",
            vec![any().with_field(TIME_HOUR, &IntervalSet::range(9, 17))],
            Verdict::Allow,
        ),
        filter("mark", vec![any().value(META_MARK, &[16])], Verdict::Allow),
        filter(
            "mac",
            vec![any().value(ETH_SADDR, &[0x0200_0000_0001])],
            Verdict::Allow,
        ),
        filter(
            "state",
            vec![any().value(CT_STATE, &[0, 1, 3])],
            Verdict::Allow,
        ),
        filter(
            "ports",
            vec![
                any()
                    .port(&[TCP, UDP], &[53])
                    .with_field(SPORT, &IntervalSet::range(1024, 65535)),
            ],
            Verdict::Allow,
        ),
        default(Stage::Filter, Verdict::Deny),
    ]);
    insta::assert_snapshot!(text(&ir));
}

#[test]
fn long_sets_are_named_once_for_each_content() {
    let list: Vec<String> = (0..20).map(|n| format!("192.0.2.{}", 2 * n)).collect();
    let hosts: Vec<&str> = list.iter().map(String::as_str).collect();
    let nets: Vec<String> = (0..10).map(|n| format!("2001:db8:{n}:1::/64")).collect();
    let nets: Vec<&str> = nets.iter().map(String::as_str).collect();
    let both = addrs(&hosts).union(&addrs(&nets)).named("drop");
    let from = Cube {
        saddr: both.clone(),
        ..any()
    };
    let to = Cube {
        daddr: both.complement(),
        ..any()
    };
    let ir = input(vec![
        filter("drop", vec![from], Verdict::Deny),
        filter("else", vec![to], Verdict::Allow),
        default(Stage::Filter, Verdict::Deny),
    ]);
    insta::assert_snapshot!(text(&ir));
    let bundle = emit(&ir).unwrap();
    assert_eq!(bundle.manifest().sets.len(), 2);
    assert!(
        bundle
            .manifest()
            .sets
            .iter()
            .all(|s| s.policy_name.as_deref() == Some("drop"))
    );
}

#[test]
fn a_transparent_proxy_for_others_and_for_this_host() {
    let mut ir = steer(vec![
        at(
            Stage::Steer,
            "bypass",
            vec![any().to(&["10.0.0.0/8", "fc00::/7"])],
            Verdict::Direct,
        ),
        at(
            Stage::Steer,
            "lan",
            vec![any().in_by(&["br0"]).with_proto(&numbers(&[TCP, UDP]))],
            Verdict::Proxy(0),
        ),
        at(
            Stage::Steer,
            "own",
            vec![any().from_host().with_proto(&numbers(&[TCP, UDP]))],
            Verdict::Proxy(0),
        ),
        default(Stage::Steer, Verdict::Direct),
    ]);
    let mut box_ = proxy("box");
    let user = Atom::Principal(PrincipalKind::User, "root".into());
    box_.bypass = vec![Cube {
        atoms: [(user, true)].into(),
        ..any()
    }];
    ir.proxies.push(box_);
    ir.filter.push(default(Stage::Filter, Verdict::Deny));
    ir.governs.input = true;
    insta::assert_snapshot!(text(&ir));
    insta::assert_yaml_snapshot!("proxy_routing", emit(&ir).unwrap().manifest());
}

#[test]
fn a_proxy_of_hosts_that_listens_on_a_lan_address_is_not_reached_directly() {
    let mut ir = steer(vec![
        at(
            Stage::Steer,
            "lan",
            vec![any().only(Families::V4).with_proto(&numbers(&[TCP]))],
            Verdict::Proxy(0),
        ),
        default(Stage::Steer, Verdict::Direct),
    ]);
    let mut proxy = proxy("squid");
    (proxy.udp, proxy.v6) = (false, None);
    proxy.v4 = Some(("0.0.0.0".parse().unwrap(), 3129));
    ir.proxies.push(proxy);
    insta::assert_snapshot!(text(&ir));
    ir.proxies[0].down = Down::Direct;
    assert_eq!(
        errors(&ir),
        ["target `nftables` cannot express `down direct` for traffic of this host"]
    );
    let sysctls = &emit(&steer(vec![])).unwrap().manifest().sysctls.len();
    assert_eq!(*sysctls, 0);
}

#[test]
fn redirects_alone_need_no_mangle_chain() {
    let out = |ports: &[u64]| any().from_host().port(&[TCP], ports);
    let ir = steer(vec![
        at(
            Stage::Steer,
            "proxy-out",
            vec![any().from_host().value(UID, &[1337])],
            Verdict::Direct,
        ),
        at(
            Stage::Steer,
            "mesh",
            vec![any().to_host().port(&[TCP], &[15020])],
            Verdict::Direct,
        ),
        at(
            Stage::Steer,
            "inbound",
            vec![any().to_host().with_proto(&numbers(&[TCP]))],
            Verdict::Redirect { port: Some(15006) },
        ),
        at(
            Stage::Steer,
            "self",
            vec![out(&[80]).out_by(&["lo"])],
            Verdict::Redirect { port: Some(15006) },
        ),
        at(
            Stage::Steer,
            "outbound",
            vec![out(&[80, 443])],
            Verdict::Redirect { port: Some(15001) },
        ),
        default(Stage::Steer, Verdict::Direct),
    ]);
    insta::assert_snapshot!(text(&ir));
}

#[test]
fn nat_beside_mangle_judges_each_rule_once() {
    let to = |text: &str| any().in_by(&["eth0"]).to(&[text]).port(&[TCP], &[80]);
    let dnat = Verdict::Dnat(Nat {
        v4: vec![addr("10.1.0.80", Some(8080)), addr("10.1.0.81", Some(8080))],
        v6: vec![],
        balance: Some(Balance::Source),
    });
    let mut ir = steer(vec![
        at(
            Stage::Steer,
            "no-quic",
            vec![any().port(&[UDP], &[443])],
            Verdict::Deny,
        ),
        at(
            Stage::Steer,
            "isp2",
            vec![any().in_by(&["eth2"])],
            Verdict::Route { table: 200 },
        )
        .effects(Effects {
            mark: Some(Mark {
                value: 0x200,
                mask: 0xff00,
            }),
            ..Effects::default()
        }),
        at(
            Stage::Steer,
            "slow",
            vec![to("192.0.2.80")],
            Verdict::Redirect { port: Some(99) },
        )
        .limit(Sense::Over, 0),
        at(Stage::Steer, "web", vec![to("192.0.2.80")], dnat).admit(),
        default(Stage::Steer, Verdict::Direct),
    ]);
    ir.buckets.push(bucket("slow", TEN, None, Sense::Over));
    insta::assert_snapshot!(text(&ir));
    insta::assert_yaml_snapshot!("nat_routing", emit(&ir).unwrap().manifest().routing);
}

#[test]
fn source_nat() {
    let mut ir = policy();
    let wan = || any().out_by(&["eth0"]);
    let from = |side: Side, cube: Cube| Cube {
        ingress: side,
        ..cube
    };
    let prefix = NatTarget::Prefix {
        from: "fd00:1::".parse().unwrap(),
        to: "2001:db8:1::".parse().unwrap(),
        len: 64,
    };
    ir.egress = vec![
        at(
            Stage::Egress,
            "npt",
            vec![wan().from(&["fd00:1::/64"])],
            Verdict::Snat(Nat {
                v6: vec![prefix],
                ..Nat::default()
            }),
        ),
        at(
            Stage::Egress,
            "snat",
            vec![wan().from(&["10.1.0.0/24"])],
            Verdict::Snat(Nat {
                v4: vec![addr("192.0.2.81", None)],
                ..Nat::default()
            }),
        ),
        at(
            Stage::Egress,
            "own",
            vec![from(Side::host(), wan())],
            Verdict::Direct,
        ),
        at(
            Stage::Egress,
            "lan",
            vec![wan().in_by(&["eth1", "wg*"]).only(Families::V4)],
            Verdict::Masquerade,
        ),
        at(
            Stage::Egress,
            "rest",
            vec![from(Side::ifaces(IfaceSet::not_loopback()), wan())],
            Verdict::Masquerade,
        ),
    ];
    insta::assert_snapshot!(text(&ir));
}

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
                out += &format!(
                    "== {sense:?}, full {full:?}\n{}\n",
                    text(&limited(sense, full, key))
                );
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
fn stateless_sections_skip_the_flow_lookup() {
    let mut ir = input(vec![
        filter(
            "voip",
            vec![any().in_by(&["eth0"]).port(&[UDP], &[5060])],
            Verdict::Allow,
        ),
        default(Stage::Filter, Verdict::Deny),
    ]);
    ir.strict_tcp = true;
    ir.blocks[2].stateless = true;
    ir.blocks[2].scope = vec![any().in_by(&["eth0"]).with_proto(&numbers(&[UDP]))];
    insta::assert_snapshot!(text(&ir));
}

#[test]
fn marks_of_filter_rules_are_restored() {
    let mut ir = input(vec![
        effect(
            Stage::Filter,
            "m",
            vec![any().port(&[TCP], &[22])],
            Effects {
                mark: Some(Mark {
                    value: 3,
                    mask: u32::MAX,
                }),
                ..Effects::default()
            },
        ),
        default(Stage::Filter, Verdict::Allow),
    ]);
    ir.raw.push(Raw {
        target: "nft".into(),
        text: "chain mine {\n}".into(),
        span: span(),
    });
    insta::assert_snapshot!(text(&ir));
}

#[test]
fn senders_are_asked_for_output_only() {
    let mut ir = input(vec![
        filter(
            "mail",
            vec![
                Cube {
                    atoms: [(Atom::Principal(PrincipalKind::User, "root".into()), true)].into(),
                    ..any()
                }
                .port(&[TCP], &[25]),
            ],
            Verdict::Allow,
        ),
        filter(
            "not",
            vec![
                Cube {
                    atoms: [(Atom::Principal(PrincipalKind::Group, "root".into()), false)].into(),
                    ..any()
                }
                .port(&[TCP], &[26]),
            ],
            Verdict::Allow,
        ),
        default(Stage::Filter, Verdict::Reject(Reject::AdminProhibited)),
    ]);
    ir.governs.output = true;
    insta::assert_snapshot!(text(&ir));
    assert_eq!(emit(&ir).unwrap().manifest().unresolved.len(), 2);
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
