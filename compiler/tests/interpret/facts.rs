//! What no rule says: loopback, ICMP that always passes, what cannot open a flow.

use super::machine::{ACK, Build, FIN, Machine, RST, SYN, icmp, tcp, udp};

const DENY: &str = "to host { default deny as rest } from host { default deny as own }
                    default deny as through";
const HOST: &str = "198.51.100.1";

#[test]
fn neighbour_discovery_and_packet_too_big_always_pass() {
    let guard = "guard on eth0 { default deny as closed }";
    for text in [DENY, &format!("{DENY} {guard}")] {
        let mut m = Machine::new(text);
        for kind in [2, 133, 134, 135, 136] {
            let packet = icmp(kind, 0, "fe80::1", "2001:db8::1");
            assert_eq!(m.says(&packet), "allow (unconditionalicmp)", "{kind}");
        }
        let needed = icmp(3, 4, "192.0.2.1", HOST);
        assert_eq!(m.says(&needed), "allow (unconditionalicmp)");
    }
    let mut m = Machine::new(DENY);
    assert_eq!(m.says(&icmp(128, 0, "fe80::1", "2001:db8::1")), "deny rest");
    assert_eq!(m.says(&icmp(3, 3, "192.0.2.1", HOST)), "deny (invalid)");
}

#[test]
fn strict_icmp_judges_them_like_everything_else() {
    let mut m = Machine::new(
        "strict icmp
         to host { allow icmp/neighbour-solicitation as nd  default deny as rest }",
    );
    assert_eq!(m.says(&icmp(135, 0, "fe80::1", "2001:db8::1")), "allow nd");
    assert_eq!(m.says(&icmp(136, 0, "fe80::1", "2001:db8::1")), "deny rest");
    // Errors about nothing that is known.
    assert_eq!(
        m.says(&icmp(2, 0, "fe80::1", "2001:db8::1")),
        "deny (invalid)"
    );
    assert_eq!(m.says(&icmp(3, 4, "192.0.2.1", HOST)), "deny (invalid)");
}

#[test]
fn a_tcp_packet_of_no_known_flow_is_judged_as_if_it_opened_one() {
    let mut m = Machine::new("to host { allow ssh as ssh  default deny as rest }");
    let ssh = |port| tcp(&format!("192.0.2.1:{port}"), "198.51.100.1:22");
    assert_eq!(m.says(&ssh(1).flags(ACK)), "allow ssh");
    assert_eq!(m.says(&ssh(1).flags(ACK)), "allow (established)");
    // An answer or an end opens nothing.
    for flags in [SYN | ACK, RST, FIN | ACK, 0] {
        assert_eq!(m.says(&ssh(2).flags(flags)), "deny (invalid)", "{flags}");
    }
    assert_eq!(m.says(&ssh(3).flags(SYN | 0xc0)), "allow ssh");
}

#[test]
fn strict_tcp_asks_for_a_syn() {
    let mut m = Machine::new("strict tcp to host { allow tcp/22, udp as ssh  default deny }");
    let ssh = tcp("192.0.2.1:1", "198.51.100.1:22");
    assert_eq!(m.says(&ssh.clone().flags(ACK)), "deny (notsyn)");
    assert_eq!(m.says(&ssh), "allow ssh");
    assert_eq!(m.says(&ssh.flags(ACK)), "allow (established)");
    assert_eq!(m.says(&udp("192.0.2.1:1", "198.51.100.1:22")), "allow ssh");
    // Directions that are not governed are not touched.
    let through = tcp("192.0.2.1:9", "198.51.100.1:22").flags(ACK);
    assert_eq!(m.says(&through.way("eth0", "eth1")), "allow (notgoverned)");
}

#[test]
fn loopback_is_outside_of_the_policy() {
    let m = Machine::new(&format!("guard {{ default deny }} {DENY}"));
    let packet = tcp("127.0.0.1:1", "127.0.0.1:22");
    assert_eq!(
        m.alone(&packet.clone().way("host", "lo")),
        "allow (loopback)"
    );
    assert_eq!(
        m.alone(&packet.clone().way("lo", "host")),
        "allow (loopback)"
    );
    assert_eq!(
        m.alone(&packet.flags(FIN).way("lo", "host")),
        "allow (loopback)"
    );
}

#[test]
fn rules_that_name_loopback_judge_it_and_what_they_leave_is_admitted() {
    let mut m = Machine::new(
        "to host   { deny tcp/22 in lo as no-ssh  default deny as rest }
         from host { deny udp/53 out lo as no-dns  default deny as own }",
    );
    let ssh = tcp("127.0.0.1:1", "127.0.0.1:22");
    assert_eq!(m.says(&ssh.clone().way("host", "lo")), "allow (loopback)");
    assert_eq!(m.says(&ssh.way("lo", "host")), "deny no-ssh");
    let dns = udp("127.0.0.1:1", "127.0.0.1:53");
    assert_eq!(m.says(&dns.clone().way("host", "lo")), "deny no-dns");
    let web = tcp("127.0.0.1:1", "127.0.0.1:80");
    assert_eq!(m.says(&web.clone().way("host", "lo")), "allow (loopback)");
    assert_eq!(m.says(&web.way("lo", "host")), "allow (loopback)");
}

#[test]
fn what_leaves_by_loopback_is_judged_again_as_it_comes_in() {
    let mut m = Machine::new("to host { deny tcp/22 in lo as no-ssh  default deny }");
    let ssh = tcp("127.0.0.1:1", "127.0.0.1:22");
    for _ in 0..2 {
        assert!(m.says(&ssh.clone().way("host", "lo")).starts_with("allow"));
        assert_eq!(m.says(&ssh.clone().way("lo", "host")), "deny no-ssh");
    }
}

#[test]
fn guard_sees_fragments_and_later_stages_whole_packets() {
    let mut m = Machine::new(
        "guard on eth0 {
           deny  udp/53         as dns
           deny  esp            as esp
           deny  tcp when ip.fragment as pieces
           default allow
         }
         to host { deny when ip.fragment as fragment  allow udp as udp  default deny as rest }",
    );
    let dns = udp("192.0.2.1:1", "198.51.100.1:53");
    assert_eq!(m.says(&dns), "deny dns");
    // A later fragment has no ports: what asks for them does not hold.
    assert_eq!(m.says(&dns.clone().later_fragment()), "allow (reassembled)");
    // A bare protocol is a question about the IP layer.
    let ssh = tcp("192.0.2.1:1", "198.51.100.1:22");
    assert_eq!(m.says(&ssh.clone().later_fragment()), "deny pieces");
    let first = udp("192.0.2.1:1", "198.51.100.1:54").set(polc_compiler::field::IP_FRAGMENT, 1);
    assert_eq!(m.says(&first), "allow udp");
    assert_eq!(m.says(&ssh), "deny rest");
}

#[test]
fn except_with_ports_needs_packets_with_ports_in_guard() {
    let mut m =
        Machine::new("guard on eth0 { deny udp except udp/53 as rest-of-udp default allow }");
    let ntp = udp("192.0.2.1:1", "198.51.100.1:123");
    assert_eq!(m.says(&ntp), "deny rest-of-udp");
    assert_eq!(m.says(&ntp.later_fragment()), "allow (reassembled)");
}
