//! What a refused client is told.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use polc_runtime_loader::lab::{Client, Namespace, Outcome, Wire};

use crate::harness::{Bench, on_targets};
use crate::probe::{
    Ear, Ends, addresses, holds, packet_of, with_extensions, with_options, wrong_checksums,
};

on_targets! {
    nftables: every_kind_of_refusal_in_every_direction, nobody_answers_what_is_for_many, what_has_options_is_refused_like_the_rest;
    iptables_legacy: every_kind_of_refusal_in_every_direction, nobody_answers_what_is_for_many, what_has_options_is_refused_like_the_rest;
    iptables_nft: every_kind_of_refusal_in_every_direction, nobody_answers_what_is_for_many, what_has_options_is_refused_like_the_rest;
    ebpf: every_kind_of_refusal_in_every_direction, nobody_answers_what_is_for_many, what_has_options_is_refused_like_the_rest;
}

/// Type and code of an ICMP error.
type Told = (u8, u8);

/// How each kind is written, and the type and code of its ICMP errors.
const KINDS: [(&str, Told, Told); 4] = [
    ("port-unreachable", (3, 3), (1, 4)),
    ("host-unreachable", (3, 1), (1, 3)),
    ("admin-prohibited", (3, 13), (1, 1)),
    ("no-route", (3, 0), (1, 0)),
];

/// What a refused connection fails with.
fn tcp_outcome(kind: &str, v6: bool) -> Outcome {
    match (kind, v6) {
        ("port-unreachable", _) => Outcome::Refused,
        ("admin-prohibited", true) => Outcome::Prohibited,
        _ => Outcome::Unreachable,
    }
}

/// Rules for ports from 20 on: one of each kind, then the default and a reset.
fn rules() -> String {
    let kind = |(number, (kind, ..)): (usize, &(&str, _, _))| {
        let port = 20 + number;
        format!("reject tcp/{port}, udp/{port} with {kind}\n")
    };
    let kinds: String = KINDS.iter().enumerate().map(kind).collect();
    format!("{kinds} reject tcp/24, udp/24  reject tcp/25 with tcp-reset  default deny")
}

/// Sends a datagram with a known text.
fn send(namespace: &Namespace, to: IpAddr, port: u16) {
    let send = || {
        let any: IpAddr = if to.is_ipv4() {
            [0; 4].into()
        } else {
            [0; 16].into()
        };
        UdpSocket::bind((any, 4000))?.send_to(b"the quoted text", (to, port))
    };
    namespace.run(send).expect("a namespace").expect("sent");
}

/// The ICMP errors from an address among some frames: their types and codes.
fn errors(frames: &[Vec<u8>], v6: bool) -> Vec<Told> {
    let of = |frame: &Vec<u8>| {
        addresses(frame)?;
        let packet = packet_of(frame);
        let (version, protocol, header) = if v6 { (6, 6, 40) } else { (4, 9, 20) };
        if packet[0] >> 4 != version || ![1, 58].contains(&packet[protocol]) {
            return None;
        }
        let (kind, code) = (packet[header], packet[header + 1]);
        (!v6 || kind < 128).then_some((kind, code))
    };
    frames.iter().filter_map(of).collect()
}

fn every_kind_of_refusal_in_every_direction(target: &'static str) {
    let rules = rules();
    let bench = Bench::on(
        target,
        &format!(
            "from lan to wan {{ {rules} }}\nto host {{ {rules} }}\nfrom host {{ {rules} }}\ndefault deny"
        ),
    );
    let (client, server) = (bench.topology.client(), bench.topology.server());
    let router = bench.router();
    let wan = &*server.router_interface;
    // Answers to a host's own packets come in where those would have left.
    let own = |ns: &Namespace, name: &str| Ear::Wire(Wire::open(ns, name).expect("a wire"));
    for (index, to) in server.addresses().into_iter().enumerate() {
        let v6 = to.is_ipv6();
        let lan = [client.router_v4, client.router_v6][index];
        for (what, namespace, interface, to) in [
            ("through", &client.namespace, "eth0", to),
            ("to the host", &client.namespace, "eth0", lan),
            ("from the host", router, wan, to),
        ] {
            let speaker = Client::new(namespace).timeout(Duration::from_secs(3));
            // With nftables, the host hears of its own packets without any frame.
            let local = what == "from the host";
            for (number, (kind, four, six)) in (20..).zip(KINDS) {
                let mut ear = own(namespace, interface);
                if local && target != "ebpf" {
                    let outcome = speaker.udp(to, number);
                    assert!(
                        matches!(
                            outcome,
                            Outcome::Prohibited | Outcome::Refused | Outcome::Unreachable
                        ),
                        "{outcome:?}"
                    );
                } else {
                    send(namespace, to, number);
                    let heard = ear.for_a_while(Duration::from_millis(60));
                    let expected = if v6 { six } else { four };
                    assert_eq!(
                        errors(&heard, v6),
                        [expected],
                        "{what} {to} {kind}: {heard:x?}"
                    );
                    check(&heard, to);
                }
                let outcome = speaker.tcp(to, number);
                let mut expected = vec![tcp_outcome(kind, v6)];
                if local && target != "ebpf" {
                    expected.push(Outcome::TimedOut);
                    expected.push(Outcome::Prohibited);
                }
                assert!(
                    expected.contains(&outcome),
                    "{what} {to} {kind}: {outcome:?}"
                );
            }
            if !(local && target != "ebpf") {
                assert_eq!(speaker.udp(to, 24), Outcome::Refused, "{what} {to}");
            }
            for port in [24, 25] {
                let mut ear = own(namespace, interface);
                assert_eq!(speaker.tcp(to, port), Outcome::Refused, "{what} {to}");
                let heard = ear.for_a_while(Duration::from_millis(60));
                assert_eq!(errors(&heard, v6), [], "{what} {to}: a reset");
                if target == "ebpf" {
                    check(&heard, to);
                }
            }
        }
    }
}

/// The answers come from the address that was asked, or from the router, and are sound.
fn check(heard: &[Vec<u8>], to: IpAddr) {
    let mut seen = 0;
    for frame in heard {
        let Some((from, _)) = addresses(frame) else {
            continue;
        };
        let packet = packet_of(frame);
        let protocol = if from.is_ipv4() { packet[9] } else { packet[6] };
        if !holds(frame, "the quoted text") && from != to && protocol != 1 {
            continue;
        }
        seen += 1;
        assert_eq!(wrong_checksums(frame), None, "{frame:x?}");
    }
    assert!(seen > 0, "an answer from {to}: {heard:x?}");
}

/// RFC 1122, 3.2.2; RFC 4443, 2.4.
fn nobody_answers_what_is_for_many(target: &'static str) {
    let bench = Bench::on(target, "to host { reject udp, icmp  default deny }");
    let client = bench.topology.client();
    let near = Wire::open(&client.namespace, &client.interface).expect("a wire");
    let mut ear = Ear::at(client);
    for (from, to, mac) in [
        ("10.0.1.2", "10.0.1.255", "ff:ff:ff:ff:ff:ff"),
        ("10.0.1.2", "255.255.255.255", "ff:ff:ff:ff:ff:ff"),
        ("10.0.1.2", "224.0.0.1", "01:00:5e:00:00:01"),
        ("fd00:1::2", "ff02::1", "33:33:00:00:00:01"),
        // An address of one host in a frame for all.
        ("10.0.1.2", "10.0.1.1", "ff:ff:ff:ff:ff:ff"),
    ] {
        let ends = Ends::of(client, from.parse().unwrap(), to.parse().unwrap());
        let mut frame = ends.udp(4000, 20, "for many").build();
        for (byte, text) in frame.iter_mut().zip(mac.split(':')) {
            *byte = u8::from_str_radix(text, 16).expect("a byte");
        }
        near.send(&frame).expect("sent");
        let heard = ear.for_a_while(Duration::from_millis(100));
        for v6 in [false, true] {
            assert_eq!(errors(&heard, v6), [], "{to}: {heard:x?}");
        }
    }
    assert_eq!(bench.client().udp(client.router_v4, 20), Outcome::Refused);
}

fn what_has_options_is_refused_like_the_rest(target: &'static str) {
    let bench = Bench::on(
        target,
        "from lan { reject udp/20  allow icmp/echo-request  default deny }\ndefault deny",
    );
    let (client, server) = (bench.topology.client(), bench.topology.server());
    let near = Wire::open(&client.namespace, &client.interface).expect("a wire");
    let routers = [client.router_v4, client.router_v6];
    for (index, from) in client.addresses().into_iter().enumerate() {
        let v6 = from.is_ipv6();
        for to in [server.addresses()[index], routers[index]] {
            assert!(bench.client().ping(to));
            let plain = Ends::of(client, from, to).udp(4000, 20, "a text").build();
            let long = if v6 {
                with_extensions(&plain, 2)
            } else {
                with_options(&plain, &[1; 12])
            };
            for frame in [plain, long] {
                let mut ear = Ear::at(client);
                near.send(&frame).expect("sent");
                let heard = ear.for_a_while(Duration::from_millis(60));
                let expected = if v6 { (1, 4) } else { (3, 3) };
                assert_eq!(errors(&heard, v6), [expected], "{to}: {}", frame.len());
                let wrong: Vec<_> = heard.iter().filter_map(|f| wrong_checksums(f)).collect();
                assert_eq!(wrong, Vec::<String>::new());
            }
        }
    }
}
