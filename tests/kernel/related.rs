//! ICMP errors: those about a known flow belong to it, the others fit nothing.

use std::net::IpAddr;

use polc_runtime_loader::lab::{Client, Wire};

use crate::harness::{Bench, on_targets};
use crate::probe::{Ear, Ends, SENTINEL, with_extensions, with_options};

on_targets! {
    nftables: errors_about_a_flow_through_the_router_belong_to_it, errors_about_a_flow_of_the_host_belong_to_it, packet_too_big_passes_unless_the_policy_is_strict, what_errors_quote_is_read_behind_options;
    iptables_legacy: errors_about_a_flow_through_the_router_belong_to_it, errors_about_a_flow_of_the_host_belong_to_it, packet_too_big_passes_unless_the_policy_is_strict, what_errors_quote_is_read_behind_options;
    iptables_nft: errors_about_a_flow_through_the_router_belong_to_it, errors_about_a_flow_of_the_host_belong_to_it, packet_too_big_passes_unless_the_policy_is_strict, what_errors_quote_is_read_behind_options;
    ebpf: errors_about_a_flow_through_the_router_belong_to_it, errors_about_a_flow_of_the_host_belong_to_it, packet_too_big_passes_unless_the_policy_is_strict, what_errors_quote_is_read_behind_options;
}

const POLICY: &str = "
from lan to wan { allow udp/9  allow icmp/echo-request  default deny }
from wan to lan { allow icmp/echo-request  default deny }
from wan to host { allow icmp/echo-request  default deny }
from host to wan { allow udp/9  default deny }
default deny
";

/// Port unreachable, time exceeded and a wrong header.
fn errors(v6: bool) -> [(u8, u8); 3] {
    if v6 {
        [(1, 4), (3, 0), (4, 1)]
    } else {
        [(3, 3), (11, 0), (12, 0)]
    }
}

fn too_big(v6: bool) -> (u8, u8) {
    if v6 { (2, 0) } else { (3, 4) }
}

fn errors_about_a_flow_through_the_router_belong_to_it(target: &'static str) {
    let bench = Bench::on(target, POLICY);
    let (client, server) = (bench.topology.client(), bench.topology.server());
    let others: [IpAddr; 2] = ["10.0.1.9", "fd00:1::9"].map(|text| text.parse().unwrap());
    for other in others {
        client.add_address(other).expect("an address");
    }
    let near = Wire::open(&client.namespace, &client.interface).expect("a wire");
    let far = Wire::open(&server.namespace, &server.interface).expect("a wire");
    for (index, (from, to)) in client
        .addresses()
        .into_iter()
        .zip(server.addresses())
        .enumerate()
    {
        for own in [from, others[index]] {
            assert!(bench.client().source(own).ping(to), "neighbours are known");
        }
        let (there, back) = (Ends::of(client, from, to), Ends::of(server, to, from));
        let hop: IpAddr = ["10.0.2.77", "fd00:2::77"][index].parse().unwrap();
        let known = |text: &str| there.udp(4000, 9, text).build();
        let unknown = |text: &str| there.udp(4001, 9, text).build();
        let answer = |text: &str| back.udp(9, 4000, text).build();
        let [port, time, header] = errors(from.is_ipv6());

        let mut ear = Ear::at(client);
        near.send(&known("opens")).expect("sent");
        far.send(&back.error(port, &known("port"))).expect("sent");
        let distant = Ends::of(server, hop, from);
        for (kind, mark) in [(time, "time"), (header, "header")] {
            far.send(&distant.error(kind, &known(mark))).expect("sent");
        }
        far.send(&back.error(port, &unknown("of-nothing")))
            .expect("sent");
        let elsewhere = Ends::of(server, to, others[index]);
        far.send(&elsewhere.error(port, &known("to-another")))
            .expect("sent");
        far.send(&back.ping(SENTINEL)).expect("sent");
        let marks = ["port", "time", "header", "of-nothing", "to-another"];
        assert_eq!(
            ear.hears(&marks),
            ["port", "time", "header"],
            "{}",
            bench.ruleset()
        );

        // The client can have something to say about the answers.
        let mut ear = Ear::at(server);
        far.send(&answer("answers")).expect("sent");
        near.send(&there.error(port, &answer("closed")))
            .expect("sent");
        near.send(&there.error(port, &back.udp(9, 4001, "no-answer").build()))
            .expect("sent");
        near.send(&there.ping(SENTINEL)).expect("sent");
        assert_eq!(ear.hears(&["closed", "no-answer"]), ["closed"]);
    }
}

fn errors_about_a_flow_of_the_host_belong_to_it(target: &'static str) {
    let bench = Bench::on(target, POLICY);
    let server = bench.topology.server();
    let far = Wire::open(&server.namespace, &server.interface).expect("a wire");
    let _server = bench.serve("wan", 9);
    for (own, to) in [server.router_v4, server.router_v6]
        .into_iter()
        .zip(server.addresses())
    {
        let host = Client::new(bench.router()).source_port(4000);
        assert!(host.udp(to, 9).is_connected(), "{}", bench.ruleset());
        let back = Ends::of(server, to, own);
        let there = Ends {
            from: back.to,
            to: back.from,
        };
        let [port, time, header] = errors(own.is_ipv6());
        let mut ear = Ear::inside(bench.router(), own.is_ipv6(), 1);
        for (kind, source, mark) in [
            (port, 4000, "port"),
            (time, 4000, "time"),
            (header, 4000, "header"),
            (port, 4001, "of-nothing"),
        ] {
            let about = there.udp(source, 9, mark).build();
            far.send(&back.error(kind, &about)).expect("sent");
        }
        far.send(&back.ping(SENTINEL)).expect("sent");
        assert_eq!(
            ear.hears(&["port", "time", "header", "of-nothing"]),
            ["port", "time", "header"],
            "{}",
            bench.ruleset()
        );
    }
}

fn packet_too_big_passes_unless_the_policy_is_strict(target: &'static str) {
    for strict in [false, true] {
        // A strict policy has to admit neighbour discovery itself.
        let head = if strict {
            "strict icmp
             to host { allow icmp/{ neighbour-solicitation, neighbour-advertisement } only v6 }
             from host { allow icmp/{ neighbour-solicitation, neighbour-advertisement } only v6 }"
        } else {
            ""
        };
        let bench = Bench::on(target, &format!("{head}{POLICY}"));
        let (client, server) = (bench.topology.client(), bench.topology.server());
        let near = Wire::open(&client.namespace, &client.interface).expect("a wire");
        let far = Wire::open(&server.namespace, &server.interface).expect("a wire");
        let own = [server.router_v4, server.router_v6];
        for ((from, to), own) in client
            .addresses()
            .into_iter()
            .zip(server.addresses())
            .zip(own)
        {
            assert!(bench.client().ping(to), "{}", bench.ruleset());
            let kind = too_big(from.is_ipv6());
            let (there, back) = (Ends::of(client, from, to), Ends::of(server, to, from));
            near.send(&there.udp(4000, 9, "opens").build())
                .expect("sent");
            let mut ear = Ear::at(client);
            for (source, mark) in [(4000, "known"), (4001, "unknown")] {
                let about = there.udp(source, 9, mark).build();
                far.send(&back.error(kind, &about)).expect("sent");
            }
            far.send(&back.ping(SENTINEL)).expect("sent");
            let expected = if strict {
                &["known"][..]
            } else {
                &["known", "unknown"]
            };
            assert_eq!(ear.hears(&["known", "unknown"]), expected);

            let mut ear = Ear::inside(bench.router(), own.is_ipv6(), 1);
            let to_host = Ends::of(server, to, own);
            let about = Ends {
                from: to_host.to,
                to: to_host.from,
            };
            let about = about.udp(4001, 9, "unknown").build();
            far.send(&to_host.error(kind, &about)).expect("sent");
            far.send(&to_host.ping(SENTINEL)).expect("sent");
            assert_eq!(ear.hears(&["unknown"]).is_empty(), strict);
        }
    }
}

/// A router on the way quotes the packet with the options that it had.
fn what_errors_quote_is_read_behind_options(target: &'static str) {
    let bench = Bench::on(target, POLICY);
    let (client, server) = (bench.topology.client(), bench.topology.server());
    let near = Wire::open(&client.namespace, &client.interface).expect("a wire");
    let far = Wire::open(&server.namespace, &server.interface).expect("a wire");
    for (from, to) in client.addresses().into_iter().zip(server.addresses()) {
        assert!(bench.client().ping(to));
        let (there, back) = (Ends::of(client, from, to), Ends::of(server, to, from));
        let options = |frame: Vec<u8>| {
            if from.is_ipv4() {
                with_options(&frame, &[1; 8])
            } else {
                with_extensions(&frame, 2)
            }
        };
        let known = |text: &str| options(there.udp(4000, 9, text).build());
        near.send(&known("opens")).expect("sent");
        let mut ear = Ear::at(client);
        let [port, ..] = errors(from.is_ipv6());
        far.send(&back.error(port, &known("known"))).expect("sent");
        let unknown = options(there.udp(4001, 9, "of-nothing").build());
        far.send(&back.error(port, &unknown)).expect("sent");
        far.send(&back.ping(SENTINEL)).expect("sent");
        assert_eq!(
            ear.hears(&["known", "of-nothing"]),
            ["known"],
            "{from}: {}",
            bench.ruleset()
        );
    }
}
