//! Every packet fares the same before and after.

use std::sync::Arc;

use proptest::prelude::*;

use super::evaluate::{self, Packet};
use super::run;
use crate::field::{SPORT, TCP};
use crate::ir::{Block, Cube, Stage};
use crate::packet::IntervalSet;
use crate::source::{SourceMap, Span};
use crate::target::nftables::fields::{
    Address, Condition, IIFNAME, Key, L4PROTO, OIFNAME, TH_DPORT, address, condition,
};
use crate::target::nftables::names::Names;
use crate::target::nftables::tree::{Base, Chain, Match, Rule, Table, Values, Verdict};

const NAMES: [&str; 4] = ["eth0", "eth1", "wg0", "wg1"];

fn source() -> Key {
    address(Address::Source, polc_bundle::Family::V4)
}

fn name() -> impl Strategy<Value = Values> {
    prop_oneof![
        3 => proptest::sample::subsequence(NAMES.to_vec(), 1..3)
            .prop_map(|n| Values::Names(n.into_iter().map(str::to_owned).collect())),
        1 => Just(Values::Prefix("wg".to_owned())),
    ]
}

fn numbers() -> impl Strategy<Value = Values> {
    prop_oneof![
        3 => (0u64..4).prop_map(|n| Values::Numbers(IntervalSet::one(n))),
        1 => (0u64..4, 0u64..4).prop_map(|(a, b)| Values::Numbers(IntervalSet::range(a.min(b), a.max(b)))),
    ]
}

fn addresses() -> impl Strategy<Value = Values> {
    (0u32..4).prop_map(|n| Values::V4(IntervalSet::one(n)))
}

fn test(key: Key, negate: bool, values: Values) -> Match {
    Match::Test {
        key,
        negate,
        values,
    }
}

fn matches() -> impl Strategy<Value = Vec<Match>> {
    let maybe = proptest::option::weighted::<BoxedStrategy<Match>>;
    let not = || prop_oneof![9 => Just(false), 1 => Just(true)];
    (
        maybe(
            0.5,
            (not(), name())
                .prop_map(|(n, v)| test(IIFNAME, n, v))
                .boxed(),
        ),
        maybe(0.3, name().prop_map(|v| test(OIFNAME, false, v)).boxed()),
        maybe(
            0.6,
            (not(), numbers())
                .prop_map(|(n, v)| test(TH_DPORT, n, v))
                .boxed(),
        ),
        maybe(
            0.4,
            addresses().prop_map(|v| test(source(), false, v)).boxed(),
        ),
        maybe(
            0.1,
            prop_oneof![
                Just(Match::Text("text".to_owned())),
                Just(Match::Ask("bucket".to_owned())),
            ]
            .boxed(),
        ),
    )
        .prop_map(|(a, b, c, d, e)| [a, b, c, d, e].into_iter().flatten().collect())
}

fn rule() -> impl Strategy<Value = Rule> {
    let verdict = prop_oneof![
        4 => Just(Some(Verdict::Accept)),
        4 => Just(Some(Verdict::Drop)),
        1 => Just(Some(Verdict::Final("reject".to_owned()))),
        1 => Just(Some(Verdict::Jump("a".into()))),
        1 => Just(Some(Verdict::Goto("b".into()))),
        1 => Just(None),
    ];
    let statement = prop_oneof![8 => Just(vec![]), 1 => Just(vec!["count".to_owned()])];
    (
        matches(),
        verdict,
        statement,
        proptest::option::of(0usize..2),
    )
        .prop_map(|(matches, verdict, statements, block)| Rule {
            matches,
            statements,
            verdict,
            comment: None,
            block,
        })
}

fn chain(name: &str, base: bool, rules: Vec<Rule>) -> Chain {
    Chain {
        name: name.into(),
        base: base.then_some(Base {
            kind: "filter",
            hook: "input",
            priority: 0,
            drop: true,
        }),
        rules,
    }
}

fn leaf() -> impl Strategy<Value = Vec<Rule>> {
    let inside = rule().prop_map(|mut r| {
        if matches!(r.verdict, Some(Verdict::Jump(_) | Verdict::Goto(_))) {
            r.verdict = None;
            r.statements = vec!["log".to_owned()];
        }
        r
    });
    proptest::collection::vec(inside, 0..4)
}

fn verdict() -> impl Strategy<Value = Option<Verdict>> {
    prop_oneof![
        3 => Just(Some(Verdict::Accept)),
        3 => Just(Some(Verdict::Drop)),
        2 => Just(Some(Verdict::Jump("a".into()))),
    ]
}

/// Rules that ask for exact values of the same keys.
fn alike() -> impl Strategy<Value = Vec<Rule>> {
    let one = (0u64..4, 0u32..3, verdict()).prop_map(|(port, addr, verdict)| Rule {
        matches: vec![
            Match::number(TH_DPORT, port),
            test(source(), false, Values::V4(IntervalSet::one(addr))),
        ],
        verdict,
        ..Rule::default()
    });
    proptest::collection::vec(one, 3..7)
}

/// Rules of one section, by a few interfaces.
fn section() -> impl Strategy<Value = Vec<Rule>> {
    let names = |list: &[&str]| Values::Names(list.iter().map(|n| (*n).to_owned()).collect());
    let ways = vec![
        names(&["eth0"]),
        names(&["wg0"]),
        names(&["eth0", "wg0"]),
        Values::Prefix("wg".to_owned()),
    ];
    let ways = proptest::sample::subsequence(ways, 1..3);
    let port = proptest::collection::vec((0usize..2, numbers(), verdict()), 4..8);
    (ways, port).prop_map(|(ways, rules)| {
        let rule = |(way, port, verdict): (usize, Values, Option<Verdict>)| Rule {
            matches: vec![
                test(IIFNAME, false, ways[way % ways.len()].clone()),
                test(TH_DPORT, false, port),
            ],
            verdict,
            block: Some(0),
            ..Rule::default()
        };
        rules.into_iter().map(rule).collect()
    })
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let some = prop_oneof![proptest::collection::vec(rule(), 0..10), alike(), section(),];
    proptest::collection::vec(some, 0..4).prop_map(|parts| parts.concat())
}

fn table() -> impl Strategy<Value = Table> {
    (leaf(), leaf(), rules()).prop_map(|(a, b, rules)| Table {
        chains: vec![
            chain("a", false, a),
            chain("b", false, b),
            chain("main", true, rules),
        ],
        ..Table::default()
    })
}

fn sections() -> Vec<Block> {
    let file = SourceMap::default().add("", "");
    let block = |label: &str| Block {
        label: label.into(),
        stage: Stage::Filter,
        scope: vec![Cube::any()],
        stateless: false,
        span: Span {
            file,
            start: 0,
            end: 0,
        },
    };
    vec![block("lan-to-wan"), block("wan-to-host")]
}

/// Every packet of the small universe that the rules speak of.
fn packets() -> impl Iterator<Item = Packet> {
    let ways = NAMES
        .iter()
        .flat_map(|i| NAMES.iter().map(move |o| (*i, *o)));
    ways.flat_map(|(i, o)| {
        (0..5u128).flat_map(move |port| (0..5u128).map(move |addr| (i, o, port, addr)))
    })
    .flat_map(|(i, o, port, addr)| {
        [false, true].map(|answer| Packet {
            // Port 4 stands for a packet without ports.
            numbers: [(TH_DPORT.expr, port), (source().expr, addr)]
                .into_iter()
                .filter(|(key, value)| *key != TH_DPORT.expr || *value != 4)
                .collect(),
            names: [(IIFNAME.expr, i.to_owned()), (OIFNAME.expr, o.to_owned())].into(),
            texts: [("text".to_owned(), answer), ("bucket".to_owned(), answer)].into(),
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_packet_fares_otherwise(table in table()) {
        let mut after = table.clone();
        run(&mut after, &mut Names::default(), &sections());
        for packet in packets() {
            prop_assert_eq!(
                evaluate::run(&table.chains, "main", &packet),
                evaluate::run(&after.chains, "main", &packet),
                "{:?}\nbefore {:#?}\nafter {:#?}", packet, table.chains, after.chains
            );
        }
    }
}

fn on(port: u64, verdict: Verdict) -> Rule {
    Rule {
        comment: Some(format!("p{port}").into()),
        ..Rule::new(
            vec![
                Match::number(L4PROTO, TCP),
                test(TH_DPORT, false, Values::Numbers(IntervalSet::one(port))),
            ],
            verdict,
        )
    }
}

fn optimised(rules: Vec<Rule>) -> Vec<String> {
    let mut table = Table {
        chains: vec![chain("main", true, rules)],
        ..Table::default()
    };
    run(&mut table, &mut Names::default(), &sections());
    let lines = |c: &Chain| {
        let name = c.name.clone();
        c.rules
            .iter()
            .map(move |r| format!("{name}: {r}"))
            .collect::<Vec<_>>()
    };
    table.chains.iter().flat_map(lines).collect()
}

#[test]
fn alike_rules_become_a_set() {
    let rules = vec![
        on(22, Verdict::Accept),
        on(80, Verdict::Accept),
        on(81, Verdict::Accept),
    ];
    assert_eq!(
        optimised(rules),
        ["main: meta l4proto tcp th dport { 22, 80-81 } accept comment \"p22, p80, p81\""]
    );
}

#[test]
fn different_verdicts_become_a_map() {
    let verdict = |n| {
        if n % 2 == 0 {
            Verdict::Accept
        } else {
            Verdict::Drop
        }
    };
    let rules = (1..6).map(|n| on(n, verdict(n))).collect();
    assert_eq!(
        optimised(rules),
        [
            "main: meta l4proto tcp th dport vmap {\n\t\t\t1 : drop,\n\t\t\t2 : accept,\n\t\t\t3 : drop,\n\t\t\t4 : accept,\n\t\t\t5 : drop,\n\t\t} comment \"p1, p2, p3, p4, p5\""
        ]
    );
}

#[test]
fn counting_rules_are_left_alone() {
    let counted = |n| Rule {
        statements: vec!["counter name \"x\"".to_owned()],
        ..on(n, Verdict::Accept)
    };
    assert_eq!(optimised((1..6).map(counted).collect()).len(), 5);
}

#[test]
fn sections_become_chains_and_their_entries_a_map() {
    let pairs = [
        ("eth0", "eth1"),
        ("eth1", "eth0"),
        ("eth0", "wg0"),
        ("wg0", "eth1"),
    ];
    let mut rules = Vec::new();
    for (n, (i, o)) in pairs.into_iter().enumerate() {
        for (port, verdict) in [(1, Verdict::Accept), (2, Verdict::Drop)] {
            let way = |key, name: &str| test(key, false, Values::Names([name.to_owned()].into()));
            let mut rule = on(port, verdict);
            rule.matches
                .splice(0..0, [way(IIFNAME, i), way(OIFNAME, o)]);
            rule.block = Some(n % 2);
            rules.push(rule);
        }
    }
    insta::assert_snapshot!(optimised(rules).join("\n"));
}

#[test]
fn ten_thousand_disjoint_rules_become_one_look_up() {
    let rule = |n: u64| {
        let Ok(Condition::If(port)) = condition(SPORT, &IntervalSet::one(n), None, Some(TCP))
        else {
            panic!("a port is a condition");
        };
        let from = Values::V4(IntervalSet::one(u32::try_from(n).unwrap()));
        let verdict = if n.is_multiple_of(3) {
            Verdict::Accept
        } else {
            Verdict::Drop
        };
        Rule {
            comment: Some(Arc::from(format!("rule {n}"))),
            ..Rule::new(vec![port, test(source(), false, from)], verdict)
        }
    };
    let rules: Vec<Rule> = (0..10_000).map(rule).collect();
    assert_eq!(optimised(rules).len(), 1);
}
