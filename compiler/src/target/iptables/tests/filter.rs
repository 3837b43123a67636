//! Guard and filter: sides, fields, sets, senders.

use super::build::*;

/// A policy for this host with one rule named `x`.
fn to_host(rule: &str) -> String {
    format!("to host {{ {rule} as x default deny }}")
}

#[test]
fn a_host_filter() {
    insta::assert_snapshot!(text(
        "to host {
           deny from { 10.0.0.0/8, fc00::/7 } in eth0 as bogons
           allow web, dns as services
           allow icmp as icmp
           default reject
         }"
    ));
}

#[test]
fn sections_become_chains_of_their_zones() {
    insta::assert_snapshot!(text(
        "from lan to wan { deny tcp/25 as spam log at 1/s  allow tcp/80 as web  default deny }
         from wan to lan { allow tcp/22 as ssh  default reject }
         default deny"
    ));
}

#[test]
fn guard_hands_on_what_others_may_still_refuse() {
    insta::assert_snapshot!(text(
        "set noisy as source = {} dynamic idle 10m max 1000
         guard on eth0 {
           allow from { 192.0.2.1, 2001:db8::1 } as partner
           deny from @noisy as noisy
           deny over 10/s per source add @noisy as pps
           notrack udp/4789 as tunnel
           default allow
         }"
    ));
}

#[test]
fn stateless_sections_skip_the_flow_lookup() {
    insta::assert_snapshot!(text(
        "strict tcp
         stateless from wan to host { allow udp/5060 as voip  default deny }
         default deny"
    ));
}

#[test]
fn a_packet_without_flow_was_sent_to_where_it_says() {
    let rule = "allow udp to 192.0.2.0/24 to original 192.0.2.0/25";
    assert_eq!(
        lines(&to_host(rule), "x"),
        ["-p udp -d 192.0.2.0/24 -m conntrack --ctorigdst 192.0.2.0/25 -j ACCEPT"]
    );
    let untracked = format!("guard {{ notrack }} {}", to_host(rule));
    assert_eq!(
        lines(&untracked, "x"),
        [
            "-p udp -d 192.0.2.0/24 -m conntrack --ctorigdst 192.0.2.0/25 -j ACCEPT",
            "-p udp -m conntrack --ctstate INVALID,UNTRACKED -d 192.0.2.0/25 -j ACCEPT"
        ]
    );
}

#[test]
fn rules_that_name_loopback_judge_it_apart() {
    insta::assert_snapshot!(text(
        "to host { deny tcp/22 in lo as lo  allow tcp/22 as ssh  default deny }"
    ));
}

/// Each comparison and the tests that it comes to.
#[test]
fn fields_are_asked_exactly() {
    let asked = |expr: &str| lines(&to_host(&format!("allow when {expr}")), "x").join(" | ");
    let cases = [
        (
            "tcp.flags == syn",
            "-p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG SYN -m ecn ! --ecn-tcp-ece ! --ecn-tcp-cwr -j ACCEPT",
        ),
        (
            "tcp.flags has syn",
            "-p tcp -m tcp --tcp-flags SYN SYN -j ACCEPT",
        ),
        (
            "tcp.flags has ece+cwr",
            "-p tcp -m tcp --tcp-flags NONE NONE -m ecn --ecn-tcp-ece --ecn-tcp-cwr -j ACCEPT",
        ),
        (
            "tcp.mss < 500",
            "-p tcp -m tcp -m tcpmss --mss 0:499 -j ACCEPT",
        ),
        (
            "ip.ttl == 255 and ip.version == 4",
            "-m u32 --u32 8>>24=0xff -j ACCEPT",
        ),
        (
            "ip.ttl != 255 and ip.version == 4",
            "-m u32 --u32 8>>24=0x0:0xfe -j ACCEPT",
        ),
        (
            "ip.length > 1000",
            "-m u32 --u32 0&0xFFFF=0x3e9:0xffff -j ACCEPT",
        ),
        (
            "ip.dscp in { ef, cs1 }",
            "-m u32 --u32 0>>18&0x3F=0x8,0x2e -j ACCEPT",
        ),
        ("ip.fragment", "-m u32 ! --u32 4&0x3FFF=0x0 -j ACCEPT"),
        (
            "icmp.type == echo-request",
            "-p icmp -m icmp --icmp-type 8 -j ACCEPT",
        ),
        (
            "eth.saddr == 02:00:00:00:00:01",
            "-m mac --mac-source 02:00:00:00:00:01 -j ACCEPT",
        ),
        (
            "meta.mark == 0x10",
            "-m mark --mark 0x10/0xffffffff -j ACCEPT",
        ),
        (
            "meta.mark != 0x10",
            "-m mark ! --mark 0x10/0xffffffff -j ACCEPT",
        ),
        (
            "ct.mark < 0x100",
            "-m connmark --mark 0x0/0xffffff00 -j ACCEPT",
        ),
        (
            "meta.pkttype == multicast",
            "-m pkttype --pkt-type multicast -j ACCEPT",
        ),
        (
            "ct.state in { new, untracked }",
            "-m conntrack --ctstate NEW,UNTRACKED -j ACCEPT",
        ),
        (
            "ct.direction == reply",
            "-m conntrack --ctdir REPLY -j ACCEPT",
        ),
        (
            "time.hour in { 9-17 }",
            "-m time --timestart 09:00:00 --timestop 17:59:59 -j ACCEPT",
        ),
        (
            "time.day in { sunday, monday }",
            "-m time --weekdays Sun,Mon -j ACCEPT",
        ),
        (
            "tcp.dport == 80 and tcp.sport > 1023",
            "-p tcp -m tcp --sport 1024:65535 -m tcp --dport 80 -j ACCEPT",
        ),
        ("ip.protocol == gre", "-p 47 -j ACCEPT"),
        ("ip.protocol != tcp", "! -p tcp -j ACCEPT"),
    ];
    for (expr, wanted) in cases {
        assert_eq!(asked(expr), wanted, "{expr}");
    }
}

#[test]
fn protocols_that_are_not_meant_are_excluded_by_a_chain() {
    // To iptables the protocol 0 is any.
    insta::assert_snapshot!(text(
        "to host { allow when not ip.protocol in { tcp, udp } as rest  default deny }"
    ));
}

#[test]
fn alternatives_that_overlap_fire_once() {
    insta::assert_snapshot!(text(
        "to host {
           match when tcp.dport == 80 or ip.ttl == 1 log as seen
           default deny
         }"
    ));
}

#[test]
fn ports_and_addresses_become_sets_when_they_are_many() {
    let ports: Vec<String> = (0..40).map(|n| (1000 + 2 * n).to_string()).collect();
    let ports = ports.join(", ");
    insta::assert_snapshot!(text(&format!(
        "set some = {{ 192.0.2.1, 192.0.2.9, 198.51.100.0/24, 2001:db8::/32 }}
         to host {{
           allow tcp/{{ {ports} }} as many
           allow tcp/{{ 1, 3, 5-9 }} as few
           allow tcp/22 from @some as ours
           deny tcp/22 from not @some as others
           allow udp/53 from 192.0.2.1-192.0.2.7 as range
           default deny
         }}"
    )));
}

#[test]
fn senders_are_asked_where_there_are_some() {
    insta::assert_snapshot!(text(
        "from host {
           allow tcp/25 by uid 101 as mail
           allow tcp/80 by uid 1000 as people
           deny tcp/443 by gid 7 as group
           default allow
         }"
    ));
}

#[test]
fn every_answer_has_its_words_in_each_family() {
    insta::assert_snapshot!(text(
        "to host {
           reject tcp/1 with tcp-reset as a
           reject udp/2 with port-unreachable as b
           reject udp/3 with host-unreachable as c
           reject udp/4 with admin-prohibited as d
           reject udp/5 with no-route as e
           default reject
         }"
    ));
}

#[test]
fn what_cannot_be_asked_is_an_error_at_its_rule() {
    let refused = |blocks: &str| errors(blocks).join(" | ");
    let field = |expr: &str| refused(&to_host(&format!("allow when {expr}")));
    let say = |what: &str| format!("target `iptables` cannot express {what}");
    assert_eq!(field("vlan.id == 5"), say("a VLAN tag's fields"));
    assert_eq!(field("eth.type == ip"), say("the Ethernet type"));
    assert_eq!(
        field("eth.daddr == 02:00:00:00:00:01"),
        say("the Ethernet destination")
    );
    assert_eq!(
        field("meta.length > 100"),
        say("the length of a packet as received")
    );
    assert_eq!(
        refused("guard on eth0 { deny when ip.fragment as x default allow }"),
        say("fragments in `guard`, where the kernel has put them together already")
    );
    assert_eq!(
        refused("zone odd = \"eth+\"\nfrom odd to host { default allow }\ndefault deny"),
        say("an interface whose name ends in `+`")
    );
}

/// The kernel takes fifteen chains that lead into one another.
#[test]
fn alternatives_that_exclude_others_must_not_lead_too_far() {
    let rule = |number: u32, clauses: &str| {
        let one = |n| {
            format!(
                "(not meta.iif in {{ a{n}, b{n} }} and ip.ttl == {})",
                100 + n
            )
        };
        let alternatives: Vec<String> = (0..number).map(one).collect();
        to_host(&format!(
            "match tcp when {} {clauses}",
            alternatives.join(" or ")
        ))
    };
    let effects = "count mark 0x1/0x1";
    assert!(emit(&rule(13, effects)).is_ok());
    let found = errors(&rule(14, effects));
    assert!(
        matches!(found.as_slice(), [one] if one.contains("more than 15 chains")),
        "{found:?}"
    );
}
