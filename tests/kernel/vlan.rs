//! Tagged frames: they belong to the VLAN interface, whose rules judge them.

use std::net::IpAddr;

use polc_runtime_loader::lab::{Client, EchoServer, Namespace, Topology, Wire};

use crate::harness::{Bench, on_targets, possible};
use crate::probe::{Ear, Ends, SENTINEL};

on_targets! {
    nftables: a_priority_tag_hides_nothing, frames_of_no_vlan_go_nowhere;
    iptables_legacy: a_priority_tag_hides_nothing, frames_of_no_vlan_go_nowhere;
    iptables_nft: a_priority_tag_hides_nothing, frames_of_no_vlan_go_nowhere;
    ebpf: a_priority_tag_hides_nothing, frames_of_no_vlan_go_nowhere;
}

fn ip(namespace: &Namespace, line: &str) {
    let arguments: Vec<&str> = line.split(' ').collect();
    namespace.output("ip", &arguments).expect("done");
}

/// A VLAN interface on both ends of a link, with addresses that end in 1 and 2 in network `number`.
fn add_vlan(topology: &Topology, [below, above]: [&str; 2], host_below: &str, number: u16) {
    let client = &topology.client().namespace;
    for (namespace, lower, name, last) in [
        (&topology.router, below, above, 1),
        (client, host_below, &*format!("eth0.{number}"), 2),
    ] {
        ip(
            namespace,
            &format!("link add link {lower} name {name} type vlan id {number}"),
        );
        ip(namespace, &format!("link set {name} up"));
        ip(
            namespace,
            &format!("addr add 10.0.{number}.{last}/24 dev {name}"),
        );
        ip(
            namespace,
            &format!("addr add fd00:{number}::{last}/64 dev {name} nodad"),
        );
    }
}

fn addresses(number: u16, last: u16) -> [IpAddr; 2] {
    [
        format!("10.0.{number}.{last}").parse().unwrap(),
        format!("fd00:{number}::{last}").parse().unwrap(),
    ]
}

#[test]
#[ignore = "needs VLAN interfaces (8021q), which not every kernel has"]
fn a_vlan_is_a_zone_of_its_own_to_tables() {
    if possible() {
        a_vlan_is_a_zone_of_its_own("nftables");
    }
}

#[test]
#[ignore = "needs VLAN interfaces (8021q), which not every kernel has"]
fn a_vlan_is_a_zone_of_its_own_to_programs() {
    if possible() {
        a_vlan_is_a_zone_of_its_own("ebpf");
    }
}

fn a_vlan_is_a_zone_of_its_own(target: &'static str) {
    let topology = Topology::new().expect("a topology");
    add_vlan(&topology, ["lan0", "lan0.10"], "eth0", 10);
    add_vlan(&topology, ["lan0.10", "lan0.q"], "eth0.10", 20);
    let bench = Bench::bare(topology).built_for(target);
    bench.apply(
        "zone tagged = lan0.10
         zone twice = lan0.q
         from lan { deny tcp/80 as plain count  deny tcp/82 as plain-twice count  allow tcp/81  default deny }
         from tagged { allow tcp/80 as own count  deny tcp/81  deny tcp/82 as outer count  default deny }
         from twice { allow tcp/82 as inner count  default deny }
         from host to lan { deny tcp/90 as below count  default allow }
         from host to tagged { allow tcp/90 as above count  default deny }
         from wan to tagged { allow tcp/90 as through count  default deny }
         from wan to lan { deny tcp/90 as through-below count  default deny }
         default deny",
    );
    let client = &bench.topology.client().namespace;
    let mut servers: Vec<EchoServer> = Vec::new();
    for port in [80, 81, 82] {
        servers.push(bench.serve("wan", port));
        servers.push(EchoServer::start(bench.router(), "router", port).expect("a server"));
    }
    servers.push(EchoServer::start(client, "client", 90).expect("a server"));
    let fast = Client::new(client).timeout(std::time::Duration::from_millis(400));
    for (index, server) in bench.server().into_iter().enumerate() {
        let [one, two] = [10, 20].map(|number| addresses(number, 2)[index]);
        let zones = [
            (
                bench.topology.client().addresses()[index],
                bench.topology.client().router_v4,
                81,
            ),
            (one, addresses(10, 1)[0], 80),
            (two, addresses(20, 1)[0], 82),
        ];
        for (place, (own, gateway, open)) in zones.into_iter().enumerate() {
            let gateway = if own.is_ipv4() {
                gateway
            } else {
                [
                    bench.topology.client().router_v6,
                    addresses(10, 1)[1],
                    addresses(20, 1)[1],
                ][place]
            };
            // The host's route to the server goes by the network that it speaks from.
            let prefix = if server.is_ipv4() { 32 } else { 128 };
            ip(
                client,
                &format!("route replace {server}/{prefix} via {gateway} src {own}"),
            );
            for port in [80, 81, 82] {
                let outcome = fast.source(own).tcp(server, port);
                assert_eq!(
                    outcome.answered_by(),
                    (port == open).then_some("wan"),
                    "{own} to {port}: {outcome:?} {}",
                    bench.ruleset()
                );
                let outcome = fast.source(own).tcp(gateway, port);
                let answered = outcome.answered_by();
                assert_eq!(answered, (port == open).then_some("router"), "{own} {port}");
            }
        }
        let host = Client::new(bench.router());
        assert_eq!(host.tcp(one, 90).answered_by(), Some("client"));
        let outside = Client::new(&bench.topology.server().namespace);
        ip(
            client,
            &format!(
                "route replace {server}/{} via {}",
                if server.is_ipv4() { 32 } else { 128 },
                addresses(10, 1)[index]
            ),
        );
        assert_eq!(outside.tcp(one, 90).answered_by(), Some("client"));
    }
    for (rule, expected) in [
        ("own", 4),
        ("inner", 4),
        ("above", 2),
        ("through", 2),
        ("below", 0),
        ("through-below", 0),
    ] {
        assert_eq!(bench.packets(rule), expected, "{rule}");
    }
    // What the other zones tried themselves, and no frame of another zone besides.
    assert!(bench.packets("plain") > 0 && bench.packets("outer") > 0);
    drop(servers);
}

const POLICY: &str = "
to host { deny udp/10 as denied count  allow udp/9, icmp  default deny }
from lan to wan { deny udp/10  allow udp/9, icmp  default deny }
default deny
";

/// The kernel takes a tag with the number 0 for none.
fn a_priority_tag_hides_nothing(target: &'static str) {
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
        let inwards = Ends::of(client, from, own);
        let mut ear = Ear::inside(bench.router(), from.is_ipv6(), 17);
        for (port, tags, mark) in [
            (10, &[0][..], "denied"),
            (10, &[0, 0], "denied-twice"),
            (10, &[0, 0, 0, 0, 0], "denied-five-times"),
            (10, &[0, 10], "of-another"),
            (9, &[0], "allowed"),
        ] {
            let tagged = tags
                .iter()
                .fold(inwards.udp(4000, port, mark), |f, id| f.vlan(*id));
            near.send(&tagged.build()).expect("sent");
        }
        near.send(&inwards.udp(4000, 9, SENTINEL).build())
            .expect("sent");
        let marks = [
            "denied",
            "denied-twice",
            "denied-five-times",
            "of-another",
            "allowed",
        ];
        assert_eq!(ear.hears(&marks), ["allowed"], "{}", bench.ruleset());

        let there = Ends::of(client, from, to);
        let mut ear = Ear::at(server);
        for (port, mark) in [(10, "denied"), (9, "allowed")] {
            near.send(&there.udp(4000, port, mark).vlan(0).build())
                .expect("sent");
        }
        near.send(&there.udp(4000, 9, SENTINEL).build())
            .expect("sent");
        assert_eq!(ear.hears(&["denied", "allowed"]), ["allowed"]);
    }
    assert!(bench.packets("denied") >= 2, "{}", bench.ruleset());
}

/// No interface has their number: nobody judges them, and nobody takes them.
fn frames_of_no_vlan_go_nowhere(target: &'static str) {
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
        let tags = [&[30][..], &[30, 31], &[30, 0]];
        for (to, mut ear) in [
            (own, Ear::inside(bench.router(), from.is_ipv6(), 17)),
            (to, Ear::at(server)),
        ] {
            let ends = Ends::of(client, from, to);
            for tags in tags {
                let frame = ends.udp(4000, 9, "tagged");
                let frame = tags.iter().fold(frame, |f, id| f.vlan(*id));
                near.send(&frame.build()).expect("sent");
            }
            near.send(&ends.udp(4000, 9, SENTINEL).build())
                .expect("sent");
            assert!(ear.hears(&["tagged"]).is_empty(), "{}", bench.ruleset());
        }
    }
}
