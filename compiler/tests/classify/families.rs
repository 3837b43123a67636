//! Rules as filters in the field have them.

use polc_compiler::packet::{Region, Values};
use polc_compiler::target::ebpf::classify::{FieldSpec, Limits, Problem, Row, choose, only};
use polc_generator::filters::Filter;
use polc_generator::{Kind, family_filters};

use crate::made::{assert_sound, points};

pub(crate) fn problem(filters: impl IntoIterator<Item = Filter>) -> Problem {
    let fields = vec![
        FieldSpec::address4("source"),
        FieldSpec::address4("destination"),
        FieldSpec::port("source port"),
        FieldSpec::port("port"),
        FieldSpec::number("protocol", 8),
    ];
    let net = |(addr, len): (std::net::Ipv4Addr, u8)| {
        let host = u32::MAX.checked_shr(len.into()).unwrap_or(0);
        let first = u32::from(addr);
        Values::Range(first.into(), (first | host).into())
    };
    let ports = |(first, last): (u16, u16)| Values::Range(first.into(), last.into());
    let row = |(rule, f): (u32, Filter)| Row {
        region: Region::new(vec![
            net(f.source),
            net(f.dest),
            ports(f.sport),
            ports(f.dport),
            f.proto
                .map_or(Values::Range(0, 255), |p| Values::one(p.into())),
        ]),
        rule,
    };
    let rows = (1..).zip(filters).map(row).collect();
    Problem::new(fields, rows, 0).unwrap()
}

fn check(kind: Kind, rules: usize, samples: usize) {
    let filters = family_filters(kind, rules, 7);
    let problem = problem(filters.into_iter().map(|(_, filter)| filter));
    let limits = Limits::default();
    let named = ["straight", "product", "vectors"].into_iter();
    let plans: Vec<_> = named
        .filter_map(|name| only(name, &problem, &limits).ok())
        .collect();
    assert!(plans.iter().any(|plan| plan.strategy == "vectors"));
    if rules <= 100 {
        let chosen = choose(&problem, &limits).unwrap().strategy;
        assert_eq!(chosen, if rules <= 24 { "straight" } else { "product" });
    }
    for plan in &plans {
        assert_sound(plan);
    }
    for point in points(&problem, 3, samples) {
        let expected = Some(problem.first_match(&point));
        for plan in &plans {
            assert_eq!(plan.eval(&point), expected, "{} {point:?}", plan.strategy);
        }
    }
}

#[test]
fn ten_and_a_hundred_rules() {
    for kind in Kind::ALL {
        check(kind, 10, 3000);
        check(kind, 100, 3000);
    }
}

#[test]
fn a_thousand_rules() {
    for kind in Kind::ALL {
        check(kind, 1000, 3000);
    }
}

#[test]
fn ten_thousand_rules() {
    for kind in Kind::ALL {
        check(kind, 10_000, 500);
    }
}
