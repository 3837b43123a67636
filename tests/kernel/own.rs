//! What the router sends to itself, where rules name `lo`.

use std::net::{IpAddr, SocketAddr};

use polc_runtime_loader::lab::{
    Client, EchoServer, FrameBuilder, Mode, Outcome, RedirectProxy, TcpFlags, TransparentProxy,
    Transport,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::harness::{Bench, loopback, on_targets};
use crate::probe::{Ear, SENTINEL, packet_of};

/// The protocol of sockets that send packets as they are.
const WHOLE: i32 = 255;

on_targets! {
    nftables: what_steer_admits_comes_in_by_loopback, a_flow_is_judged_as_it_comes_in_until_somebody_answers, rejects_are_answered_by_loopback, what_steer_admits_by_loopback_begins_with_a_syn;
    iptables_legacy: what_steer_admits_comes_in_by_loopback, a_flow_is_judged_as_it_comes_in_until_somebody_answers, rejects_are_answered_by_loopback, what_steer_admits_by_loopback_begins_with_a_syn;
    iptables_nft: what_steer_admits_comes_in_by_loopback, a_flow_is_judged_as_it_comes_in_until_somebody_answers, rejects_are_answered_by_loopback, what_steer_admits_by_loopback_begins_with_a_syn;
    ebpf: what_steer_admits_comes_in_by_loopback, a_flow_is_judged_as_it_comes_in_until_somebody_answers, rejects_are_answered_by_loopback, what_steer_admits_by_loopback_begins_with_a_syn;
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

/// Filter is not asked about loopback traffic, nor is what this host sends governed.
fn what_steer_admits_by_loopback_begins_with_a_syn(target: &'static str) {
    let bench = Bench::on(
        target,
        "strict tcp
         steer { redirect tcp/80 from host out lo only v4 => :8080 }
         to host { default allow }",
    );
    let [own, _] = own(&bench);
    let zone = bench.topology.client();
    let mut ear = Ear::inside(bench.router(), false, 6);
    let send = |flags: TcpFlags, source: u16, destination: u16, text: &str| {
        let transport = Transport::Tcp {
            source,
            destination,
            flags,
        };
        let ends = (zone.router_mac, own);
        let frame = FrameBuilder::new(ends, ends, transport)
            .payload(text)
            .build();
        let raw = || {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(WHOLE)))?;
            socket.send_to(packet_of(&frame), &SocketAddr::new(own, 0).into())
        };
        let sent = bench.router().run(raw).expect("a namespace");
        if flags == TcpFlags::SYN {
            sent.expect("it was sent");
        }
    };
    send(TcpFlags::ACK, 4000, 80, "taken");
    send(TcpFlags::ACK, 4001, 81, "left");
    send(TcpFlags::SYN, 4002, 80, SENTINEL);
    let heard = ear.hears(&["taken", "left"]);
    assert_eq!(heard, ["left"], "{}", bench.ruleset());
}
