//! The flow lookup: later packets, answers, errors.

use super::machine::{ACK, Build, FIN, Machine, RST, SYN, icmp, tcp, udp};

const TEXT: &str = "to host { allow ssh, dns, ping as inward  default deny as rest }
                    from host { allow tcp/443 as outward  default deny as own }";

#[test]
fn packets_of_an_admitted_flow_follow_it_in_both_directions() {
    let mut m = Machine::new(TEXT);
    let ssh = tcp("192.0.2.1:40000", "198.51.100.1:22");
    let answer = ssh.answer();
    assert_eq!(m.says(&answer), "deny (invalid)");
    assert_eq!(m.says(&answer.clone().flags(ACK)), "deny own");
    assert_eq!(m.says(&ssh), "allow inward");
    assert_eq!(m.says(&answer), "allow (established)");
    for flags in [ACK, FIN | ACK, RST] {
        assert_eq!(m.says(&ssh.clone().flags(flags)), "allow (established)");
    }
    // Flags that no connection has are invalid there, too.
    assert_eq!(m.says(&ssh.clone().flags(SYN | FIN)), "deny (invalid)");
    let other = tcp("192.0.2.1:40001", "198.51.100.1:23");
    assert_eq!(m.says(&other), "deny rest");
    assert_eq!(m.says(&other), "deny rest");
    assert_eq!(m.state.flow_count(), 1);
}

#[test]
fn the_second_datagram_of_an_unanswered_flow_follows_the_first() {
    let mut m =
        Machine::new("to host { allow udp within 1/h burst 1 as udp  default deny as rest }");
    let first = udp("192.0.2.1:1", "198.51.100.1:53");
    assert_eq!(m.says(&first), "allow udp");
    assert_eq!(m.says(&first), "allow (established)");
    assert_eq!(m.says(&udp("192.0.2.1:2", "198.51.100.1:53")), "deny rest");
}

#[test]
fn answers_of_icmp_belong_to_their_question() {
    let mut m = Machine::new(TEXT);
    for (kind, from, to) in [
        (8, "192.0.2.1", "198.51.100.1"),
        (128, "2001:db8::1", "2001:db8::2"),
    ] {
        let ping = icmp(kind, 0, from, to);
        assert_eq!(m.says(&ping.answer()), "deny (invalid)");
        assert_eq!(m.says(&ping), "allow inward");
        assert_eq!(m.says(&ping.answer()), "allow (established)");
    }
}

#[test]
fn errors_about_an_admitted_flow_follow_it() {
    let mut m = Machine::new(TEXT);
    let out = tcp("198.51.100.1:40000", "203.0.113.1:443").way("host", "eth0");
    let unreachable = icmp(3, 3, "203.0.113.254", "198.51.100.1");
    assert_eq!(m.judge_error(&unreachable, &out), "deny (invalid)");
    assert_eq!(m.says(&out), "allow outward");
    assert_eq!(m.judge_error(&unreachable, &out), "allow (related)");
    // An error about something else does not.
    let other = tcp("198.51.100.1:40001", "203.0.113.1:443").way("host", "eth0");
    assert_eq!(m.judge_error(&unreachable, &other), "deny (invalid)");
    // An error is no answer: the flow waits for one.
    let about_answer = icmp(3, 3, "198.51.100.1", "203.0.113.1").way("host", "eth0");
    assert_eq!(
        m.judge_error(&about_answer, &out.answer()),
        "allow (related)"
    );
}

#[test]
fn a_forgotten_flow_is_judged_again() {
    let mut m = Machine::new(TEXT);
    let ssh = tcp("192.0.2.1:40000", "198.51.100.1:22");
    assert_eq!(m.says(&ssh), "allow inward");
    m.state.forget(&ssh.answer());
    assert_eq!(m.state.flow_count(), 0);
    assert_eq!(m.says(&ssh.answer()), "deny (invalid)");
    assert_eq!(m.says(&ssh), "allow inward");
}

#[test]
fn flows_of_directions_that_are_not_governed_are_known_too() {
    let mut m = Machine::new("to host { default deny as rest }");
    let out = tcp("198.51.100.1:40000", "203.0.113.1:443").way("host", "eth0");
    assert_eq!(m.says(&out.answer()), "deny (invalid)");
    assert_eq!(m.says(&out), "allow (notgoverned)");
    assert_eq!(m.says(&out.answer()), "allow (established)");
}

#[test]
fn what_opens_no_flow_passes_where_nothing_is_governed() {
    let mut m = Machine::new(
        "steer { redirect tcp/80 => :8080 }
         to host { default deny as rest }",
    );
    let through = tcp("192.0.2.1:40000", "203.0.113.1:80").way("eth0", "eth1");
    assert_eq!(m.says(&through.answer()), "allow (notgoverned)");
    let inward = tcp("192.0.2.1:40000", "198.51.100.1:443");
    assert_eq!(m.says(&inward.answer()), "allow (notgoverned)");
    let outward = tcp("198.51.100.1:40000", "203.0.113.1:443").way("host", "eth0");
    assert_eq!(m.says(&outward.answer()), "deny (invalid)");
}
