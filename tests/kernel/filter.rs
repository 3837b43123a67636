//! Sections: who may talk to whom.

use std::time::Duration;

use polc_runtime_loader::lab::{Client, EchoServer, Outcome};

use crate::harness::{Bench, on_targets};

on_targets! {
    nftables: zones_see_what_they_may, nothing_comes_in_from_outside, sets_and_their_complements_agree_with_the_addresses, by_asks_who_sent_it, counters_carry_the_rules_names, neighbour_discovery_survives_a_deny, marks_stay_with_the_flow;
    iptables_legacy: zones_see_what_they_may, nothing_comes_in_from_outside, sets_and_their_complements_agree_with_the_addresses, by_asks_who_sent_it, counters_carry_the_rules_names, neighbour_discovery_survives_a_deny, marks_stay_with_the_flow;
    iptables_nft: zones_see_what_they_may, nothing_comes_in_from_outside, sets_and_their_complements_agree_with_the_addresses, by_asks_who_sent_it, counters_carry_the_rules_names, neighbour_discovery_survives_a_deny, marks_stay_with_the_flow;
    ebpf: zones_see_what_they_may, nothing_comes_in_from_outside, sets_and_their_complements_agree_with_the_addresses, by_asks_who_sent_it, counters_carry_the_rules_names, neighbour_discovery_survives_a_deny, marks_stay_with_the_flow;
}

const MATRIX: &str = "
from lan to host { allow tcp/22, udp/53  default reject }
from lan to wan  { allow tcp/80, udp/80  deny tcp/81  reject tcp/82, udp/82  default deny }
from lan to dmz  { allow icmp  default reject with admin-prohibited }
from dmz to wan  { default allow }
from host to wan { deny tcp/90  default allow }
default deny
";

fn zones_see_what_they_may(target: &'static str) {
    let bench = Bench::with_third_zone(target, MATRIX);
    let servers: Vec<EchoServer> = [80, 81, 82, 90].map(|port| bench.serve("wan", port)).into();
    let _own = EchoServer::start(bench.router(), "router", 22).expect("a server");
    let third = bench.topology.zone("third");
    let _third = EchoServer::start(&third.namespace, "dmz", 80).expect("a server");
    let lan = bench.client();
    let dmz = Client::new(&third.namespace);
    let host = Client::new(bench.router());
    let zone = bench.topology.client();
    for (index, address) in bench.server().into_iter().enumerate() {
        assert_eq!(
            lan.tcp(address, 80).answered_by(),
            Some("wan"),
            "{}",
            bench.ruleset()
        );
        assert_eq!(lan.udp(address, 80).answered_by(), Some("wan"));
        assert_eq!(lan.tcp(address, 81), Outcome::TimedOut);
        assert_eq!(lan.tcp(address, 82), Outcome::Refused);
        assert_eq!(lan.udp(address, 82), Outcome::Refused);
        assert_eq!(lan.tcp(address, 90), Outcome::TimedOut);
        assert_eq!(dmz.tcp(address, 90).answered_by(), Some("wan"));
        assert_eq!(host.tcp(address, 80).answered_by(), Some("wan"));
        assert_eq!(host.tcp(address, 90), Outcome::TimedOut);
        let router = [zone.router_v4, zone.router_v6][index];
        assert_eq!(lan.tcp(router, 22).answered_by(), Some("router"));
        assert_eq!(lan.tcp(router, 23), Outcome::Refused);
        assert!(!lan.ping(router));
        let third = third.addresses()[index];
        assert!(lan.ping(third));
        // The kernel can overlook the answer to the first SYN, not the one to the second.
        let outcome = lan.timeout(Duration::from_secs(3)).tcp(third, 80);
        assert!(
            matches!(outcome, Outcome::Unreachable | Outcome::Prohibited),
            "an ICMP error from {third}: {outcome:?}\n{}",
            bench.ruleset()
        );
    }
    drop(servers);
}

fn nothing_comes_in_from_outside(target: &'static str) {
    let bench = Bench::on(target, MATRIX);
    let inner = &bench.topology.client().namespace;
    let _server = EchoServer::start(inner, "inside", 80).expect("a server");
    let _own = EchoServer::start(bench.router(), "router", 22).expect("a server");
    let outside = Client::new(&bench.topology.server().namespace);
    for address in bench.topology.client().addresses() {
        assert_eq!(outside.tcp(address, 80), Outcome::TimedOut);
    }
    let zone = bench.topology.server();
    for address in [zone.router_v4, zone.router_v6] {
        assert_eq!(outside.tcp(address, 22), Outcome::TimedOut);
    }
}

fn sets_and_their_complements_agree_with_the_addresses(target: &'static str) {
    let bench = Bench::on(
        target,
        "set inside = { 10.0.1.0/24, fd00:1::/64 } - { 10.0.1.2, fd00:1::2 }
         from lan to wan {
           allow tcp/80 from @inside
           allow tcp/81 from not @inside
           allow tcp/82 from { 10.0.1.2-10.0.1.5, fd00:1::2-fd00:1::5 } only v6
           default deny
         }
         default deny",
    );
    let servers: Vec<EchoServer> = [80, 81, 82].map(|port| bench.serve("wan", port)).into();
    let client = bench.topology.client();
    let others = ["10.0.1.9".parse().unwrap(), "fd00:1::9".parse().unwrap()];
    for other in others {
        client.add_address(other).expect("an address");
    }
    for (index, server) in bench.server().into_iter().enumerate() {
        let own = bench.client().source(client.addresses()[index]);
        let other = bench.client().source(others[index]);
        assert!(!own.tcp(server, 80).is_connected());
        assert!(other.tcp(server, 80).is_connected(), "{}", bench.ruleset());
        assert!(own.tcp(server, 81).is_connected());
        assert!(!other.tcp(server, 81).is_connected());
        assert_eq!(own.tcp(server, 82).is_connected(), index == 1);
    }
    drop(servers);
}

fn by_asks_who_sent_it(target: &'static str) {
    let bench = Bench::on(
        target,
        "from host {
           allow tcp/80 by uid 0
           allow tcp/81 by uid 1-1
           default deny
         }
         default deny"
            .replace("1-1", "4242")
            .as_str(),
    );
    let servers: Vec<EchoServer> = [80, 81].map(|port| bench.serve("wan", port)).into();
    let host = Client::new(bench.router());
    for address in bench.server() {
        assert!(host.tcp(address, 80).is_connected(), "{}", bench.ruleset());
        assert!(!host.tcp(address, 81).is_connected());
    }
    drop(servers);
}

fn counters_carry_the_rules_names(target: &'static str) {
    let bench = Bench::on(
        target,
        "from lan to wan { allow tcp/80 as web count  deny tcp/81 as no count  default deny }
         default deny",
    );
    let _server = bench.serve("wan", 80);
    assert!(bench.client().tcp(bench.server()[0], 80).is_connected());
    assert!(!bench.client().tcp(bench.server()[1], 81).is_connected());
    assert_eq!(
        bench.packets("web"),
        1,
        "a flow's later packets are not the rule's"
    );
    assert!(bench.packets("no") >= 1);
    assert!(bench.status().in_step);
}

fn neighbour_discovery_survives_a_deny(target: &'static str) {
    let bench = Bench::on(
        target,
        "guard { default allow }\nto host { default deny }\nfrom host { default deny }\nfrom lan to wan { default allow }\ndefault deny",
    );
    let _server = bench.serve("wan", 80);
    bench
        .router()
        .output("ip", &["neigh", "flush", "all"])
        .expect("flushed");
    for address in bench.server() {
        assert!(
            bench.client().tcp(address, 80).is_connected(),
            "{}",
            bench.ruleset()
        );
    }
}

fn marks_stay_with_the_flow(target: &'static str) {
    let bench = Bench::on(
        target,
        "from lan to wan {
           match tcp/80 mark 0x40/0xf0 as colour
           allow tcp/80
           default deny
         }
         default deny",
    );
    // Another table counts what it sees behind the policy.
    let watch = "table inet watch {\n chain f {\n type filter hook postrouting priority 50;\n \
                 tcp dport 80 meta mark & 0xf0 == 0x40 counter\n \
                 tcp dport 80 meta mark & 0xf0 != 0x40 counter\n }\n}\n";
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), watch).expect("written");
    bench
        .router()
        .output("nft", &["-f", file.path().to_str().unwrap()])
        .expect("loaded");
    let _server = bench.serve("wan", 80);
    for address in bench.server() {
        let mut session = bench
            .client()
            .tcp_session(address, 80)
            .expect("a connection");
        assert!(session.exchange().is_connected());
        assert!(session.exchange().is_connected());
    }
    let list = bench
        .router()
        .output("nft", &["list", "table", "inet", "watch"])
        .expect("listed");
    let unmarked = list
        .lines()
        .find(|l| l.contains("!= 0x"))
        .expect("the line");
    // Programs judge the first packet of a flow when tables have seen it.
    let first = if target == "ebpf" { 2 } else { 0 };
    assert!(
        unmarked.contains(&format!("packets {first} ")),
        "the packets of the flow are marked:\n{list}"
    );
    let marked = list
        .lines()
        .find(|l| l.contains("== 0x"))
        .expect("the line");
    assert!(!marked.contains("packets 0"), "{list}");
}
