//! A client that reaches a server of its own network by the address that others use.

use std::net::IpAddr;

use polc_runtime_loader::lab::{EchoServer, Outcome, Topology};

use crate::harness::{Bench, on_targets};

on_targets! {
    nftables: a_neighbour_is_reached_by_the_public_address;
    iptables_legacy: a_neighbour_is_reached_by_the_public_address;
    iptables_nft: a_neighbour_is_reached_by_the_public_address;
    ebpf: a_neighbour_is_reached_by_the_public_address;
}

const POLICY: &str = "
set public = { 10.0.2.1, fd00:2::1 }
steer { dnat tcp/8080, udp/8080 to @public => 10.0.1.9:80, [fd00:1::9]:80 }
egress { masquerade from lan to lan }
from lan to lan { allow tcp/80, udp/80  default deny }
from wan to lan { allow tcp/80, udp/80  default deny }
default deny
";

fn a_neighbour_is_reached_by_the_public_address(target: &'static str) {
    let bench = Bench::bare(Topology::new().expect("a topology")).built_for(target);
    let (client, server) = (bench.topology.client(), bench.topology.server());
    let neighbours: [IpAddr; 2] = ["10.0.1.9", "fd00:1::9"].map(|text| text.parse().unwrap());
    for neighbour in neighbours {
        client.add_address(neighbour).expect("an address");
    }
    bench.apply(POLICY);
    let _server = EchoServer::start(&client.namespace, "neighbour", 80).expect("a server");
    let own = [client.router_v4, client.router_v6];
    for (index, public) in [server.router_v4, server.router_v6].into_iter().enumerate() {
        let from = client.addresses()[index];
        let near = bench.client().source(from);
        for outcome in [near.tcp(public, 8080), near.udp(public, 8080)] {
            let Outcome::Connected(reply) = &outcome else {
                panic!("{outcome:?}\n{}", bench.ruleset())
            };
            // Without another source the answer would not come by the router.
            assert_eq!(reply.peer.ip(), own[index]);
            assert_eq!(reply.local.ip(), neighbours[index]);
        }
        let outside = polc_runtime_loader::lab::Client::new(&server.namespace);
        for outcome in [outside.tcp(public, 8080), outside.udp(public, 8080)] {
            let Outcome::Connected(reply) = &outcome else {
                panic!("{outcome:?}\n{}", bench.ruleset())
            };
            assert_eq!(reply.peer.ip(), server.addresses()[index]);
        }
        // The server's own port is not published.
        let outcome = outside.tcp(neighbours[index], 81);
        assert!(!outcome.is_connected(), "{outcome:?}");
    }
}
