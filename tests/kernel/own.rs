//! What the router sends to itself, where rules name `lo`.

use std::net::IpAddr;

use polc_runtime_loader::lab::{
    Client, EchoServer, Mode, Outcome, RedirectProxy, TransparentProxy,
};

use crate::harness::{Bench, loopback, on_targets};

on_targets! {
    nftables: what_steer_admits_comes_in_by_loopback, a_flow_is_judged_as_it_comes_in_until_somebody_answers, rejects_are_answered_by_loopback;
    iptables_legacy: what_steer_admits_comes_in_by_loopback, a_flow_is_judged_as_it_comes_in_until_somebody_answers, rejects_are_answered_by_loopback;
    iptables_nft: what_steer_admits_comes_in_by_loopback, a_flow_is_judged_as_it_comes_in_until_somebody_answers, rejects_are_answered_by_loopback;
    ebpf: what_steer_admits_comes_in_by_loopback, a_flow_is_judged_as_it_comes_in_until_somebody_answers, rejects_are_answered_by_loopback;
}

/// The router's own addresses.
fn own(bench: &Bench) -> [IpAddr; 2] {
    let zone = bench.topology.client();
    [zone.router_v4, zone.router_v6]
}

fn what_steer_admits_comes_in_by_loopback(target: &'static str) {
    let bench = Bench::on(
        target,
        "proxy box {
           listen tcp, udp at 127.0.0.1:12345, [::1]:12345
           mark 0x1/0xff
           table 100
         }
         steer {
           redirect tcp/80 from host => :15001
           proxy tcp/8080, udp/8080 from host via box
         }
         to host in lo { allow tcp/81, udp/81  deny tcp, udp }
         default deny",
    );
    let _redirect =
        RedirectProxy::start(bench.router(), "redirect", 15001, Mode::Answer).expect("a proxy");
    let _proxy = TransparentProxy::start_on(bench.router(), "box", &loopback(12345), Mode::Answer)
        .expect("a proxy");
    let _allowed = EchoServer::start(bench.router(), "own", 81).expect("a server");
    let _denied = EchoServer::start(bench.router(), "own", 82).expect("a server");
    let local = Client::new(bench.router());
    for server in bench.server() {
        for (outcome, name) in [
            (local.tcp(server, 80), "redirect"),
            (local.tcp(server, 8080), "box"),
            (local.udp(server, 8080), "box"),
        ] {
            assert_eq!(
                outcome.answered_by(),
                Some(name),
                "{server}: {outcome:?}\n{}",
                bench.ruleset()
            );
        }
    }
    for router in own(&bench) {
        assert!(local.tcp(router, 81).is_connected(), "{}", bench.ruleset());
        assert!(local.udp(router, 81).is_connected());
        assert_eq!(local.tcp(router, 82), Outcome::TimedOut);
        assert_eq!(local.udp(router, 82), Outcome::TimedOut);
    }
}

fn a_flow_is_judged_as_it_comes_in_until_somebody_answers(target: &'static str) {
    let policy = "from host out lo { allow tcp, udp }
                  to host in lo { allow tcp/80, udp/80 }
                  default deny";
    let bench = Bench::on(target, policy);
    let _server = EchoServer::start(bench.router(), "own", 80).expect("a server");
    let local = Client::new(bench.router());
    for router in own(&bench) {
        let mut session = local.tcp_session(router, 80).expect("a connection");
        assert!(session.exchange().is_connected());
        bench.apply(&policy.replace("to host in lo { allow", "to host in lo { deny"));
        assert!(session.exchange().is_connected(), "{}", bench.ruleset());
        assert_eq!(local.tcp(router, 80), Outcome::TimedOut);
        assert_eq!(local.udp(router, 80), Outcome::TimedOut);
        bench.apply(policy);
        assert!(local.udp(router, 80).is_connected());
    }
}

fn rejects_are_answered_by_loopback(target: &'static str) {
    let bench = Bench::on(
        target,
        "to host in lo { reject tcp/80, udp/80 }
         from host out lo { reject tcp/81, udp/81 }
         default deny",
    );
    let servers: Vec<EchoServer> = [80, 81]
        .map(|port| EchoServer::start(bench.router(), "own", port).expect("a server"))
        .into();
    let local = Client::new(bench.router());
    for router in own(&bench) {
        assert_eq!(local.tcp(router, 80), Outcome::Refused);
        assert_eq!(local.udp(router, 80), Outcome::Refused);
        // Some kernels tell whoever sends, and send no answer.
        let told = [Outcome::Refused, Outcome::Prohibited];
        assert!(told.contains(&local.tcp(router, 81)));
        assert!(told.contains(&local.udp(router, 81)));
    }
    drop(servers);
}
