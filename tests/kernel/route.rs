//! Routing by other tables.

use polc_runtime_loader::lab::{Client, EchoServer, Topology};

use crate::harness::{Bench, on_targets};

on_targets! {
    nftables: flows_take_the_way_of_their_table, a_way_of_its_table_alone_is_enough;
    iptables_legacy: flows_take_the_way_of_their_table, a_way_of_its_table_alone_is_enough;
    iptables_nft: flows_take_the_way_of_their_table, a_way_of_its_table_alone_is_enough;
    ebpf: flows_take_the_way_of_their_table, a_way_of_its_table_alone_is_enough;
}

/// A server at the same address stands behind two interfaces: which of them answers tells the way.
fn flows_take_the_way_of_their_table(target: &'static str) {
    let topology = Topology::with_third_zone().expect("a topology");
    let bench = Bench::bare(topology).built_for(target);
    let router = bench.router();
    let both = ["198.51.100.7/32", "2001:db8:7::7/128"];
    let (server, third) = (bench.topology.server(), bench.topology.zone("third"));
    for (family, address) in both.into_iter().enumerate() {
        for (zone, name, table) in [(server, "wan0", "main"), (third, "dmz0", "200")] {
            zone.namespace
                .output("ip", &["address", "add", address, "dev", "lo"])
                .expect("an address");
            let via = zone.addresses()[family].to_string();
            let way = [
                "route", "add", address, "via", &via, "dev", name, "table", table,
            ];
            router.output("ip", &way).expect("a route");
        }
    }
    bench.apply(
        "steer {
           route tcp/81 from lan  via table 200 mark 0x200/0xff00 as forwarded
           route tcp/81 from host via table 200 mark 0x200/0xff00 and allow as own
         }
         from lan { default allow }
         from host { default allow }
         default deny",
    );
    let start = |zone: &polc_runtime_loader::lab::Zone, name: &str| {
        [80, 81].map(|port| EchoServer::start(&zone.namespace, name, port).expect("a server"))
    };
    let (_main, _other) = (start(server, "main"), start(third, "other"));
    for address in both {
        let (address, _) = address.split_once('/').expect("a prefix");
        let address = address.parse().expect("an address");
        for client in [bench.client(), Client::new(bench.router())] {
            assert_eq!(client.tcp(address, 80).answered_by(), Some("main"));
            let outcome = client.tcp(address, 81);
            assert_eq!(
                outcome.answered_by(),
                Some("other"),
                "{outcome:?}\n{}",
                bench.ruleset()
            );
        }
    }
}

/// The main table knows no way: only with its mark is it known that a packet is not for this host.
fn a_way_of_its_table_alone_is_enough(target: &'static str) {
    let bench = Bench::bare(Topology::with_third_zone().expect("a topology")).built_for(target);
    let third = bench.topology.zone("third");
    let both = ["198.51.100.7", "2001:db8:7::7"];
    for (family, address) in both.into_iter().enumerate() {
        third
            .namespace
            .output("ip", &["address", "add", address, "dev", "lo"])
            .expect("an address");
        let via = third.addresses()[family].to_string();
        let way = [
            "route", "add", address, "via", &via, "dev", "dmz0", "table", "200",
        ];
        bench.router().output("ip", &way).expect("a route");
    }
    bench.apply(
        "steer { route tcp from lan via table 200 mark 0x200/0xff00 }
         from lan to dmz { allow tcp }
         default deny",
    );
    let _other = EchoServer::start(&third.namespace, "other", 80).expect("a server");
    for address in both {
        let outcome = bench.client().tcp(address.parse().expect("an address"), 80);
        assert_eq!(
            outcome.answered_by(),
            Some("other"),
            "{outcome:?}\n{}",
            bench.ruleset()
        );
    }
}
