//! Transparent proxies.

use std::net::SocketAddr;

use polc_runtime_loader::lab::{Client, EchoServer, Mode, Outcome, Protocol, TransparentProxy};

use crate::harness::{Bench, loopback, on_targets};

on_targets! {
    nftables: forwarded_traffic_lands_in_the_proxy_with_both_addresses, local_traffic_lands_in_the_proxy_with_both_addresses, what_the_policy_leaves_alone_reaches_the_server, a_proxy_that_is_down_leaks_nothing, a_proxy_on_another_address_is_down_too, down_direct_goes_on_without_the_proxy, the_proxys_own_traffic_does_not_come_back_to_it, traffic_to_the_router_itself_is_not_captured, an_open_connection_stays_with_the_proxy_when_the_policy_is_applied_again, several_proxies_share_one_policy;
    iptables_legacy: forwarded_traffic_lands_in_the_proxy_with_both_addresses, local_traffic_lands_in_the_proxy_with_both_addresses, what_the_policy_leaves_alone_reaches_the_server, a_proxy_that_is_down_leaks_nothing, a_proxy_on_another_address_is_down_too, the_proxys_own_traffic_does_not_come_back_to_it, traffic_to_the_router_itself_is_not_captured, an_open_connection_stays_with_the_proxy_when_the_policy_is_applied_again, several_proxies_share_one_policy;
    iptables_nft: forwarded_traffic_lands_in_the_proxy_with_both_addresses, local_traffic_lands_in_the_proxy_with_both_addresses, what_the_policy_leaves_alone_reaches_the_server, a_proxy_that_is_down_leaks_nothing, a_proxy_on_another_address_is_down_too, the_proxys_own_traffic_does_not_come_back_to_it, traffic_to_the_router_itself_is_not_captured, an_open_connection_stays_with_the_proxy_when_the_policy_is_applied_again, several_proxies_share_one_policy;
    ebpf: forwarded_traffic_lands_in_the_proxy_with_both_addresses, local_traffic_lands_in_the_proxy_with_both_addresses, what_the_policy_leaves_alone_reaches_the_server, a_proxy_that_is_down_leaks_nothing, a_proxy_on_another_address_is_down_too, down_direct_goes_on_without_the_proxy, the_proxys_own_traffic_does_not_come_back_to_it, traffic_to_the_router_itself_is_not_captured, an_open_connection_stays_with_the_proxy_when_the_policy_is_applied_again, several_proxies_share_one_policy;
}

/// The proxy's own traffic to servers carries this mark.
const OWN: u32 = 0x100;

const GATEWAY: &str = "
proxy box {
  listen tcp, udp at 127.0.0.1:12345, [::1]:12345
  mark 0x1/0xff
  table 100
}
steer {
  direct when meta.mark == 0x100 as own-traffic
  proxy tcp/8080, udp/8080 from lan  via box as lan
  proxy tcp/8080, udp/8080 from host via box as own
}
to host   { allow icmp  default deny }
from lan  { default allow }
from host { default allow }
default deny
";

fn proxy(bench: &Bench, mode: Mode) -> TransparentProxy {
    TransparentProxy::start_on(bench.router(), "box", &loopback(12345), mode).expect("a proxy")
}

/// TCP and UDP over both families, by client.
fn attempts(client: &Client, bench: &Bench, port: u16) -> Vec<(Protocol, SocketAddr, Outcome)> {
    let mut out = Vec::new();
    for address in bench.server() {
        let to = SocketAddr::new(address, port);
        out.push((Protocol::Tcp, to, client.tcp(address, port)));
        out.push((Protocol::Udp, to, client.udp(address, port)));
    }
    out
}

fn forwarded_traffic_lands_in_the_proxy_with_both_addresses(target: &'static str) {
    let bench = Bench::on(target, GATEWAY);
    let _server = bench.serve("real", 8080);
    let proxy = proxy(&bench, Mode::Answer);
    for (protocol, to, outcome) in attempts(&bench.client(), &bench, 8080) {
        assert_eq!(
            outcome.answered_by(),
            Some("box"),
            "{protocol:?} to {to}: {outcome:?}\n{}",
            bench.ruleset()
        );
    }
    let seen = proxy.seen();
    assert_eq!(seen.len(), 4, "{seen:?}");
    let client = bench.topology.client().addresses();
    for (entry, address) in seen.iter().zip([0, 0, 1, 1]) {
        assert_eq!(
            entry.original_destination,
            SocketAddr::new(bench.server()[address], 8080)
        );
        assert_eq!(entry.source.ip(), client[address]);
    }
}

fn local_traffic_lands_in_the_proxy_with_both_addresses(target: &'static str) {
    let bench = Bench::on(target, GATEWAY);
    let _server = bench.serve("real", 8080);
    let proxy = proxy(&bench, Mode::Answer);
    let local = Client::new(bench.router());
    for (protocol, to, outcome) in attempts(&local, &bench, 8080) {
        assert_eq!(
            outcome.answered_by(),
            Some("box"),
            "{protocol:?} to {to}: {outcome:?}\n{}",
            bench.ruleset()
        );
    }
    let zone = bench.topology.server();
    for (entry, address) in proxy.seen().iter().zip([0, 0, 1, 1]) {
        assert_eq!(
            entry.original_destination,
            SocketAddr::new(bench.server()[address], 8080)
        );
        let router = [zone.router_v4, zone.router_v6][address];
        assert_eq!(entry.source.ip(), router);
    }
}

fn what_the_policy_leaves_alone_reaches_the_server(target: &'static str) {
    let bench = Bench::on(target, GATEWAY);
    let _server = bench.serve("real", 9090);
    let proxy = proxy(&bench, Mode::Answer);
    for (protocol, to, outcome) in attempts(&bench.client(), &bench, 9090) {
        assert_eq!(
            outcome.answered_by(),
            Some("real"),
            "{protocol:?} to {to}: {outcome:?}"
        );
    }
    assert_eq!(proxy.seen(), []);
}

fn a_proxy_that_is_down_leaks_nothing(target: &'static str) {
    let bench = Bench::on(target, GATEWAY);
    let _server = bench.serve("real", 8080);
    let local = Client::new(bench.router());
    for client in [bench.client(), local] {
        for (protocol, to, outcome) in attempts(&client, &bench, 8080) {
            assert!(!outcome.is_connected(), "{protocol:?} to {to}: {outcome:?}");
        }
    }
}

fn a_proxy_on_another_address_is_down_too(target: &'static str) {
    let bench = Bench::on(target, GATEWAY);
    let _server = bench.serve("real", 8080);
    let address = SocketAddr::new(bench.topology.client().router_v4, 12345);
    let _elsewhere =
        TransparentProxy::start_on(bench.router(), "elsewhere", &[address], Mode::Answer)
            .expect("a proxy");
    let outcome = bench.client().tcp(bench.server()[0], 8080);
    assert!(!outcome.is_connected(), "{outcome:?}");
}

fn down_direct_goes_on_without_the_proxy(target: &'static str) {
    let bench = Bench::on(
        target,
        "proxy box {
           listen tcp, udp at 127.0.0.1:12345, [::1]:12345
           mark 0x1/0xff  table 100  down direct
         }
         steer { proxy tcp/8080, udp/8080 from lan via box }
         from lan { default allow }
         default deny",
    );
    let _server = bench.serve("real", 8080);
    for (protocol, to, outcome) in attempts(&bench.client(), &bench, 8080) {
        assert_eq!(
            outcome.answered_by(),
            Some("real"),
            "{protocol:?} to {to}: {outcome:?}"
        );
    }
    let proxy = proxy(&bench, Mode::Answer);
    for (protocol, to, outcome) in attempts(&bench.client(), &bench, 8080) {
        assert_eq!(
            outcome.answered_by(),
            Some("box"),
            "{protocol:?} to {to}: {outcome:?}"
        );
    }
    // Flows that it had, too.
    let flow = bench.client().source_port(40_000);
    let answered = |address| flow.udp(address, 8080).answered_by().map(str::to_owned);
    let servers = bench.server();
    assert_eq!(
        servers.map(answered),
        [Some("box".into()), Some("box".into())]
    );
    drop(proxy);
    assert_eq!(
        servers.map(answered),
        [Some("real".into()), Some("real".into())]
    );
}

fn the_proxys_own_traffic_does_not_come_back_to_it(target: &'static str) {
    let bench = Bench::on(target, GATEWAY);
    let _server = bench.serve("real", 8080);
    let proxy = proxy(&bench, Mode::Forward { mark: Some(OWN) });
    for (protocol, to, outcome) in attempts(&bench.client(), &bench, 8080) {
        assert_eq!(
            outcome.answered_by(),
            Some("real"),
            "{protocol:?} to {to}: {outcome:?}\n{}",
            bench.ruleset()
        );
    }
    assert_eq!(
        proxy.seen().len(),
        4,
        "each went through the proxy once: {:?}",
        proxy.seen()
    );
}

fn traffic_to_the_router_itself_is_not_captured(target: &'static str) {
    let bench = Bench::on(
        target,
        "proxy box {
           listen tcp, udp at 127.0.0.1:12345, [::1]:12345
           mark 0x1/0xff  table 100
         }
         steer { proxy tcp, udp from lan via box }
         to host  { allow tcp/22  default deny }
         from lan { default allow }
         default deny",
    );
    let _ssh = EchoServer::start(bench.router(), "ssh", 22).expect("a server");
    let proxy = proxy(&bench, Mode::Answer);
    let zone = bench.topology.client();
    for address in [zone.router_v4, zone.router_v6] {
        let outcome = bench.client().tcp(address, 22);
        assert_eq!(outcome.answered_by(), Some("ssh"), "{outcome:?}");
        let outcome = bench.client().tcp(address, 12345);
        assert!(
            !outcome.is_connected(),
            "the proxy's port is not open to the network: {outcome:?}"
        );
    }
    assert_eq!(proxy.seen(), []);
}

fn an_open_connection_stays_with_the_proxy_when_the_policy_is_applied_again(target: &'static str) {
    let bench = Bench::on(target, GATEWAY);
    let _proxy = proxy(&bench, Mode::Answer);
    for address in bench.server() {
        let mut session = bench
            .client()
            .tcp_session(address, 8080)
            .expect("a connection");
        assert_eq!(session.exchange().answered_by(), Some("box"));
        bench.apply(&format!(
            "{GATEWAY}\n# the same, in a text of another hash\nset x = {{ 192.0.2.1 }}"
        ));
        assert_eq!(session.exchange().answered_by(), Some("box"));
    }
}

fn several_proxies_share_one_policy(target: &'static str) {
    let bench = Bench::on(
        target,
        "proxy one { listen tcp at 127.0.0.1:12345, [::1]:12345  mark 0x1/0xff  table 100 }
         proxy two { listen tcp at 127.0.0.1:12346, [::1]:12346  mark 0x2/0xff  table 101 }
         steer {
           proxy tcp/80 from lan via one
           proxy tcp/443 from lan via two
         }
         from lan { default allow }
         default deny",
    );
    let start = |name, port| {
        TransparentProxy::start_on(bench.router(), name, &loopback(port), Mode::Answer)
            .expect("a proxy")
    };
    let (_one, _two) = (start("one", 12345), start("two", 12346));
    for address in bench.server() {
        assert_eq!(bench.client().tcp(address, 80).answered_by(), Some("one"));
        assert_eq!(bench.client().tcp(address, 443).answered_by(), Some("two"));
    }
}
