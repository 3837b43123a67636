//! Loading.

use polc_compiler::ir::{Cube, Governs, Ir, Stage, Verdict};
use polc_compiler::packet::{AddrSet, IntervalSet};

use crate::policies::{policy, rule, script, udp};
use crate::{can_load, in_namespace};

fn input(rules: Vec<polc_compiler::ir::Rule>) -> Ir {
    let mut ir = policy(Governs {
        input: true,
        ..Governs::default()
    });
    ir.filter = rules;
    ir.filter
        .push(rule(Stage::Filter, "rest", Cube::any(), Verdict::Deny));
    ir
}

#[test]
fn a_script_can_be_loaded_over_itself_and_over_another() {
    if !can_load() {
        return;
    }
    let first = script(&input(vec![rule(
        Stage::Filter,
        "dns",
        udp(53),
        Verdict::Allow,
    )]));
    let second = script(&input(vec![rule(
        Stage::Filter,
        "ntp",
        udp(123),
        Verdict::Allow,
    )]));
    let all = format!("{first}{first}{second}");
    let listing = in_namespace("nft -f -; nft list table inet polc", &all);
    assert!(listing.contains("udp dport 123"), "{listing}");
    assert!(!listing.contains("udp dport 53"), "{listing}");
    let generation = second.split_once("generation ").unwrap().1;
    let generation = generation.split_once('\n').unwrap().0;
    assert!(listing.contains(&format!("polc {generation}")), "{listing}");
}

/// As many addresses, none next to another.
fn hosts(count: u32) -> Vec<u32> {
    (0..count).map(|n| 0x0b00_0000 + n * 37 + n % 7).collect()
}

#[test]
fn a_long_list_of_hosts_is_a_hash_set() {
    if !can_load() {
        return;
    }
    let list = hosts(60_000);
    let saddr = AddrSet {
        v4: IntervalSet::from_ranges(list.iter().map(|n| (*n, *n)).collect()),
        v6: IntervalSet::empty(),
        label: Some("drop".into()),
    };
    let from = Cube {
        saddr,
        ..Cube::any()
    };
    let from = from.normal().unwrap();
    let ours = script(&input(vec![rule(
        Stage::Filter,
        "drop",
        from,
        Verdict::Deny,
    )]));
    // Intervals would make a tree of it, and loading some three times as long.
    assert!(
        !ours.contains("flags interval"),
        "the set is one of single addresses"
    );
    assert!(ours.contains(&std::net::Ipv4Addr::from(list[0]).to_string()));
    let loaded = in_namespace("nft -f - && nft list table inet polc | wc -l", &ours);
    assert!(loaded.trim().parse::<usize>().unwrap() > 1, "{loaded}");
}
