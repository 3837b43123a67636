//! The pipeline: what each stage is asked about, in which order.

use super::machine::{Build, Machine, tcp, udp};

#[test]
fn guard_is_about_what_arrives_by_its_interfaces() {
    let m = Machine::new(
        "guard on eth0 { deny tcp as no-tcp  default allow }
         guard on not eth0, eth1 { default deny as closed }",
    );
    let packet = tcp("192.0.2.1:1", "198.51.100.1:22");
    assert_eq!(m.alone(&packet), "deny no-tcp");
    assert_eq!(
        m.alone(&packet.clone().way("eth1", "host")),
        "allow (notgoverned)"
    );
    assert_eq!(m.alone(&packet.clone().way("eth2", "host")), "deny closed");
    assert_eq!(m.alone(&packet.way("host", "eth2")), "allow (notgoverned)");
}

#[test]
fn guard_judges_every_packet_also_of_known_flows() {
    let mut m = Machine::new(
        "guard on eth0 { deny tcp when tcp.flags has urg as urgent  default allow }
         to host { allow tcp as tcp  default deny }",
    );
    let packet = tcp("192.0.2.1:1", "198.51.100.1:22");
    assert_eq!(m.says(&packet), "allow tcp");
    assert_eq!(m.says(&packet.clone().flags(0x10)), "allow (established)");
    assert_eq!(m.says(&packet.flags(0x30)), "deny urgent");
}

#[test]
fn deny_is_final_in_every_stage() {
    let mut m = Machine::new(
        "guard on eth0 { deny tcp/1 as g  default allow }
         steer { deny tcp/2 as s  direct tcp/3 and allow as through }
         to host { deny tcp/3 as f  allow tcp as rest  default deny }",
    );
    let to = |port: u16| tcp("192.0.2.1:1", &format!("198.51.100.1:{port}"));
    assert_eq!(m.says(&to(1)), "deny g");
    assert_eq!(m.says(&to(2)), "deny s");
    assert_eq!(m.says(&to(3)), "allow through");
    assert_eq!(m.says(&to(4)), "allow rest");
}

#[test]
fn the_order_of_blocks_in_the_file_does_not_change_that_of_the_stages() {
    let mut m = Machine::new(
        "to host { allow tcp as f  default deny }
         steer { deny tcp/2 as s }
         guard on eth0 { deny tcp/2 as g  default allow }",
    );
    assert_eq!(m.says(&tcp("192.0.2.1:1", "198.51.100.1:2")), "deny g");
}

#[test]
fn what_guard_does_not_track_has_no_flow() {
    let mut m = Machine::new(
        "guard on eth0 { notrack udp/53 as fast  default allow }
         steer { redirect udp/53 => :5353 as moved }
         egress { masquerade as away }
         to host { allow udp/53 when ct.state == untracked as dns  default deny as rest }",
    );
    let dns = udp("192.0.2.1:1", "198.51.100.1:53");
    for _ in 0..2 {
        let decision = m.judge(&dns);
        assert_eq!(
            (m.short(&decision), decision.notrack),
            ("allow dns".to_owned(), true)
        );
        // Nothing can be rewritten without a flow.
        assert_eq!(m.goes(&dns), "direct");
    }
    assert_eq!(m.state.flow_count(), 0);
    assert_eq!(m.says(&udp("192.0.2.1:1", "198.51.100.1:54")), "deny rest");
    // Fragments stay tracked: only tracking puts them together.
    let first = dns.set(polc_compiler::field::IP_FRAGMENT, 1);
    assert!(!m.judge(&first).notrack);
}
