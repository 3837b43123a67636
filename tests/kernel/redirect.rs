//! Redirects to ports of the host.

use std::net::SocketAddr;

use polc_runtime_loader::lab::{Client, EchoServer, Mode, Outcome, RedirectProxy};

use crate::harness::{Bench, on_targets};

on_targets! {
    nftables: the_proxy_learns_the_original_destination, the_port_itself_is_not_open, datagrams_are_redirected_and_answered, a_proxy_that_forwards_does_not_loop, a_closed_port_refuses_the_host;
    iptables_legacy: the_proxy_learns_the_original_destination, the_port_itself_is_not_open, datagrams_are_redirected_and_answered, a_proxy_that_forwards_does_not_loop, a_closed_port_refuses_the_host;
    iptables_nft: the_proxy_learns_the_original_destination, the_port_itself_is_not_open, datagrams_are_redirected_and_answered, a_proxy_that_forwards_does_not_loop, a_closed_port_refuses_the_host;
    ebpf: the_proxy_learns_the_original_destination, the_port_itself_is_not_open, datagrams_are_redirected_and_answered, a_proxy_that_forwards_does_not_loop, a_closed_port_refuses_the_host;
}

const REDIRECT: &str = "
steer {
  direct   when meta.mark == 0x100
  redirect tcp/80 from lan  => :15001 as lan
  redirect tcp/80 from host => :15001 as own
  redirect udp/53 from lan  => :15053 as dns
}
to host   { default deny }
from host { default allow }
from lan  { default deny }
default deny
";

fn the_proxy_learns_the_original_destination(target: &'static str) {
    let bench = Bench::on(target, REDIRECT);
    let _server = bench.serve("real", 80);
    let proxy = RedirectProxy::start(bench.router(), "box", 15001, Mode::Answer).expect("a proxy");
    let local = Client::new(bench.router());
    for address in bench.server() {
        for client in [bench.client(), local] {
            let outcome = client.tcp(address, 80);
            assert_eq!(
                outcome.answered_by(),
                Some("box"),
                "{outcome:?}\n{}",
                bench.ruleset()
            );
            let last = proxy.seen().pop().expect("it was seen");
            assert_eq!(last.original_destination, SocketAddr::new(address, 80));
        }
    }
    assert_eq!(proxy.seen().len(), 4);
}

fn the_port_itself_is_not_open(target: &'static str) {
    let bench = Bench::on(target, REDIRECT);
    let _proxy = RedirectProxy::start(bench.router(), "box", 15001, Mode::Answer).expect("a proxy");
    let zone = bench.topology.client();
    for address in [zone.router_v4, zone.router_v6] {
        let outcome = bench.client().tcp(address, 15001);
        assert!(!outcome.is_connected(), "{outcome:?}");
    }
}

fn datagrams_are_redirected_and_answered(target: &'static str) {
    let bench = Bench::on(target, REDIRECT);
    let _resolver = EchoServer::start(bench.router(), "resolver", 15053).expect("a server");
    for address in bench.server() {
        let outcome = bench.client().udp(address, 53);
        assert_eq!(outcome.answered_by(), Some("resolver"), "{outcome:?}");
    }
}

fn a_proxy_that_forwards_does_not_loop(target: &'static str) {
    let bench = Bench::on(target, REDIRECT);
    let _server = bench.serve("real", 80);
    let mode = Mode::Forward { mark: Some(0x100) };
    let proxy = RedirectProxy::start(bench.router(), "box", 15001, mode).expect("a proxy");
    for address in bench.server() {
        let outcome = bench.client().tcp(address, 80);
        assert_eq!(
            outcome.answered_by(),
            Some("real"),
            "{outcome:?}\n{}",
            bench.ruleset()
        );
    }
    assert_eq!(proxy.seen().len(), 2);
}

/// What the port's refusal quotes is translated for its sender alone.
fn a_closed_port_refuses_the_host(target: &'static str) {
    let bench = Bench::on(
        target,
        "steer { redirect tcp/80, udp/80 from host => :15002 }
         default deny",
    );
    let host = Client::new(bench.router());
    for server in bench.server() {
        for outcome in [host.tcp(server, 80), host.udp(server, 80)] {
            assert_eq!(outcome, Outcome::Refused, "{server}\n{}", bench.ruleset());
        }
    }
}
