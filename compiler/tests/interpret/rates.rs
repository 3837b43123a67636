//! Rates: tokens, keys, full tables, live flows.

use polc_compiler::field::{IP_LENGTH, META_LENGTH};
use polc_compiler::interpret::Packet;

use super::machine::{Build, Machine, SYN, tcp, udp};

/// Flows that have not been seen.
struct Fresh(u16);

impl Fresh {
    fn from(&mut self, source: &str) -> Packet {
        self.0 += 1;
        let (source, host) = if source.contains(':') {
            (format!("[{source}]"), "[2001:db8:ffff::1]")
        } else {
            (source.to_owned(), "198.51.100.1")
        };
        tcp(&format!("{source}:{}", self.0), &format!("{host}:22"))
    }
}

/// How many of `n` new flows are admitted.
fn admitted(m: &mut Machine, fresh: &mut Fresh, source: &str, n: usize) -> usize {
    let mut flow = || m.says(&fresh.from(source)).starts_with("allow");
    (0..n).filter(|_| flow()).count()
}

#[test]
fn a_bucket_starts_full_and_fills_at_its_rate() {
    let text = "to host { allow tcp within 6/min burst 3 as it  default deny }";
    let (mut m, mut fresh) = (Machine::new(text), Fresh(0));
    let a = "192.0.2.1";
    assert_eq!(admitted(&mut m, &mut fresh, a, 10), 3);
    m.now = 9_999;
    assert_eq!(admitted(&mut m, &mut fresh, a, 2), 0);
    m.now = 10_000;
    assert_eq!(admitted(&mut m, &mut fresh, a, 2), 1);
    m.now = 29_999;
    assert_eq!(admitted(&mut m, &mut fresh, a, 3), 1);
    // What has come since the last token is not lost.
    m.now = 30_000;
    assert_eq!(admitted(&mut m, &mut fresh, a, 3), 1);
    m.now = 3_600_000;
    assert_eq!(admitted(&mut m, &mut fresh, a, 10), 3);
}

#[test]
fn the_burst_is_five_when_left_out() {
    let text = "to host { allow tcp within 1/d as it  default deny }";
    assert_eq!(
        admitted(&mut Machine::new(text), &mut Fresh(0), "192.0.2.1", 10),
        5
    );
}

#[test]
fn only_what_matches_everything_else_takes_a_token() {
    let mut m = Machine::new(
        "to host { allow ssh from 192.0.2.1 within 1/h burst 1 as it  default deny as rest }",
    );
    let mut fresh = Fresh(0);
    assert_eq!(m.says(&fresh.from("192.0.2.2")), "deny rest");
    assert_eq!(m.says(&udp("192.0.2.1:1", "198.51.100.1:22")), "deny rest");
    assert_eq!(m.says(&fresh.from("192.0.2.1")), "allow it");
    assert_eq!(m.says(&fresh.from("192.0.2.1")), "deny rest");
}

#[test]
fn over_takes_a_token_and_holds_when_there_was_none() {
    let mut m = Machine::new(
        "bucket b = 1/h burst 2
         to host { deny over b as too-many  allow tcp as it  default deny }",
    );
    let mut fresh = Fresh(0);
    let said: Vec<String> = (0..3).map(|_| m.says(&fresh.from("192.0.2.1"))).collect();
    assert_eq!(said, ["allow it", "allow it", "deny too-many"]);
}

#[test]
fn several_rates_are_asked_in_order_the_outermost_first() {
    let mut m = Machine::new(
        "bucket outer = 1/h burst 2
         bucket inner = 1/h burst 1
         to host {
           within outer { allow tcp/22 within inner as both }
           allow tcp within inner as last
           default deny as rest
         }",
    );
    let mut fresh = Fresh(0);
    assert_eq!(m.says(&fresh.from("192.0.2.1")), "allow both");
    // The outer bucket gives its second token, though the inner one has none.
    assert_eq!(m.says(&fresh.from("192.0.2.1")), "deny rest");
    m.now = 1_800_000;
    assert_eq!(m.says(&fresh.from("192.0.2.1")), "deny rest");
    m.now = 3_600_000;
    // Both have one again: the outer one did not keep its own.
    assert_eq!(m.says(&fresh.from("192.0.2.1")), "allow both");
    assert_eq!(m.says(&fresh.from("192.0.2.1")), "deny rest");
}

#[test]
fn a_rate_that_does_not_hold_keeps_the_next_from_being_asked() {
    let mut m = Machine::new(
        "bucket none = 1/d burst 1
         bucket one = 1/d burst 1
         to host {
           allow tcp/1 within none as drain
           allow tcp/22 within none within one as both
           allow tcp/22 within one as second
           default deny as rest
         }",
    );
    assert_eq!(m.says(&tcp("192.0.2.1:1", "198.51.100.1:1")), "allow drain");
    assert_eq!(m.says(&Fresh(0).from("192.0.2.1")), "allow second");
}

#[test]
fn rules_that_name_a_bucket_share_it_and_others_have_their_own() {
    let shared = "bucket b = 1/h burst 1
                  to host { allow tcp/1 within b as one  allow tcp/2 within b as two  default deny as rest }";
    let own = "to host { within 1/h burst 1 { allow tcp/1 as one  allow tcp/2 as two }  default deny as rest }";
    for (text, second) in [(shared, "deny rest"), (own, "allow two")] {
        let mut m = Machine::new(text);
        assert_eq!(m.says(&tcp("192.0.2.1:1", "198.51.100.1:1")), "allow one");
        assert_eq!(m.says(&tcp("192.0.2.1:1", "198.51.100.1:2")), second);
    }
}

#[test]
fn keys_are_prefixes_by_family() {
    let text = "to host { allow tcp within 1/h burst 1 per source/24,/56 as it  default deny }";
    let (mut m, mut fresh) = (Machine::new(text), Fresh(0));
    for (source, n) in [
        ("192.0.2.1", 1),
        ("192.0.2.255", 0),
        ("192.0.3.1", 1),
        ("2001:db8::1", 1),
        ("2001:db8:0:ff::1", 0),
        ("2001:db8:0:100::1", 1),
    ] {
        assert_eq!(admitted(&mut m, &mut fresh, source, 2), n, "{source}");
    }
}

#[test]
fn keys_can_be_destinations_or_pairs() {
    for (key, to_other, from_other) in [("dest", 1, 0), ("pair", 1, 1), ("source", 0, 1)] {
        let text =
            format!("from any {{ allow tcp within 1/h burst 1 per {key} as it  default deny }}");
        let mut m = Machine::new(&text);
        let mut flow = |from: &str, to: &str| {
            usize::from(
                m.says(&tcp(from, to).way("eth0", "eth1"))
                    .starts_with("allow"),
            )
        };
        assert_eq!(flow("192.0.2.1:1", "203.0.113.1:1"), 1);
        assert_eq!(flow("192.0.2.1:2", "203.0.113.2:1"), to_other, "{key}");
        assert_eq!(flow("192.0.2.2:3", "203.0.113.1:1"), from_other, "{key}");
    }
}

#[test]
fn a_full_table_answers_as_the_bucket_says() {
    for (full, new_key) in [("over", 0), ("within", 4)] {
        let text = format!(
            "bucket b = 1/h burst 1 per source max 2 idle 2h full {full}
             to host {{ allow tcp within b as it  default deny }}"
        );
        let (mut m, mut fresh) = (Machine::new(&text), Fresh(0));
        assert_eq!(admitted(&mut m, &mut fresh, "192.0.2.1", 4), 1);
        assert_eq!(admitted(&mut m, &mut fresh, "192.0.2.2", 4), 1);
        assert_eq!(
            admitted(&mut m, &mut fresh, "192.0.2.3", 4),
            new_key,
            "{full}"
        );
        // The other family has its own room.
        assert_eq!(admitted(&mut m, &mut fresh, "2001:db8::1", 4), 1);
        // Keys unused for long enough make room.
        m.now = 7_200_000;
        assert_eq!(admitted(&mut m, &mut fresh, "192.0.2.3", 4), 1);
    }
}

#[test]
fn a_key_unused_for_idle_is_forgotten_and_full_again() {
    let text = "bucket b = 1/d burst 1 per source idle 10s
                to host { allow tcp within b as it  default deny }";
    let (mut m, mut fresh) = (Machine::new(text), Fresh(0));
    assert_eq!(admitted(&mut m, &mut fresh, "192.0.2.1", 2), 1);
    for now in [9_000, 18_000] {
        m.now = now;
        assert_eq!(admitted(&mut m, &mut fresh, "192.0.2.1", 2), 0, "{now}");
    }
    m.now = 28_000;
    assert_eq!(admitted(&mut m, &mut fresh, "192.0.2.1", 2), 1);
}

#[test]
fn guard_counts_packets_also_of_a_known_flow() {
    let mut m =
        Machine::new("guard on eth0 { deny over 1/h burst 2 per source as flood default allow }");
    let packet = tcp("192.0.2.1:1", "198.51.100.1:22");
    let said: Vec<bool> = (0..3).map(|_| m.says(&packet) == "deny flood").collect();
    assert_eq!(said, [false, false, true]);
}

#[test]
fn guard_counts_bytes() {
    let mut m = Machine::new("guard on eth0 { deny over 1000 bytes/s as flood  default allow }");
    let packet = |field, length| udp("192.0.2.1:1", "198.51.100.1:22").set(field, length);
    assert!(m.says(&packet(META_LENGTH, 600)).starts_with("allow"));
    // Nothing is taken when there is not enough.
    assert_eq!(m.says(&packet(META_LENGTH, 401)), "deny flood");
    assert!(m.says(&packet(IP_LENGTH, 400)).starts_with("allow"));
    m.now = 399;
    assert_eq!(m.says(&packet(IP_LENGTH, 400)), "deny flood");
    m.now = 400;
    assert!(m.says(&packet(IP_LENGTH, 400)).starts_with("allow"));
}

#[test]
fn live_flows_are_limited() {
    let text = "to host { allow tcp within 2 flows per source as it  default deny as rest }";
    let (mut m, mut fresh) = (Machine::new(text), Fresh(0));
    let first = fresh.from("192.0.2.1");
    assert_eq!(m.says(&first), "allow it");
    assert_eq!(m.says(&first), "allow (established)");
    assert_eq!(admitted(&mut m, &mut fresh, "192.0.2.1", 3), 1);
    assert_eq!(admitted(&mut m, &mut fresh, "192.0.2.2", 3), 2);
    m.state.forget(&first);
    assert_eq!(admitted(&mut m, &mut fresh, "192.0.2.1", 3), 1);
}

#[test]
fn live_flows_count_whichever_rule_admits_them() {
    let mut m = Machine::new(
        "bucket live = 1 flows
         to host { deny over live as too-many  allow tcp/22 as ssh  default deny as rest }",
    );
    let mut fresh = Fresh(0);
    // A flow that was asked and not admitted does not live.
    assert_eq!(m.says(&udp("192.0.2.1:1", "198.51.100.1:9")), "deny rest");
    assert_eq!(m.says(&fresh.from("192.0.2.1")), "allow ssh");
    assert_eq!(m.says(&fresh.from("2001:db8::1")), "deny too-many");
}

#[test]
fn log_entries_have_a_rate_of_their_own() {
    let mut m = Machine::new("to host { default deny log at 1/h burst 2 as rest }");
    let mut fresh = Fresh(0);
    let logged: Vec<usize> = (0..3)
        .map(|_| m.judge(&fresh.from("192.0.2.1").flags(SYN)).logged.len())
        .collect();
    assert_eq!(logged, [1, 1, 0]);
}
