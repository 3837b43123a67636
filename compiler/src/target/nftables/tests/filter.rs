//! Filter: sides, fields, sets, senders.

use super::build::*;
use crate::field::{
    CT_STATE, ETH_SADDR, ICMP, ICMP_TYPE, ICMPV6, IP_FRAGMENT, IP_LENGTH, IP_TTL, META_MARK, SPORT,
    TCP, TCP_FLAGS, TIME_HOUR, UDP,
};
use crate::ir::{
    Atom, Block, Cube, Effects, Log, Mark, Reject, Rule, Sense, Side, Stage, Verdict,
    cube::PrincipalKind,
};
use crate::packet::{Families, IfaceSet, IntervalSet};

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
        filter("c", vec![any().sent_by_host()], Verdict::Deny),
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
fn stateless_sections_are_told_before_routing_too() {
    let mut ir = input(vec![
        filter(
            "voip",
            vec![any().in_by(&["eth0"]).port(&[UDP], &[5060])],
            Verdict::Allow,
        ),
        default(Stage::Filter, Verdict::Deny),
    ]);
    ir.strict_tcp = true;
    ir.governs.forward = true;
    ir.blocks[2].stateless = true;
    let to = |names: &[&str]| Cube {
        egress: Side::ifaces(IfaceSet::of(
            names
                .iter()
                .map(|n| crate::packet::Pattern::Name((*n).to_owned())),
        )),
        ..any().in_by(&["eth1"])
    };
    let host = Cube {
        egress: Side::host(),
        ..any().in_by(&["eth0"])
    };
    ir.blocks[2].scope = vec![host.with_proto(&numbers(&[UDP])), to(&["eth2", "eth3"])];
    let mut mark = at(Stage::Steer, "mark", vec![any()], Verdict::Direct);
    mark.effects.mark = Some(Mark { value: 1, mask: 15 });
    ir.steer.push(mark);
    insta::assert_snapshot!(text(&ir));
}

#[test]
fn before_routing_what_is_sent_on_has_a_hop_more() {
    let mut ir = input(vec![default(Stage::Filter, Verdict::Deny)]);
    ir.governs.forward = true;
    ir.blocks[2].stateless = true;
    ir.blocks[2].scope = vec![any().value(IP_TTL, &[4, 255])];
    let mut mark = at(Stage::Steer, "mark", vec![any()], Verdict::Direct);
    mark.effects.mark = Some(Mark { value: 1, mask: 15 });
    ir.steer.push(mark);
    let text = text(&ir);
    let asked = |chain: &str| -> Vec<&str> {
        let lines = text.split_once(chain).unwrap().1.lines();
        let lines = lines.take_while(|line| line.trim() != "}");
        lines
            .filter(|line| line.contains("ip ttl"))
            .map(str::trim)
            .collect()
    };
    assert_eq!(
        asked("chain judge_invalid {"),
        [
            "ip ttl { 4, 255 } fib daddr type { local, broadcast, multicast, anycast } accept",
            "ip ttl 5 fib daddr type != { local, broadcast, anycast } accept",
        ]
    );
    assert_eq!(
        asked("chain forward {"),
        ["ip ttl { 4, 255 } goto forward_rules"]
    );
}

#[test]
fn a_packet_without_flow_was_sent_to_where_it_says() {
    let original = |rule: Cube| Cube {
        original: addrs(&["192.0.2.0/25", "2001:db8::1"]),
        ..rule
    };
    let mut ir = input(vec![
        // Neighbour and listener discovery alone have no flow.
        filter(
            "tcp",
            vec![original(any()).with_proto(&numbers(&[TCP]))],
            Verdict::Allow,
        ),
        filter(
            "all",
            vec![original(any().to(&["192.0.2.0/24", "2001:db8::/32"]))],
            Verdict::Allow,
        ),
        default(Stage::Filter, Verdict::Deny),
    ]);
    insta::assert_snapshot!("original_without_flow", text(&ir));
    // Where packets are not tracked, every rule may see some.
    ir.guard = vec![at(Stage::Guard, "out", vec![any()], Verdict::Notrack)];
    insta::assert_snapshot!("original_not_tracked", text(&ir));
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
fn sections_become_chains() {
    let mut ir = policy();
    ir.governs.forward = true;
    let ways: [(&str, &[&str], &[&str]); 4] = [
        ("lan-to-wan", &["eth1", "wg*"], &["eth0"]),
        ("wan-to-dmz", &["eth0"], &["eth3"]),
        ("dmz-to-wan", &["eth3"], &["eth0"]),
        ("guest-to-wan", &["eth2.30"], &["eth0"]),
    ];
    for (label, ins, outs) in ways {
        let block = ir.blocks.len();
        ir.blocks.push(Block {
            label: label.into(),
            ..ir.blocks[2].clone()
        });
        let way = || any().in_by(ins).out_by(outs);
        let mut add = |name: &str, cube: Cube, verdict| {
            let rule = filter(&format!("{label}#{name}"), vec![cube], verdict);
            ir.filter.push(Rule { block, ..rule });
        };
        add("1", way().port(&[TCP], &[80]), Verdict::Allow);
        add("2", way().port(&[TCP], &[443]), Verdict::Allow);
        add("3", way(), Verdict::Reject(Reject::Default));
    }
    ir.filter.push(default(Stage::Filter, Verdict::Deny));
    insta::assert_snapshot!(text(&ir));
}

/// nft 1.0.6 writes a conversion of the protocol in front of ranges, which Linux 7.2 refuses.
#[test]
fn protocols_are_joined_with_single_ports_only() {
    let of = |last: u64| {
        let ports: Vec<u64> = (1000..=last).collect();
        let web = any().port(&[TCP], &ports);
        let rule = filter("x", vec![web, any().port(&[UDP], &[53])], Verdict::Allow);
        text(&input(vec![rule, default(Stage::Filter, Verdict::Deny)]))
    };
    let joined = "meta l4proto . th dport { tcp . 1000, tcp . 1001, udp . 53 } accept";
    assert!(of(1001).contains(joined), "{}", of(1001));
    for rule in ["tcp dport 1000-1099 accept", "udp dport 53 accept"] {
        assert!(of(1099).contains(rule), "{}", of(1099));
    }
}
