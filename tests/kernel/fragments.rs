//! Fragmented datagrams.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use polc_runtime_loader::lab::{Namespace, Transport, Wire};

use crate::harness::{Bench, on_targets};
use crate::probe::{Ear, Ends, SENTINEL};

on_targets! {
    nftables: fragments_share_the_fate_of_their_datagram, a_fragment_without_its_first_goes_nowhere, options_behind_the_fragment_header_lose_no_fragments, fragments_are_translated_like_their_first;
    iptables_legacy: fragments_share_the_fate_of_their_datagram, a_fragment_without_its_first_goes_nowhere, options_behind_the_fragment_header_lose_no_fragments, fragments_are_translated_like_their_first;
    iptables_nft: fragments_share_the_fate_of_their_datagram, a_fragment_without_its_first_goes_nowhere, options_behind_the_fragment_header_lose_no_fragments, fragments_are_translated_like_their_first;
    ebpf: fragments_share_the_fate_of_their_datagram, a_fragment_without_its_first_goes_nowhere, options_behind_the_fragment_header_lose_no_fragments, fragments_are_translated_like_their_first, the_fragments_of_one_datagram_let_no_others_pass;
}

const POLICY: &str = "
from lan { allow udp/9  default deny }
from wan to lan { allow icmp/echo-request  default deny }
from host { allow udp/9  default deny }
default deny
";

/// A socket in a namespace, where reading ends soon.
fn socket(namespace: &Namespace, address: SocketAddr) -> UdpSocket {
    let socket = namespace.run(|| UdpSocket::bind(address));
    let socket = socket.expect("a namespace").expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_millis(700)))
        .expect("a timeout");
    socket
}

/// How many of the bytes of a datagram arrive, and how many of its answer's.
fn exchange(
    (near, from): (&Namespace, IpAddr),
    (far, to): (&Namespace, IpAddr),
    port: u16,
) -> [usize; 2] {
    let at = SocketAddr::new(to, port);
    exchange_at((near, from), (far, at), at)
}

/// As [`exchange`], to a server that is seen at another address than its own.
fn exchange_at(
    (near, from): (&Namespace, IpAddr),
    (far, own): (&Namespace, SocketAddr),
    to: SocketAddr,
) -> [usize; 2] {
    let server = socket(far, own);
    let client = socket(near, (from, 0).into());
    let sent: Vec<u8> = (0..=250).cycle().take(5000).collect();
    let mut buffer = vec![0; 65_536];
    client.send_to(&sent, to).expect("sent");
    let (length, who) = match server.recv_from(&mut buffer) {
        Ok(received) => received,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            return [0, 0];
        }
    };
    assert_eq!(buffer[..length], sent);
    server.send_to(&sent, who).expect("sent");
    let answered = client.recv(&mut buffer).unwrap_or(0);
    [length, answered]
}

fn fragments_are_translated_like_their_first(target: &'static str) {
    let bench = Bench::on(
        target,
        "steer { dnat udp/9 from lan to { 10.0.1.1, fd00:1::1 } => 10.0.2.2:9000, [fd00:2::2]:9000 }
         egress { masquerade from lan to wan }
         from lan to wan { allow udp/9000  default deny }
         default deny",
    );
    let (client, server) = (bench.topology.client(), bench.topology.server());
    let seen = [client.router_v4, client.router_v6];
    for (index, own) in server.addresses().into_iter().enumerate() {
        let from = client.addresses()[index];
        for round in 0..3 {
            let lengths = exchange_at(
                (&client.namespace, from),
                (&server.namespace, (own, 9000).into()),
                (seen[index], 9).into(),
            );
            assert_eq!(lengths, [5000, 5000], "{round}: {}", bench.ruleset());
        }
    }
}

fn fragments_share_the_fate_of_their_datagram(target: &'static str) {
    let bench = Bench::on(target, POLICY);
    let (client, server) = (bench.topology.client(), bench.topology.server());
    let router = bench.router();
    for (index, to) in server.addresses().into_iter().enumerate() {
        let own = client.addresses()[index];
        let lan = [client.router_v4, client.router_v6][index];
        let wan = [server.router_v4, server.router_v6][index];
        let lan_host = (&client.namespace, own);
        let wan_host = (&server.namespace, to);
        for (port, expected) in [(9, [5000, 5000]), (10, [0, 0])] {
            let through = exchange(lan_host, wan_host, port);
            assert_eq!(
                through,
                expected,
                "{own} to {to} port {port}: {}",
                bench.ruleset()
            );
            let inwards = exchange(lan_host, (router, lan), port);
            assert_eq!(inwards, expected, "{own} to {lan} port {port}");
        }
        assert_eq!(exchange((router, wan), wan_host, 9), [5000, 5000]);
    }
}

fn a_fragment_without_its_first_goes_nowhere(target: &'static str) {
    let bench = Bench::on(target, POLICY);
    let (client, server) = (bench.topology.client(), bench.topology.server());
    let near = Wire::open(&client.namespace, &client.interface).expect("a wire");
    let routers = [client.router_v4, client.router_v6];
    for ((from, to), own) in client
        .addresses()
        .into_iter()
        .zip(server.addresses())
        .zip(routers)
    {
        bench.client().ping(to);
        bench.client().udp(to, 9);
        let there = Ends::of(client, from, to);
        let text = format!("{}late", "x".repeat(2000));
        let denied = there.udp(4000, 10, &text).identification(7).fragments(1200);
        let alone = there.udp(4000, 9, &text).identification(8).fragments(1200);
        let mut ear = Ear::at(server);
        for frame in denied.iter().chain(&alone[1..]) {
            near.send(frame).expect("sent");
        }
        near.send(&there.udp(4000, 9, SENTINEL).build())
            .expect("sent");
        let found = ear.all();
        let of_it = |bytes: &&Vec<u8>| crate::probe::addresses(bytes) == Some((from, to));
        assert_eq!(found.iter().filter(of_it).count(), 0, "{}", bench.ruleset());

        let inwards = Ends::of(client, from, own);
        let mut ear = Ear::inside(bench.router(), from.is_ipv6(), 17);
        for (port, id, skipped) in [(10, 9, 0), (9, 10, 1)] {
            let datagram = inwards.udp(4000, port, &text).identification(id);
            for frame in &datagram.fragments(1200)[skipped..] {
                near.send(frame).expect("sent");
            }
        }
        near.send(&inwards.udp(4000, 9, SENTINEL).build())
            .expect("sent");
        assert_eq!(ear.all(), Vec::<Vec<u8>>::new(), "{}", bench.ruleset());
    }
}

/// No two datagrams have the same number, ends and protocol: fragments of one are known by these.
fn the_fragments_of_one_datagram_let_no_others_pass(target: &'static str) {
    let bench = Bench::on(target, POLICY);
    let (client, server) = (bench.topology.client(), bench.topology.server());
    let near = Wire::open(&client.namespace, &client.interface).expect("a wire");
    for (index, (from, to)) in client
        .addresses()
        .into_iter()
        .zip(server.addresses())
        .enumerate()
    {
        bench.client().ping(to);
        let other: IpAddr = ["10.0.1.9", "fd00:1::9"][index].parse().unwrap();
        let text = |mark: &str| format!("{}{mark}", "x".repeat(2000));
        let late = |from: IpAddr, id: u16, mark: &str| {
            let datagram = Ends::of(client, from, to).udp(4000, 9, &text(mark));
            datagram.identification(id).fragments(1200).remove(1)
        };
        let there = Ends::of(client, from, to);
        let first = there.udp(4000, 9, &text("same")).identification(20);
        let mut ear = Ear::at(server);
        near.send(&first.fragments(1200)[0]).expect("sent");
        for frame in [
            late(from, 21, "another-number"),
            late(other, 20, "another-source"),
            late(from, 20, "the-same"),
            there.udp(4000, 9, SENTINEL).build(),
        ] {
            near.send(&frame).expect("sent");
        }
        let marks = ["another-number", "another-source", "the-same"];
        assert_eq!(ear.hears(&marks), ["the-same"]);
    }
}

/// The first fragment alone shows which protocol is behind the options.
fn options_behind_the_fragment_header_lose_no_fragments(target: &'static str) {
    let bench = Bench::on(target, POLICY);
    let (client, server) = (bench.topology.client(), bench.topology.server());
    let near = Wire::open(&client.namespace, &client.interface).expect("a wire");
    for (to, mut ear) in [
        (server.v6, Ear::at(server)),
        (client.router_v6, Ear::inside(bench.router(), true, 17)),
    ] {
        let there = Ends::of(client, client.v6, to);
        near.send(&there.udp(4000, 9, "finds the way").build())
            .expect("sent");
        for (id, port, mark) in [(1, 10, "denied"), (2, 9, "allowed")] {
            let text = format!("{}{mark}", "x".repeat(2000));
            let plain = there.udp(4000, port, &text).build();
            let options = [&[17, 0, 1, 4, 0, 0, 0, 0], &plain[54..]].concat();
            let datagram = there
                .packet(Transport::Other(60), "")
                .payload(options)
                .identification(id);
            for frame in datagram.fragments(1200) {
                near.send(&frame).expect("sent");
            }
        }
        near.send(&there.udp(4000, 9, SENTINEL).build())
            .expect("sent");
        let heard = ear.hears(&["denied", "allowed"]);
        assert_eq!(heard, ["allowed"], "{to}: {}", bench.ruleset());
    }
}
