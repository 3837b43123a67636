//! Ends, services, families, `not`, conditions, senders.

use polc_compiler::field::{ETH_SADDR, GID, IP_TTL, TCP_MSS, TIME_DAY, TIME_HOUR, UID, VLAN_ID};
use polc_compiler::interpret::Packet;
use polc_compiler::ir::cube::PrincipalKind;

use super::machine::{ACK, Build, FIN, Machine, SYN, icmp, proto, tcp, udp};

/// Whether a filter rule with these services and clauses holds for a packet to the host.
fn holds(rule: &str, packet: &Packet) -> bool {
    let mut m = Machine::new(&format!(
        "set a = {{ 192.0.2.0/28, 2001:db8::/64 }}
         set b = 192.0.2.0/24
         zone lan = eth1, wg*
         to host {{ allow {rule} as it  default deny as rest }}"
    ));
    match m.says(packet).as_str() {
        "deny rest" => false,
        "allow it" => true,
        other => panic!("{other}"),
    }
}

fn at_22(from: &str) -> Packet {
    let host = if from.contains(':') {
        "[2001:db8:1::1]:22"
    } else {
        "198.51.100.1:22"
    };
    let from = if from.contains(':') {
        format!("[{from}]:9")
    } else {
        format!("{from}:9")
    };
    tcp(&from, host)
}

#[test]
fn a_list_of_ends_holds_when_one_does() {
    let rule = "from lan, 203.0.113.7, @a";
    for (from, iface, expected) in [
        ("192.0.2.1", "eth0", true),
        ("192.0.2.16", "eth0", false),
        ("2001:db8::9", "eth0", true),
        ("203.0.113.7", "eth0", true),
        ("203.0.113.8", "eth0", false),
        ("203.0.113.8", "eth1", true),
        ("203.0.113.8", "wg7", true),
        ("203.0.113.8", "wh7", false),
    ] {
        let got = holds(rule, &at_22(from).way(iface, "host"));
        assert_eq!(got, expected, "{from} by {iface}");
    }
}

#[test]
fn not_before_a_list_negates_all_of_it() {
    let rule = "from not @a, lan";
    assert!(!holds(rule, &at_22("192.0.2.1")));
    assert!(!holds(rule, &at_22("203.0.113.1").way("eth1", "host")));
    assert!(holds(rule, &at_22("203.0.113.1")));
}

#[test]
fn an_address_restricts_the_family_and_not_spans_both() {
    assert!(!holds("from 192.0.2.0/24", &at_22("2001:db8::1")));
    assert!(holds("from not @b", &at_22("2001:db8::1")));
    assert!(!holds("from not @b", &at_22("192.0.2.9")));
    assert!(!holds("only v4", &at_22("2001:db8::1")));
    assert!(holds("only v6", &at_22("2001:db8::1")));
    assert!(holds("when ip.version == 6", &at_22("2001:db8::1")));
}

#[test]
fn services_are_protocols_with_ports_and_icmp_by_family() {
    let a = "192.0.2.1";
    let dns = udp("192.0.2.1:9", "198.51.100.1:53");
    assert!(holds("dns", &dns) && holds("udp", &dns) && !holds("ssh", &dns));
    assert!(holds("tcp/20-25", &at_22(a)) && !holds("tcp/{21, 23}", &at_22(a)));
    let ping4 = icmp(8, 0, a, "198.51.100.1");
    let ping6 = icmp(128, 0, "2001:db8::1", "2001:db8::2");
    for packet in [&ping4, &ping6] {
        assert!(holds("ping", packet) && holds("icmp", packet));
        assert!(!holds("icmp/timestamp-request", packet));
    }
    assert!(holds("icmpv6", &ping6) && !holds("icmpv6", &ping4));
    assert!(holds("icmp/8", &ping4) && !holds("icmp/8", &ping6));
    assert!(holds("esp", &proto(50, a, "198.51.100.1")));
    assert!(holds("proto/99", &proto(99, a, "198.51.100.1")));
}

#[test]
fn except_takes_services_out() {
    let rule = "tcp except tcp/22, udp";
    assert!(!holds(rule, &at_22("192.0.2.1")));
    assert!(holds(rule, &tcp("192.0.2.1:9", "198.51.100.1:23")));
    // With ports: only packets that have ports.
    let ping = icmp(8, 0, "192.0.2.1", "198.51.100.1");
    assert!(holds("except tcp/22", &ping));
}

#[test]
fn a_comparison_is_false_for_packets_without_the_field() {
    let dns = udp("192.0.2.1:9", "198.51.100.1:53");
    assert!(!holds("when tcp.dport != 80", &dns));
    assert!(holds("when tcp.dport != 80", &at_22("192.0.2.1")));
    assert!(holds("when not (tcp.dport == 80)", &at_22("192.0.2.1")));
    assert!(!holds("when not (tcp.dport == 80)", &dns));
    let syn = at_22("192.0.2.1");
    assert!(!holds("when tcp.mss < 500", &syn));
    assert!(holds("when tcp.mss < 500", &syn.clone().set(TCP_MSS, 499)));
    assert!(!holds("when tcp.mss >= 500", &syn.set(TCP_MSS, 499)));
}

#[test]
fn flags_are_compared_exactly_or_by_bits() {
    let syn = at_22("192.0.2.1");
    let ack = syn.clone().flags(ACK);
    assert!(holds("when tcp.flags == syn", &syn));
    assert!(!holds(
        "when tcp.flags == syn",
        &syn.clone().flags(SYN | 0x40)
    ));
    assert!(holds(
        "when tcp.flags has syn",
        &syn.clone().flags(SYN | 0x40)
    ));
    assert!(holds("when tcp.flags in { syn, ack }", &ack));
    assert!(!holds("when tcp.flags in { syn+ack, fin }", &ack));
    let mut guarded = Machine::new(
        "guard on eth0 { deny tcp when tcp.flags in { none, syn+fin } as bad default allow }",
    );
    assert_eq!(guarded.says(&syn.clone().flags(SYN | FIN)), "deny bad");
    assert_eq!(guarded.says(&syn.flags(0)), "deny bad");
}

#[test]
fn conditions_join_with_and_or_not() {
    let rule = "when not (ip.ttl in { 64, 128 } or tcp.flags == ack) and ip.ttl < 200";
    let ttl = |n| at_22("192.0.2.1").set(IP_TTL, n);
    assert!(holds(rule, &ttl(63)));
    assert!(!holds(rule, &ttl(64)));
    assert!(!holds(rule, &ttl(63).flags(ACK)));
    assert!(!holds(rule, &ttl(200)));
}

#[test]
fn time_is_the_packets_or_the_clocks() {
    let rule = "to host { allow tcp when time.hour >= 8 and time.day == friday as it default deny as rest }";
    let mut m = Machine::new(rule);
    let packet = at_22("192.0.2.1");
    assert_eq!(
        m.says(&packet.clone().set(TIME_HOUR, 8).set(TIME_DAY, 5)),
        "allow it"
    );
    let next = tcp("192.0.2.2:9", "198.51.100.1:22");
    // The second day of the epoch is a Friday.
    m.now = 31 * 3_600_000;
    assert_eq!(m.says(&next), "deny rest");
    m.now = 32 * 3_600_000;
    assert_eq!(m.says(&next), "allow it");
}

#[test]
fn senders_are_those_of_this_host() {
    let rule = "from host { allow tcp by user postfix, \"list server\" as user
                            allow tcp by uid 0, 101            as uid
                            allow tcp by group mail            as group
                            allow tcp by cgroup \"a/b.service\" as cgroup
                            default deny as rest }";
    let mut port = 1;
    let mut sent = |change: fn(Packet) -> Packet| {
        port += 1;
        let packet = tcp(&format!("192.0.2.1:{port}"), "203.0.113.1:25").way("host", "eth0");
        Machine::new(rule).says(&change(packet))
    };
    assert_eq!(sent(|p| p.by(PrincipalKind::User, "postfix")), "allow user");
    assert_eq!(
        sent(|p| p.by(PrincipalKind::User, "list server")),
        "allow user"
    );
    assert_eq!(sent(|p| p.by(PrincipalKind::Group, "postfix")), "deny rest");
    assert_eq!(sent(|p| p.by(PrincipalKind::Group, "mail")), "allow group");
    assert_eq!(
        sent(|p| p.by(PrincipalKind::Cgroup, "a/b.service")),
        "allow cgroup"
    );
    assert_eq!(sent(|p| p.uid(101)), "allow uid");
    assert_eq!(sent(|p| p.uid(102)), "deny rest");
    assert_eq!(sent(|p| p), "deny rest");
    // What passes through has no sender.
    let through = tcp("192.0.2.1:1", "203.0.113.1:25").way("eth1", "eth0");
    let mut m = Machine::new("from any { allow tcp by uid 0 as it  default deny as rest }");
    assert_eq!(m.says(&through.set(UID, 0).set(GID, 0)), "deny rest");
}

#[test]
fn what_this_host_sends_has_no_ethernet_header() {
    let text = "from any { allow tcp when eth.saddr == 02:00:00:00:00:01 as mac
                           allow tcp when vlan.id == 7 as vlan
                           default deny as rest }";
    let frame = tcp("192.0.2.1:1", "203.0.113.1:25")
        .set(ETH_SADDR, 0x0200_0000_0001)
        .set(VLAN_ID, 7);
    assert_eq!(Machine::new(text).says(&frame), "allow mac");
    assert_eq!(
        Machine::new(text).says(&frame.clone().way("host", "eth0")),
        "deny rest"
    );
    assert_eq!(
        Machine::new(text).says(&frame.set(ETH_SADDR, 1)),
        "allow vlan"
    );
}

#[test]
fn interfaces_are_asked_by_in_and_out() {
    let text = "from any { allow in eth1 out not wg* as it  default deny as rest }";
    for (from, to, expected) in [
        ("eth1", "eth0", "allow it"),
        ("eth1", "wg0", "deny rest"),
        ("eth2", "eth0", "deny rest"),
        ("host", "eth0", "deny rest"),
    ] {
        let packet = tcp("192.0.2.1:1", "203.0.113.1:25").way(from, to);
        assert_eq!(Machine::new(text).says(&packet), expected, "{from} {to}");
    }
    assert!(holds("in eth0", &at_22("192.0.2.1")));
}
