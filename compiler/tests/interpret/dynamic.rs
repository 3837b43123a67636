//! Dynamic sets.

use super::machine::{Build, Machine, tcp};

fn from(source: &str) -> polc_compiler::interpret::Packet {
    tcp(&format!("{source}:1"), "198.51.100.1:22")
}

#[test]
fn what_a_rule_adds_later_packets_are_members_of() {
    let mut m = Machine::new(
        "set noisy as source = {} dynamic idle 10s max 4
         guard on eth0 {
           deny from @noisy                                     as noisy
           deny over 2 packets/h burst 2 per source add @noisy  as flood
           default allow
         }",
    );
    let says: Vec<String> = (0..4).map(|_| m.says(&from("192.0.2.1"))).collect();
    assert_eq!(&says[2..], ["deny flood", "deny noisy"]);
    assert!(m.says(&from("192.0.2.2")).starts_with("allow"));
    // `idle` counts from the last time it was added.
    m.now = 9_999;
    assert_eq!(m.says(&from("192.0.2.1")), "deny noisy");
    m.now = 10_000;
    assert_eq!(m.says(&from("192.0.2.1")), "deny flood");
}

#[test]
fn a_set_is_live_within_the_stage_and_for_later_ones() {
    let mut m = Machine::new(
        "set seen = {} dynamic
         guard on eth0 { match tcp/22 add @seen as remember  default allow }
         to host { allow from @seen as known  default deny as rest }",
    );
    assert_eq!(m.says(&from("192.0.2.1")), "allow known");
    let mut m = Machine::new(
        "set seen = {} dynamic
         to host { match tcp/22 add @seen as remember  allow from @seen as known  default deny }",
    );
    assert_eq!(m.says(&from("192.0.2.1")), "allow known");
}

#[test]
fn keys_are_sources_destinations_or_pairs() {
    for (kind, same_source, same_dest) in [
        ("source", true, false),
        ("dest", false, true),
        ("pair", false, false),
    ] {
        let end = if kind == "dest" { "to" } else { "from" };
        let mut m = Machine::new(&format!(
            "set seen as {kind} = {{}} dynamic
             from any {{ allow {end} @seen as known  deny tcp/1 add @seen as remember  default deny }}"
        ));
        let mut says =
            |from: &str, to: &str| m.says(&tcp(from, to).way("eth0", "eth1")) == "allow known";
        assert!(!says("192.0.2.1:1", "203.0.113.1:1"));
        assert!(says("192.0.2.1:1", "203.0.113.1:2"));
        assert_eq!(says("192.0.2.1:1", "203.0.113.2:2"), same_source, "{kind}");
        assert_eq!(says("192.0.2.2:1", "203.0.113.1:2"), same_dest, "{kind}");
    }
}

#[test]
fn a_full_set_takes_nothing_new_and_the_verdict_stands() {
    let mut m = Machine::new(
        "set seen = { 192.0.2.1 } dynamic max 2
         to host { allow from @seen as known  deny tcp/22 add @seen as remember  default deny as rest }",
    );
    assert_eq!(m.says(&from("192.0.2.1")), "allow known");
    assert_eq!(m.says(&from("192.0.2.2")), "deny remember");
    assert_eq!(m.says(&from("192.0.2.3")), "deny remember");
    assert_eq!(m.says(&from("192.0.2.3")), "deny remember");
    assert_eq!(m.says(&from("192.0.2.2")), "allow known");
    // The other family has its own room.
    let six = tcp("[2001:db8::1]:1", "[2001:db8::2]:22");
    assert_eq!(m.says(&six), "deny remember");
    assert_eq!(m.says(&six), "allow known");
}

#[test]
fn first_elements_leave_as_others_do() {
    let mut m = Machine::new(
        "set seen = { 192.0.2.0/30 } dynamic idle 10s
         to host { allow from @seen as known  default deny as rest }",
    );
    m.now = 1_000_000;
    assert_eq!(m.says(&from("192.0.2.3")), "allow known");
    m.now += 10_000;
    assert_eq!(m.says(&from("192.0.2.2")), "deny rest");
}

#[test]
fn not_in_a_dynamic_set() {
    let mut m = Machine::new(
        "set seen = { 192.0.2.1 } dynamic
         to host { allow from not @seen as unknown  default deny as rest }",
    );
    assert_eq!(m.says(&from("192.0.2.1")), "deny rest");
    assert_eq!(m.says(&from("192.0.2.2")), "allow unknown");
    assert_eq!(
        m.says(&tcp("[2001:db8::1]:1", "[2001:db8::2]:22")),
        "allow unknown"
    );
}
