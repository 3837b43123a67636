//! ICMP errors about packets that were translated: whoever has sent one finds in the error what it has sent.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use polc_runtime_loader::lab::{Mac, Namespace, Outcome, Topology, Transport, Wire, Zone};

use crate::harness::{Bench, on_targets};
use crate::probe::{Ear, Ends, SENTINEL, addresses, holds, packet_of, wrong_checksums};

on_targets! {
    nftables: a_closed_port_refuses, hops_on_the_way_are_found, the_largest_packet_of_the_way_is_learned, equal_identifiers_of_pings_are_told_apart;
    iptables_legacy: a_closed_port_refuses, hops_on_the_way_are_found, the_largest_packet_of_the_way_is_learned, equal_identifiers_of_pings_are_told_apart;
    iptables_nft: a_closed_port_refuses, hops_on_the_way_are_found, the_largest_packet_of_the_way_is_learned, equal_identifiers_of_pings_are_told_apart;
    ebpf: a_closed_port_refuses, hops_on_the_way_are_found, the_largest_packet_of_the_way_is_learned, equal_identifiers_of_pings_are_told_apart;
}

const POLICY: &str = "
set visible = { 10.0.1.1, fd00:1::1 }
steer { dnat tcp/8080, udp/8080 from lan to @visible => 10.0.9.2:80, [fd00:9::2]:80 }
egress { masquerade tcp, udp/{ 53, 80 }, icmp from lan to wan }
from lan to wan { allow tcp/80, udp/{ 53, 80 }, udp/7777, icmp/echo-request  default deny }
default deny
";

/// The same without a masquerade.
const PLAIN: &str = "
set visible = { 10.0.1.1, fd00:1::1 }
steer { dnat tcp/8080, udp/8080 from lan to @visible => 10.0.9.2:80, [fd00:9::2]:80 }
from lan to wan { allow tcp/80, udp/{ 53, 80 }, udp/7777, icmp/echo-request  default deny }
default deny
";

/// A host behind the server, which is the router of its network.
struct Behind {
    host: Namespace,
    addresses: [IpAddr; 2],
}

fn behind(bench: &Bench) -> Behind {
    let host = Namespace::new().expect("a namespace");
    let server = bench.topology.server();
    let hop = &server.namespace;
    hop.sysctl("net/ipv4/ip_forward", "1").expect("a setting");
    hop.sysctl("net/ipv6/conf/all/forwarding", "1")
        .expect("a setting");
    let macs = [Mac([2, 0, 0, 0, 9, 1]), Mac([2, 0, 0, 0, 9, 2])];
    hop.connect("eth1", macs[0], &host, "eth0", macs[1])
        .expect("a link");
    let [near, far]: [[IpAddr; 2]; 2] = [["10.0.9.1", "fd00:9::1"], ["10.0.9.2", "fd00:9::2"]]
        .map(|texts| texts.map(|text| text.parse().unwrap()));
    for index in [0, 1] {
        let (prefix, any) = [(24, "0.0.0.0"), (64, "::")][index];
        hop.add_address("eth1", near[index], prefix)
            .expect("an address");
        host.add_address("eth0", far[index], prefix)
            .expect("an address");
        host.add_route(any.parse().unwrap(), 0, near[index])
            .expect("a route");
        let network: IpAddr = ["10.0.9.0", "fd00:9::"][index].parse().unwrap();
        bench
            .router()
            .add_route(network, prefix, server.addresses()[index])
            .expect("a route");
    }
    Behind {
        host,
        addresses: far,
    }
}

fn bench_with_behind(target: &'static str, policy: &str) -> (Bench, Behind) {
    let bench = Bench::bare(Topology::new().expect("a topology")).built_for(target);
    let behind = behind(&bench);
    bench.apply(policy);
    (bench, behind)
}

/// The packet that an ICMP error quotes, by the kinds of errors of both families.
fn quoted(frame: &[u8]) -> Option<&[u8]> {
    let (from, _) = addresses(frame)?;
    let packet = packet_of(frame);
    let (protocol, message) = match from {
        IpAddr::V4(_) => (packet[9], &packet[usize::from(packet[0] & 0x0f) * 4..]),
        IpAddr::V6(_) => (packet[6], &packet[40..]),
    };
    let error = match protocol {
        1 => [3, 11, 12].contains(&message[0]),
        58 => message[0] < 128,
        _ => false,
    };
    error.then(|| &message[8..])
}

/// Asserts that an error quotes a packet as its sender has sent it, but for what hops change.
fn assert_quotes(error: &[u8], sent: &[u8], what: &str) {
    let quote = quoted(error).expect("an error");
    let sent = packet_of(sent);
    let mutable: &[usize] = match sent[0] >> 4 {
        // Time to live and checksum.
        4 => &[8, 10, 11],
        // Hop limit.
        _ => &[7],
    };
    let blank = |packet: &[u8]| {
        let mut packet = packet[..packet.len().min(sent.len()).min(100)].to_vec();
        for at in mutable {
            packet[*at] = 0;
        }
        packet
    };
    assert_eq!(
        blank(quote),
        blank(&sent[..quote.len().min(sent.len())]),
        "{what}"
    );
    assert_eq!(wrong_checksums(error), None, "{what}");
}

/// The error that the client gets about a packet.
fn error_about(bench: &Bench, client: &Zone, sent: &[u8], what: &str) -> Vec<u8> {
    let wire = Wire::open(&client.namespace, &client.interface).expect("a wire");
    let mut ear = Ear::at(client);
    wire.send(sent).expect("sent");
    let heard = ear.for_a_while(Duration::from_millis(300));
    let mut errors = heard.into_iter().filter(|frame| quoted(frame).is_some());
    let error = errors
        .next()
        .unwrap_or_else(|| panic!("{what}: no error\n{}", bench.ruleset()));
    assert_eq!(errors.next(), None, "{what}: one error");
    error
}

fn a_closed_port_refuses(target: &'static str) {
    for policy in [POLICY, PLAIN] {
        let (bench, behind) = bench_with_behind(target, policy);
        let client = bench.topology.client();
        let visible = [client.router_v4, client.router_v6];
        for index in [0, 1] {
            for (to, port) in [(behind.addresses[index], 80), (visible[index], 8080)] {
                let own = client.addresses()[index];
                let what = format!("{own} to {to}: {policy}");
                // The client's kernel finds the socket by what is quoted.
                assert_eq!(bench.client().udp(to, port), Outcome::Refused, "{what}");
                let frame = Ends::of(client, own, to).udp(4000, port, "closed").build();
                let error = error_about(&bench, client, &frame, &what);
                assert_eq!(addresses(&error), Some((to, own)), "{what}");
                assert_quotes(&error, &frame, &what);
            }
        }
    }
}

fn hops_on_the_way_are_found(target: &'static str) {
    for policy in [POLICY, PLAIN] {
        let (bench, behind) = bench_with_behind(target, policy);
        let client = bench.topology.client();
        let visible = [client.router_v4, client.router_v6];
        for index in [0, 1] {
            for (to, port) in [(behind.addresses[index], 80), (visible[index], 8080)] {
                let own = client.addresses()[index];
                // The server is the next hop behind the router, and then comes the host itself.
                for ttl in [2, 3] {
                    let what = format!("{ttl} hops from {own} to {to}: {policy}");
                    let source = 4000 + u16::from(ttl);
                    let frame = Ends::of(client, own, to).udp(source, port, "hops");
                    let frame = frame.ttl(ttl).build();
                    let error = error_about(&bench, client, &frame, &what);
                    assert_eq!(addresses(&error).map(|(_, to)| to), Some(own), "{what}");
                    assert_quotes(&error, &frame, &what);
                }
            }
        }
    }
}

fn the_largest_packet_of_the_way_is_learned(target: &'static str) {
    const LENGTH: usize = 300_000;
    for policy in [POLICY, PLAIN] {
        let (bench, behind) = bench_with_behind(target, policy);
        let server = bench.topology.server();
        let client = bench.topology.client();
        let visible = [client.router_v4, client.router_v6];
        for (index, address) in behind.addresses.into_iter().enumerate() {
            let (family, length) = [("-4", 32), ("-6", 128)][index];
            let host = format!("{address}/{length}");
            let line = [family, "route", "add", &host, "dev", "eth1", "mtu", "1300"];
            server.namespace.output("ip", &line).expect("a route");
            let listener = behind.host.run(|| TcpListener::bind((address, 80)));
            let listener = listener.expect("a namespace").expect("a listener");
            for to in [
                SocketAddr::new(address, 80),
                SocketAddr::new(visible[index], 8080),
            ] {
                let what = format!("{to}: {policy}");
                let mut ear = Ear::at(client);
                std::thread::scope(|scope| {
                    let sink = scope.spawn(|| {
                        let (mut stream, _) = listener.accept().expect("a connection");
                        let mut bytes = vec![0; LENGTH];
                        stream
                            .set_read_timeout(Some(Duration::from_secs(5)))
                            .expect("a setting");
                        stream.read_exact(&mut bytes).map(|()| bytes)
                    });
                    let connected = client
                        .namespace
                        .run(|| TcpStream::connect_timeout(&to, Duration::from_secs(3)));
                    let connected = connected.expect("a namespace");
                    let mut stream = connected.unwrap_or_else(|e| panic!("{what}: {e}"));
                    stream
                        .set_write_timeout(Some(Duration::from_secs(3)))
                        .expect("a setting");
                    let bytes: Vec<u8> = (0..=250).cycle().take(LENGTH).collect();
                    let written = stream.write_all(&bytes);
                    assert!(written.is_ok(), "{what}: {written:?}");
                    let got = sink.join().expect("it ends");
                    assert!(got.is_ok_and(|got| got == bytes), "{what}");
                });
                let heard = ear.for_a_while(Duration::from_millis(50));
                let errors: Vec<_> = heard.iter().filter_map(|f| Some((f, quoted(f)?))).collect();
                // The kernel remembers the size for the address, which is another one for each way.
                assert!(!errors.is_empty(), "{what}: something was too big");
                for (error, quote) in errors {
                    assert_eq!(wrong_checksums(error), None, "{what}");
                    let frame = [&[0; 12], &error[12..14], quote].concat();
                    let own = client.addresses()[index];
                    assert_eq!(addresses(&frame), Some((own, to.ip())), "{what}");
                }
            }
        }
    }
}

fn equal_identifiers_of_pings_are_told_apart(target: &'static str) {
    const ID: u16 = 4711;
    let bench = Bench::on(target, POLICY);
    let (client, server) = (bench.topology.client(), bench.topology.server());
    let others: [IpAddr; 2] = ["10.0.1.9", "fd00:1::9"].map(|text| text.parse().unwrap());
    for other in others {
        client.add_address(other).expect("an address");
    }
    let near = Wire::open(&client.namespace, &client.interface).expect("a wire");
    for (index, to) in server.addresses().into_iter().enumerate() {
        let owns = [client.addresses()[index], others[index]];
        for own in owns {
            // The neighbours are known then.
            assert!(bench.client().source(own).ping(to), "{}", bench.ruleset());
        }
        let (mut ear, mut far) = (Ear::at(client), Ear::at(server));
        let texts = ["from-one", "from-other"];
        for _ in 0..3 {
            for (own, text) in owns.into_iter().zip(texts) {
                let ends = Ends::of(client, own, to);
                let ping = ends.packet(Transport::EchoRequest { id: ID }, text);
                near.send(&ping.build()).expect("sent");
            }
        }
        near.send(&Ends::of(client, owns[0], to).ping(SENTINEL))
            .expect("sent");
        let heard = ear.all();
        for (own, text) in owns.into_iter().zip(texts) {
            let answers: Vec<_> = heard.iter().filter(|frame| holds(frame, text)).collect();
            assert_eq!(answers.len(), 3, "{own}: {}", bench.ruleset());
            for answer in answers {
                assert_eq!(addresses(answer), Some((to, own)));
                assert_eq!(wrong_checksums(answer), None);
                assert_eq!(identifier(answer), ID);
            }
        }
        let asked = far.all();
        let ids = texts.map(|text| {
            let mut of = asked.iter().filter(|frame| holds(frame, text));
            let first = identifier(of.next().expect("it arrived"));
            assert!(of.all(|frame| identifier(frame) == first), "one flow");
            first
        });
        assert_ne!(ids[0], ids[1]);
    }
}

/// The identifier of an echo message.
fn identifier(frame: &[u8]) -> u16 {
    let packet = packet_of(frame);
    let at = if packet[0] >> 4 == 4 { 20 } else { 40 };
    u16::from_be_bytes([packet[at + 4], packet[at + 5]])
}
