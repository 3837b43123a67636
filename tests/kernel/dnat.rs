//! Destination NAT.

use std::collections::BTreeSet;

use polc_runtime_loader::lab::{Client, EchoServer, Outcome, Topology};

use crate::harness::{Bench, on_targets};

on_targets! {
    nftables: both_families_reach_the_server_behind, only_and_allow_skips_filter, targets_take_turns, a_rule_has_one_list_of_turns, filter_can_ask_for_the_original_destination, flows_of_the_host_are_sent_elsewhere_and_answered, flows_of_the_host_to_itself_are_judged_where_they_leave;
    iptables_legacy: both_families_reach_the_server_behind, only_and_allow_skips_filter, targets_take_turns, a_rule_has_one_list_of_turns, filter_can_ask_for_the_original_destination, flows_of_the_host_are_sent_elsewhere_and_answered, flows_of_the_host_to_itself_are_judged_where_they_leave;
    iptables_nft: both_families_reach_the_server_behind, only_and_allow_skips_filter, targets_take_turns, a_rule_has_one_list_of_turns, filter_can_ask_for_the_original_destination, flows_of_the_host_are_sent_elsewhere_and_answered, flows_of_the_host_to_itself_are_judged_where_they_leave;
    ebpf: both_families_reach_the_server_behind, only_and_allow_skips_filter, targets_take_turns, filter_can_ask_for_the_original_destination, flows_of_the_host_are_sent_elsewhere_and_answered, flows_of_the_host_to_itself_are_judged_where_they_leave;
}

const PUBLISH: &str = "
set vip = { 10.0.1.1, fd00:1::1 }
steer {
  dnat tcp/8080, udp/8080 from lan to @vip => 10.0.2.2:80, [fd00:2::2]:80 and allow as web
  dnat tcp/2222           from lan to @vip => 10.0.2.2:22, [fd00:2::2]:22           as ssh
}
from lan to wan { allow tcp/22 to { 10.0.2.2, fd00:2::2 }  default deny }
default deny
";

fn both_families_reach_the_server_behind(target: &'static str) {
    let bench = Bench::on(target, PUBLISH);
    let _server = bench.serve("web", 80);
    let zone = bench.topology.client();
    for (vip, own) in [(zone.router_v4, zone.v4), (zone.router_v6, zone.v6)] {
        for outcome in [bench.client().tcp(vip, 8080), bench.client().udp(vip, 8080)] {
            let Outcome::Connected(reply) = &outcome else {
                panic!("{outcome:?}\n{}", bench.ruleset())
            };
            assert_eq!((reply.name.as_str(), reply.peer.ip()), ("web", own));
        }
    }
}

fn only_and_allow_skips_filter(target: &'static str) {
    let bench = Bench::on(target, PUBLISH);
    let (_web, _ssh) = (bench.serve("web", 80), bench.serve("ssh", 22));
    let zone = bench.topology.client();
    for (vip, server) in [zone.router_v4, zone.router_v6]
        .into_iter()
        .zip(bench.server())
    {
        // Without `and allow`, filter sees the rewritten destination and allows it by its own rule.
        assert_eq!(bench.client().tcp(vip, 2222).answered_by(), Some("ssh"));
        // What was not rewritten is not admitted by `and allow`.
        assert_eq!(bench.client().tcp(server, 80), Outcome::TimedOut);
    }
}

fn targets_take_turns(target: &'static str) {
    let policy = |balance: &str| {
        format!(
            "steer {{ dnat tcp/80 from lan to {{ 10.0.1.1 }} => 10.0.2.2:8001, 10.0.2.2:8002 \
             balance {balance} and allow }}\ndefault deny"
        )
    };
    let bench = Bench::on(target, &policy("roundrobin"));
    let (_one, _two) = (bench.serve("one", 8001), bench.serve("two", 8002));
    let vip = bench.topology.client().router_v4;
    let ask = || {
        let outcome = bench.client().tcp(vip, 80);
        outcome
            .answered_by()
            .unwrap_or_else(|| panic!("{outcome:?}\n{}", bench.ruleset()))
            .to_owned()
    };
    let answers: Vec<String> = (0..4).map(|_| ask()).collect();
    assert_eq!(
        answers.iter().filter(|a| *a == "one").count(),
        2,
        "{answers:?}"
    );
    bench.apply(&policy("source"));
    let answers: BTreeSet<String> = (0..6).map(|_| ask()).collect();
    assert_eq!(answers.len(), 1, "one source keeps its server: {answers:?}");
    bench.apply(&policy("random"));
    let answers: BTreeSet<String> = (0..24).map(|_| ask()).collect();
    assert_eq!(answers.len(), 2, "{answers:?}");
}

/// By loopback too, where its line stands a second time.
fn a_rule_has_one_list_of_turns(target: &'static str) {
    let bench = Bench::bare(Topology::new().expect("a topology")).built_for(target);
    bench.apply(
        "steer {
           dnat tcp/80 from host out lo, wan0 only v4 => 10.0.1.2:8001, 10.0.1.2:8002
             balance roundrobin and allow
         }
         default deny",
    );
    let lan = bench.topology.client();
    let _one = EchoServer::start(&lan.namespace, "one", 8001).expect("a server");
    let _two = EchoServer::start(&lan.namespace, "two", 8002).expect("a server");
    let host = Client::new(bench.router());
    let [server, _] = bench.server();
    let asked = [lan.router_v4, server, server, lan.router_v4];
    for (address, name) in asked.into_iter().zip(["one", "two", "one", "two"]) {
        let outcome = host.tcp(address, 80);
        assert_eq!(
            outcome.answered_by(),
            Some(name),
            "{address}: {outcome:?}\n{}",
            bench.ruleset()
        );
    }
}

fn filter_can_ask_for_the_original_destination(target: &'static str) {
    let bench = Bench::on(
        target,
        "steer { dnat tcp from lan to { 10.0.1.1, fd00:1::1 } => 10.0.2.2, fd00:2::2 }
         from lan to wan {
           allow tcp/80 to original { 10.0.1.1, fd00:1::1 }
           default deny
         }
         default deny",
    );
    let _server = bench.serve("web", 80);
    let zone = bench.topology.client();
    for (vip, server) in [zone.router_v4, zone.router_v6]
        .into_iter()
        .zip(bench.server())
    {
        let outcome = bench.client().tcp(vip, 80);
        assert_eq!(
            outcome.answered_by(),
            Some("web"),
            "{outcome:?}\n{}",
            bench.ruleset()
        );
        assert_eq!(bench.client().tcp(server, 80), Outcome::TimedOut);
    }
}

fn flows_of_the_host_are_sent_elsewhere_and_answered(target: &'static str) {
    let bench = Bench::bare(Topology::new().expect("a topology")).built_for(target);
    bench.apply(
        "steer {
           dnat tcp/80, udp/80 from host to { 10.0.2.2, fd00:2::2 } => 10.0.1.2:8080, [fd00:1::2]:8080
         }
         from host { allow tcp/8080, udp/8080  default deny }
         default deny",
    );
    let lan = bench.topology.client();
    let _other = EchoServer::start(&lan.namespace, "other", 8080).expect("a server");
    let host = Client::new(bench.router());
    for seen in bench.server() {
        for outcome in [host.tcp(seen, 80), host.udp(seen, 80)] {
            assert_eq!(
                outcome.answered_by(),
                Some("other"),
                "{outcome:?}\n{}",
                bench.ruleset()
            );
        }
    }
}

/// The filter is asked about them although they do not leave.
fn flows_of_the_host_to_itself_are_judged_where_they_leave(target: &'static str) {
    let bench = Bench::bare(Topology::new().expect("a topology")).built_for(target);
    let policy = "steer {
           dnat tcp/80, udp/80 from host to { 10.0.2.2, fd00:2::2 } => 10.0.1.1:8080, [fd00:1::1]:8080
         }
         from host { allow tcp/8080, udp/8080  default deny }
         default deny";
    let _own = EchoServer::start(bench.router(), "own", 8080).expect("a server");
    let host = Client::new(bench.router());
    for (rule, name) in [("allow", Some("own")), ("deny", None)] {
        bench.apply(&policy.replace("allow", rule));
        for seen in bench.server() {
            for outcome in [host.tcp(seen, 80), host.udp(seen, 80)] {
                assert_eq!(
                    outcome.answered_by(),
                    name,
                    "{rule}: {outcome:?}\n{}",
                    bench.ruleset()
                );
            }
        }
    }
}
