//! Source NAT.

use std::net::IpAddr;

use polc_runtime_loader::lab::{Client, Outcome};

use crate::harness::{Bench, on_targets};

on_targets! {
    nftables: masquerade_takes_the_outgoing_address, only_one_family_when_it_says_so, snat_takes_the_given_address_and_prefix, the_hosts_own_flows_and_forwarded_ones_are_told_apart;
    iptables_legacy: masquerade_takes_the_outgoing_address, only_one_family_when_it_says_so, snat_takes_the_given_address_and_prefix, the_hosts_own_flows_and_forwarded_ones_are_told_apart;
    iptables_nft: masquerade_takes_the_outgoing_address, only_one_family_when_it_says_so, snat_takes_the_given_address_and_prefix, the_hosts_own_flows_and_forwarded_ones_are_told_apart;
    ebpf: masquerade_takes_the_outgoing_address, only_one_family_when_it_says_so, snat_takes_the_given_address_and_prefix, the_hosts_own_flows_and_forwarded_ones_are_told_apart;
}

/// The address that the server saw.
fn seen(outcome: &Outcome, bench: &Bench) -> IpAddr {
    match outcome {
        Outcome::Connected(reply) => reply.peer.ip(),
        other => panic!("{other:?}\n{}", bench.ruleset()),
    }
}

fn masquerade_takes_the_outgoing_address(target: &'static str) {
    let bench = Bench::on(
        target,
        "egress { masquerade from lan to wan }
         from lan to wan { default allow }
         default deny",
    );
    let _server = bench.serve("wan", 80);
    let zone = bench.topology.server();
    for (server, router) in bench
        .server()
        .into_iter()
        .zip([zone.router_v4, zone.router_v6])
    {
        assert_eq!(seen(&bench.client().tcp(server, 80), &bench), router);
        assert_eq!(seen(&bench.client().udp(server, 80), &bench), router);
    }
}

fn only_one_family_when_it_says_so(target: &'static str) {
    let bench = Bench::on(
        target,
        "egress { masquerade from lan to wan only v4 }
         from lan to wan { default allow }
         default deny",
    );
    let _server = bench.serve("wan", 80);
    let [v4, v6] = bench.server();
    assert_eq!(
        seen(&bench.client().tcp(v4, 80), &bench),
        bench.topology.server().router_v4
    );
    assert_eq!(
        seen(&bench.client().tcp(v6, 80), &bench),
        bench.topology.client().v6
    );
}

fn snat_takes_the_given_address_and_prefix(target: &'static str) {
    let bench = Bench::on(
        target,
        "egress {
           snat from 10.0.1.0/24 to wan => 10.0.2.81
           snat from fd00:1::/64 to wan => net fd00:2:0:99::/64
         }
         from lan to wan { default allow }
         default deny",
    );
    let zone = bench.topology.server();
    bench
        .router()
        .add_address("wan0", "10.0.2.81".parse().unwrap(), 24)
        .expect("an address");
    let mapped: IpAddr = "fd00:2:0:99::2".parse().unwrap();
    zone.namespace
        .output(
            "ip",
            &["-6", "route", "add", "fd00:2:0:99::/64", "via", "fd00:2::1"],
        )
        .expect("a route");
    let _server = bench.serve("wan", 80);
    let [v4, v6] = bench.server();
    assert_eq!(
        seen(&bench.client().tcp(v4, 80), &bench),
        "10.0.2.81".parse::<IpAddr>().unwrap()
    );
    assert_eq!(seen(&bench.client().tcp(v6, 80), &bench), mapped);
}

fn the_hosts_own_flows_and_forwarded_ones_are_told_apart(target: &'static str) {
    let bench = Bench::on(
        target,
        "egress {
           snat from host to wan => 10.0.2.82, fd00:2::82
           masquerade from lan to wan
         }
         from lan to wan { default allow }
         from host { default allow }
         default deny",
    );
    for address in ["10.0.2.82", "fd00:2::82"] {
        let address: IpAddr = address.parse().unwrap();
        let prefix = if address.is_ipv4() { 24 } else { 64 };
        bench
            .router()
            .add_address("wan0", address, prefix)
            .expect("an address");
    }
    let _server = bench.serve("wan", 80);
    let zone = bench.topology.server();
    let own: [IpAddr; 2] = ["10.0.2.82".parse().unwrap(), "fd00:2::82".parse().unwrap()];
    let routers = [zone.router_v4, zone.router_v6];
    for (index, server) in bench.server().into_iter().enumerate() {
        let local = Client::new(bench.router());
        assert_eq!(seen(&local.tcp(server, 80), &bench), own[index]);
        // The new address may be preferred for masquerading, too: only the family is certain.
        let forwarded = seen(&bench.client().tcp(server, 80), &bench);
        assert_ne!(forwarded, bench.topology.client().addresses()[index]);
        assert!(forwarded == routers[index] || forwarded == own[index]);
    }
}
