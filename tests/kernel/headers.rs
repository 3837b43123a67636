//! Headers that are long, and packets that end in the middle of one.

use std::net::IpAddr;
use std::time::Duration;

use polc_runtime_loader::lab::{TcpFlags, Transport, Wire};

use crate::harness::{Bench, on_targets};
use crate::probe::{Ear, Ends, SENTINEL, addresses, with_extensions, with_options};

on_targets! {
    nftables: options_and_extension_headers_hide_nothing, nothing_of_a_cut_packet_is_allowed;
    iptables_legacy: options_and_extension_headers_hide_nothing, nothing_of_a_cut_packet_is_allowed;
    iptables_nft: options_and_extension_headers_hide_nothing, nothing_of_a_cut_packet_is_allowed;
    ebpf: options_and_extension_headers_hide_nothing, nothing_of_a_cut_packet_is_allowed;
}

/// Each case is judged to the router and through it.
const POLICY: &str = "
from lan { deny udp/10 as denied count  allow udp/9  allow tcp/9  default deny }
from host { default allow }
default deny
";

/// A frame with its headers made as long as its family lets them.
fn longer(frame: &[u8], v6: bool, by: usize) -> Vec<u8> {
    if v6 {
        with_extensions(frame, by)
    } else {
        // No operation.
        with_options(frame, &[1; 40][..(4 * by).min(40)])
    }
}

/// Where the packets of the host behind `lan0` go: the server, and the router, each with an ear.
fn destinations(bench: &Bench, from: IpAddr, protocol: u8) -> [(IpAddr, Ear); 2] {
    let (client, server) = (bench.topology.client(), bench.topology.server());
    let v6 = from.is_ipv6();
    let (to, own) = if v6 {
        (server.v6, client.router_v6)
    } else {
        (server.v4, client.router_v4)
    };
    // The sentinel has to find its way at once.
    bench
        .client()
        .timeout(Duration::from_millis(200))
        .udp(to, 9);
    [
        (to, Ear::at(server)),
        (own, Ear::inside(bench.router(), v6, protocol)),
    ]
}

fn options_and_extension_headers_hide_nothing(target: &'static str) {
    let bench = Bench::on(target, POLICY);
    let client = bench.topology.client();
    let near = Wire::open(&client.namespace, &client.interface).expect("a wire");
    for from in client.addresses() {
        for (to, mut ear) in destinations(&bench, from, 17) {
            let ends = Ends::of(client, from, to);
            let lengths = [1, 5, 10, 12];
            let marks = lengths.map(|by| format!("allowed-{by}-"));
            for (by, mark) in lengths.into_iter().zip(&marks) {
                for (port, text) in [(9, mark.as_str()), (10, "denied")] {
                    let plain = ends.udp(4000, port, text).build();
                    near.send(&longer(&plain, from.is_ipv6(), by))
                        .expect("sent");
                }
            }
            near.send(&ends.udp(4000, 9, SENTINEL).build())
                .expect("sent");
            let mut asked: Vec<&str> = marks.iter().map(String::as_str).collect();
            let expected = asked.clone();
            asked.push("denied");
            let heard = ear.hears(&asked);
            assert_eq!(heard, expected, "{to}: {}", bench.ruleset());
        }
    }
}

fn nothing_of_a_cut_packet_is_allowed(target: &'static str) {
    let bench = Bench::on(target, POLICY);
    let client = bench.topology.client();
    let near = Wire::open(&client.namespace, &client.interface).expect("a wire");
    let transports = [
        (
            17,
            Transport::Udp {
                source: 4000,
                destination: 10,
            },
        ),
        (
            6,
            Transport::Tcp {
                source: 4000,
                destination: 10,
                flags: TcpFlags::SYN,
            },
        ),
        (
            6,
            Transport::Tcp {
                source: 4000,
                destination: 9,
                flags: TcpFlags {
                    rst: true,
                    ..TcpFlags::default()
                },
            },
        ),
        (1, Transport::EchoRequest { id: 4 }),
        (1, Transport::Icmp { kind: 3, code: 3 }),
        (200, Transport::Other(200)),
    ];
    for from in client.addresses() {
        for (protocol, transport) in &transports {
            for (to, mut ear) in destinations(&bench, from, *protocol) {
                // The sentinel can be heard among its own kind alone.
                if matches!(ear, Ear::Host(_)) && ![6, 17].contains(protocol) {
                    continue;
                }
                let ends = Ends::of(client, from, to);
                for by in [0, 1, 3, 12] {
                    let whole = ends.packet(transport.clone(), "some payload");
                    let whole = longer(&whole.build(), from.is_ipv6(), by);
                    for cut in 15..=whole.len() {
                        near.send(&whole[..cut]).expect("sent");
                        if let Some(short) = short(&whole, cut) {
                            near.send(&short).expect("sent");
                        }
                    }
                }
                end(&near, &ends, *protocol);
                let found = ear.all();
                let ours = |bytes: &&Vec<u8>| {
                    matches!(ear, Ear::Host(_)) || addresses(bytes) == Some((from, to))
                };
                let found: Vec<_> = found.iter().filter(ours).collect();
                assert_eq!(found.len(), 0, "{transport:?} to {to}: {found:x?}");
            }
        }
    }
}

/// A packet that ends there, and says so.
fn short(whole: &[u8], cut: usize) -> Option<Vec<u8>> {
    let v6 = whole[12] == 0x86;
    let mut frame = whole.get(..cut)?.to_vec();
    if v6 {
        let length = u16::try_from(cut.checked_sub(54)?).ok()?;
        frame[18..20].copy_from_slice(&length.to_be_bytes());
        return Some(frame);
    }
    let header = 14 + usize::from(frame[14] & 0x0f) * 4;
    if cut < header {
        return None;
    }
    let total = u16::try_from(cut - 14).ok()?;
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    // The checksum of the header goes with it.
    Some(with_options(&frame, &[]))
}

/// The sentinel, of the protocol that is listened for.
fn end(near: &Wire, ends: &Ends, protocol: u8) {
    let transport = match protocol {
        6 => Transport::Tcp {
            source: 4001,
            destination: 9,
            flags: TcpFlags::SYN,
        },
        _ => Transport::Udp {
            source: 4001,
            destination: 9,
        },
    };
    near.send(&ends.packet(transport, SENTINEL).build())
        .expect("sent");
}
