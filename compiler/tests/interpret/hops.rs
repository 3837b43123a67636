//! The time to live of what this host sends on: one less behind routing.

use polc_compiler::field::IP_TTL;
use polc_compiler::interpret::{Packet, render};

use super::machine::{ACK, Build, Machine, tcp};

/// From `eth0` to `eth1`, of each family.
fn through(ttl: u64) -> [Packet; 2] {
    let v4 = tcp("192.0.2.1:1", "203.0.113.9:22");
    let v6 = tcp("[2001:db8::1]:1", "[2001:db8:1::9]:22");
    [v4, v6].map(|packet| packet.way("eth0", "eth1").set(IP_TTL, ttl))
}

#[test]
fn guard_and_steer_see_it_as_it_came() {
    for text in [
        "guard on eth0 { deny when ip.ttl == 4 as it  default allow }",
        "steer { deny when ip.ttl == 4 as it }",
    ] {
        let m = Machine::new(&format!("{text} default allow as passed"));
        for (ttl, expected) in [(3, "allow passed"), (4, "deny it"), (5, "allow passed")] {
            for packet in through(ttl) {
                assert_eq!(m.alone(&packet), expected, "{ttl}: {text}");
            }
        }
    }
}

#[test]
fn filter_sees_what_is_sent_on_with_one_less_and_the_rest_as_it_is() {
    let m = Machine::new("to any { deny when ip.ttl == 4 as it  default allow as passed }");
    let cases = [
        ("eth0", "eth1", 5),
        ("eth0", "eth0", 5),
        ("eth0", "host", 4),
        ("host", "eth1", 4),
    ];
    for (from, to, denied) in cases {
        for ttl in 3..=6 {
            let expected = if ttl == denied {
                "deny it"
            } else {
                "allow passed"
            };
            for packet in through(ttl) {
                assert_eq!(
                    m.alone(&packet.way(from, to)),
                    expected,
                    "{from} {to} {ttl}"
                );
            }
        }
    }
}

#[test]
fn what_steer_moves_goes_where_steer_sends_it() {
    let m = Machine::new(
        "steer { dnat tcp/22 => 10.1.0.1, fd00::1 }
         to any { deny when ip.ttl == 4 as it  default allow as passed }",
    );
    for (to, detour, denied) in [("host", "eth1", 5), ("eth1", "host", 4)] {
        for ttl in 3..=6 {
            let expected = if ttl == denied {
                "deny it"
            } else {
                "allow passed"
            };
            for packet in through(ttl) {
                let packet = packet.way("eth0", to).detour(detour);
                assert_eq!(m.alone(&packet), expected, "{to}, then {detour}: {ttl}");
            }
        }
    }
}

#[test]
fn what_a_proxy_takes_is_not_sent_on() {
    let m = Machine::new(
        "proxy box { listen tcp at 127.0.0.1:12345, [::1]:12345 mark 0x1 table 100 }
         guard on eth0 { notrack }
         steer { proxy tcp via box }
         to any { deny when ip.ttl == 4 as it  default allow as passed }",
    );
    for (ttl, expected) in [(4, "deny it"), (5, "allow passed")] {
        for packet in through(ttl) {
            assert_eq!(m.alone(&packet), expected, "{ttl}");
        }
    }
}

#[test]
fn egress_sees_what_filter_sees() {
    let text = "egress { masquerade when ip.ttl == 4 }
                default allow";
    for (from, rewritten) in [("eth0", 5), ("host", 4)] {
        for ttl in 3..=6 {
            let expected = if ttl == rewritten {
                "masquerade"
            } else {
                "its own"
            };
            for packet in through(ttl) {
                let packet = packet.way(from, "eth1");
                let source = Machine::new(text).leaves(&packet);
                assert_eq!(source, expected, "{from}: {ttl}");
            }
        }
    }
}

#[test]
fn a_hop_less_than_none_is_none() {
    let m = Machine::new("to any { deny when ip.ttl == 0 as it  default allow as passed }");
    for (ttl, expected) in [(0, "deny it"), (1, "deny it"), (2, "allow passed")] {
        for packet in through(ttl) {
            assert_eq!(m.alone(&packet), expected, "{ttl}");
        }
    }
}

#[test]
fn a_stateless_section_is_one_of_filter() {
    let m = Machine::new(
        "zone wan = eth0
         zone lan = eth1
         stateless from wan to lan when ip.ttl == 4 { allow as single  default deny }
         default deny as rest",
    );
    // It fits no flow, so only single packets are judged.
    for (ttl, expected) in [(4, "deny (invalid)"), (5, "allow single")] {
        for packet in through(ttl) {
            let packet = packet.flags(ACK | 2);
            assert_eq!(m.alone(&packet), expected, "{ttl}");
        }
    }
}

#[test]
fn a_trace_tells_what_the_stage_sees() {
    let mut m = Machine::new(
        "guard on eth0 { deny when ip.ttl == 9 as far  default allow as near }
         to any { deny when ip.ttl == 5 as it  default allow as passed }",
    );
    let [packet, _] = through(5);
    let decision = m.judge(&packet);
    let shown = render(&decision, &m.ir, &m.sources, false);
    assert!(
        shown.contains("deny `far` (test.pol:1): ip.ttl is 5, not 9\n"),
        "{shown}"
    );
    assert!(
        shown.contains("deny `it` (test.pol:2): ip.ttl is 4, not 5\n"),
        "{shown}"
    );
}
