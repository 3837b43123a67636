//! Steer and egress: proxies, NAT, marks, routing.

use super::build::*;
use crate::field::{TCP, UDP, UID};
use crate::ir::{
    Atom, Balance, Cube, Down, Effects, Mark, Nat, NatTarget, Raw, Sense, Side, Stage, Verdict,
    cube::PrincipalKind,
};
use crate::packet::{Families, IfaceSet};

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
            vec![any().sent_by_host().with_proto(&numbers(&[TCP, UDP]))],
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
    let out = |ports: &[u64]| any().sent_by_host().port(&[TCP], ports);
    let ir = steer(vec![
        at(
            Stage::Steer,
            "proxy-out",
            vec![any().sent_by_host().value(UID, &[1337])],
            Verdict::Direct,
        ),
        at(
            Stage::Steer,
            "mesh",
            vec![any().for_host().port(&[TCP], &[15020])],
            Verdict::Direct,
        ),
        at(
            Stage::Steer,
            "inbound",
            vec![any().for_host().with_proto(&numbers(&[TCP]))],
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
fn traffic_of_this_host_has_its_egress_interface_before_routing() {
    let out = any().sent_by_host().out_by(&["eth0"]).port(&[TCP], &[80]);
    let ir = steer(vec![at(
        Stage::Steer,
        "out",
        vec![out],
        Verdict::Redirect { port: Some(3128) },
    )]);
    insta::assert_snapshot!(text(&ir));
}

#[test]
fn turns_are_those_of_the_rule() {
    let targets = |last: &[&str]| last.iter().map(|text| addr(text, None)).collect();
    let balanced = Verdict::Dnat(Nat {
        v4: targets(&["10.1.0.80", "10.1.0.81"]),
        v6: vec![],
        balance: Some(Balance::RoundRobin),
    });
    let web = || any().only(Families::V4).port(&[TCP], &[80]);
    let mut ir = steer(vec![
        at(
            Stage::Steer,
            "own",
            vec![web().sent_by_host().out_by(&["lo", "eth0"])],
            balanced.clone(),
        ),
        at(Stage::Steer, "all", vec![web()], balanced)
            .limit(Sense::Within, 0)
            .limit(Sense::Over, 1),
    ]);
    ir.buckets = ["a", "b"]
        .map(|name| bucket(name, TEN, None, Sense::Over))
        .into();
    insta::assert_snapshot!(text(&ir));
}

#[test]
fn what_filter_does_not_judge_is_asked_for_its_syn() {
    let web = || any().sent_by_host().port(&[TCP], &[80]);
    let redirect = Verdict::Redirect { port: Some(3128) };
    let effects = Effects {
        count: true,
        ..Effects::default()
    };
    let mut ir = steer(vec![
        at(
            Stage::Steer,
            "loopback",
            vec![web().out_by(&["lo"])],
            redirect.clone(),
        ),
        at(Stage::Steer, "others", vec![web()], redirect).effects(effects),
        at(
            Stage::Steer,
            "own",
            vec![any().sent_by_host()],
            Verdict::Direct,
        )
        .admit(),
    ]);
    ir.strict_tcp = true;
    insta::assert_snapshot!("syn_of_own_flows", text(&ir));
    ir.filter.push(default(Stage::Filter, Verdict::Deny));
    ir.governs.output = true;
    insta::assert_snapshot!("syn_of_loopback_flows", text(&ir));
}
