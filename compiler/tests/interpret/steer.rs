//! Steering: where flows go, and how filter sees them then.

use polc_compiler::interpret::{Packet, Steered};

use super::machine::{ACK, Build, Machine, tcp, udp};

const TEXT: &str = "zone wan = eth0
                    zone dmz = eth1
                    set vip = { 192.0.2.80, 2001:db8:1::80 }
                    steer {
                      direct   to 192.0.2.7                                     as inside
                      redirect udp/53 from wan => :5353                         as dns
                      dnat     tcp/80 from wan to @vip => 10.1.0.80, fd00:1::80 and allow as web
                      dnat     tcp/2222 from wan to @vip => 10.1.0.22:22, [fd00:1::22]:22 as git
                      route    tcp/9 via table 200 mark 0x200/0xff00            as second
                      deny     udp/443 from wan                                 as no-quic
                    }
                    from wan to dmz {
                      allow tcp/22 to 10.1.0.22, fd00:1::22 to original @vip    as to-git
                      default deny                                              as wan-rest
                    }
                    default deny as rest";

fn forwarded(from: &str, to: &str) -> Packet {
    tcp(from, to).detour("eth1")
}

#[test]
fn filter_sees_the_destination_as_steer_has_left_it() {
    let mut m = Machine::new(TEXT);
    for (from, to, addr) in [
        ("203.0.113.1:1", "192.0.2.80:2222", "10.1.0.22"),
        ("[2001:db8::1]:1", "[2001:db8:1::80]:2222", "fd00:1::22"),
    ] {
        let decision = m.judge(&forwarded(from, to));
        assert_eq!(m.short(&decision), "allow to-git");
        let addr = addr.parse().unwrap();
        assert_eq!(
            decision.steered,
            Some(Steered::Dnat {
                addr,
                port: Some(22)
            })
        );
    }
    // Without steer, the same destination is not what `to original` asks for.
    let direct = tcp("203.0.113.1:2", "10.1.0.22:22").way("eth0", "eth1");
    assert_eq!(m.says(&direct), "deny wan-rest");
}

#[test]
fn and_allow_and_redirect_skip_filter() {
    let mut m = Machine::new(TEXT);
    assert_eq!(
        m.says(&forwarded("203.0.113.1:1", "192.0.2.80:80")),
        "allow web"
    );
    let dns = udp("203.0.113.1:1", "192.0.2.9:53");
    let decision = m.judge(&dns);
    assert_eq!(m.short(&decision), "allow dns");
    assert_eq!(
        decision.steered,
        Some(Steered::Redirect { port: Some(5353) })
    );
    assert_eq!(decision.sourced, None);
}

#[test]
fn direct_leaves_it_and_deny_drops() {
    let mut m = Machine::new(TEXT);
    assert_eq!(m.goes(&tcp("203.0.113.1:1", "192.0.2.7:2222")), "direct");
    assert_eq!(
        m.says(&udp("203.0.113.1:1", "192.0.2.9:443")),
        "deny no-quic"
    );
    assert_eq!(m.goes(&tcp("203.0.113.1:1", "192.0.2.200:1")), "direct");
}

#[test]
fn route_sets_its_mark_and_filter_sees_the_other_way() {
    let mut m = Machine::new(
        "steer { route tcp/9 via table 200 mark 0x200/0xff00 as second }
         from any { allow out eth1 when meta.mark == 0x200 as by-eth1  default deny as rest }",
    );
    let packet = tcp("192.0.2.1:1", "203.0.113.1:9")
        .way("eth2", "eth0")
        .detour("eth1");
    let decision = m.judge(&packet);
    assert_eq!(
        (m.short(&decision), decision.mark),
        ("allow by-eth1".to_owned(), 0x200)
    );
    assert_eq!(decision.steered, Some(Steered::Route { table: 200 }));
    // The mark belongs to the flow in its own direction.
    assert_eq!(m.judge(&packet.clone().flags(ACK)).mark, 0x200);
    assert_eq!(m.judge(&packet.answer()).mark, 0);
}

#[test]
fn a_family_takes_its_own_target_and_balance_chooses_among_several() {
    let text = |balance: &str| {
        format!(
            "steer {{ dnat tcp/25 to 192.0.2.25 => 10.1.0.25, 10.1.0.26, 10.1.0.27 {balance} as mail }}"
        )
    };
    let flow = |n: u16, port: u16| forwarded(&format!("203.0.113.{n}:{port}"), "192.0.2.25:25");
    let mut turns = Machine::new(&text("balance roundrobin"));
    let went: Vec<String> = (1..5).map(|p| turns.goes(&flow(1, p))).collect();
    let to = |n| format!("dnat to 10.1.0.{n}");
    assert_eq!(went, [25, 26, 27, 25].map(to));
    // Later packets follow the first.
    assert_eq!(turns.goes(&flow(1, 2)), to(26));

    let mut by_source = Machine::new(&text(""));
    let mut seen = std::collections::BTreeSet::new();
    for n in 1..40 {
        let first = by_source.goes(&flow(n, 1));
        assert_eq!(
            by_source.goes(&flow(n, 2)),
            first,
            "a source keeps its target"
        );
        seen.insert(first);
    }
    assert_eq!(seen.len(), 3);

    let mut told = Machine::new(&text("balance random"));
    told.state.choose_target(Some(2));
    assert_eq!(told.goes(&flow(1, 1)), to(27));
}

#[test]
fn a_prefix_maps_address_by_address() {
    let mut m = Machine::new(
        "steer { dnat to 192.0.2.0/24 => net 10.2.3.0/24 as map
                 dnat to 2001:db8:1::/48 => net fd00:2:3::/48 as map6 }",
    );
    assert_eq!(
        m.goes(&forwarded("203.0.113.1:1", "192.0.2.77:5")),
        "dnat to 10.2.3.77"
    );
    let six = forwarded("[2001:db8::1]:1", "[2001:db8:1:2::9]:5");
    assert_eq!(m.goes(&six), "dnat to fd00:2:3:2::9");
}

#[test]
fn answers_of_a_rewritten_flow_are_known() {
    let mut m = Machine::new(TEXT);
    let git = forwarded("203.0.113.1:1", "192.0.2.80:2222");
    assert_eq!(m.says(&git), "allow to-git");
    let answer = tcp("10.1.0.22:22", "203.0.113.1:1")
        .way("eth1", "eth0")
        .flags(0x12);
    assert_eq!(m.says(&answer), "allow (established)");
    assert_eq!(m.says(&git.clone().flags(ACK)), "allow (established)");
    // What the address before would answer is not.
    assert_eq!(m.says(&git.answer()), "deny (invalid)");
    // The server's error about what it got.
    let got = tcp("203.0.113.1:1", "10.1.0.22:22");
    let error = super::machine::icmp(3, 1, "10.1.0.1", "203.0.113.1").way("eth1", "eth0");
    assert_eq!(m.judge_error(&error, &got), "allow (related)");
}

#[test]
fn to_host_means_an_address_of_this_host() {
    let mut m = Machine::new("steer { deny udp to host as own  deny udp to not host as others }");
    assert_eq!(m.says(&udp("192.0.2.1:1", "198.51.100.1:5")), "deny own");
    let through = udp("192.0.2.1:1", "203.0.113.1:5").way("eth0", "eth1");
    assert_eq!(m.says(&through), "deny others");
    // A group's address is no host's, though this host is of the group.
    assert_eq!(
        m.says(&udp("192.0.2.1:1", "224.0.0.251:5353")),
        "deny others"
    );
}

#[test]
fn own_flows_are_steered_by_their_interface() {
    let mut m =
        Machine::new("steer { deny udp from host out eth1 as own  deny udp from host as rest }");
    let sent = |to| udp("192.0.2.1:1", "203.0.113.1:5").way("host", to);
    assert_eq!(m.says(&sent("eth1")), "deny own");
    assert_eq!(m.says(&sent("eth0")), "deny rest");
    assert!(
        m.says(&sent("eth0").way("eth2", "eth0"))
            .starts_with("allow")
    );
}

#[test]
fn an_own_flow_led_back_to_this_host_is_judged_as_it_set_out() {
    let mut m = Machine::new(
        "steer { dnat tcp/80 from host => 127.0.0.1:8080 only v4 as back }
         from host { deny tcp/8080 as no  default allow as own }",
    );
    let packet = tcp("192.0.2.1:1", "203.0.113.1:80")
        .way("host", "eth0")
        .detour("lo");
    assert_eq!(m.says(&packet), "deny no");
}
