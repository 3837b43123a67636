//! Rates, exact to the token.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use polc_runtime_loader::lab::{EchoServer, FrameBuilder, Outcome, TcpFlags, Transport, Wire};

use crate::harness::{Bench, on_targets};

on_targets! {
    nftables: a_source_gets_exactly_its_burst, one_bucket_for_all_is_one_bucket, over_takes_what_within_leaves, a_full_table_counts_as_over, live_flows_are_limited, a_limit_without_live_flows_holds_always, a_flow_that_ends_makes_room, networks_are_limited, a_full_table_of_live_flows_counts_as_over, who_opens_a_flow_cannot_reset_it_away, the_second_datagram_of_a_flow_costs_nothing, offenders_are_remembered;
    iptables_legacy: a_source_gets_exactly_its_burst, over_takes_what_within_leaves, live_flows_are_limited, a_limit_without_live_flows_holds_always, a_flow_that_ends_makes_room, networks_are_limited, who_opens_a_flow_cannot_reset_it_away, the_second_datagram_of_a_flow_costs_nothing, offenders_are_remembered;
    iptables_nft: a_source_gets_exactly_its_burst, over_takes_what_within_leaves, live_flows_are_limited, a_limit_without_live_flows_holds_always, a_flow_that_ends_makes_room, networks_are_limited, who_opens_a_flow_cannot_reset_it_away, the_second_datagram_of_a_flow_costs_nothing, offenders_are_remembered;
    ebpf: a_source_gets_exactly_its_burst, one_bucket_for_all_is_one_bucket, over_takes_what_within_leaves, a_full_table_counts_as_over, live_flows_are_limited, a_limit_without_live_flows_holds_always, a_flow_that_ends_makes_room, networks_are_limited, a_full_table_of_live_flows_counts_as_over, who_opens_a_flow_cannot_reset_it_away, the_second_datagram_of_a_flow_costs_nothing, offenders_are_remembered;
}

fn a_source_gets_exactly_its_burst(target: &'static str) {
    let bench = Bench::on(
        target,
        "from lan to wan {
           allow tcp/80 within 1/h burst 7 per source
           default reject
         }
         default deny",
    );
    let _server = bench.serve("wan", 80);
    let client = bench.topology.client();
    let others = ["10.0.1.9".parse().unwrap(), "fd00:1::9".parse().unwrap()];
    for other in others {
        client.add_address(other).expect("an address");
    }
    for (index, server) in bench.server().into_iter().enumerate() {
        let own = bench.client().source(client.addresses()[index]);
        let burst = own.tcp_burst(server, 80, 50);
        assert_eq!((burst.sent, burst.passed), (50, 7), "{}", bench.ruleset());
        let other = bench.client().source(others[index]);
        assert_eq!(
            other.tcp_burst(server, 80, 50).passed,
            7,
            "another source has its own bucket"
        );
    }
}

fn one_bucket_for_all_is_one_bucket(target: &'static str) {
    let bench = Bench::on(
        target,
        "bucket new = 1/h burst 9
         from lan to wan {
           allow tcp/80 within new
           allow tcp/81 within new
           default reject
         }
         default deny",
    );
    let servers: Vec<EchoServer> = [80, 81].map(|port| bench.serve("wan", port)).into();
    let [v4, v6] = bench.server();
    let passed = bench.client().tcp_burst(v4, 80, 4).passed
        + bench.client().tcp_burst(v6, 81, 3).passed
        + bench.client().tcp_burst(v4, 81, 50).passed;
    assert_eq!(
        passed,
        9,
        "both families and both rules share it\n{}",
        bench.ruleset()
    );
    drop(servers);
}

fn over_takes_what_within_leaves(target: &'static str) {
    let bench = Bench::on(
        target,
        "from lan to wan {
           reject tcp/80 over 1/h burst 6 per source as flood count
           allow tcp/80
           default deny
         }
         default deny",
    );
    let _server = bench.serve("wan", 80);
    for server in bench.server() {
        let burst = bench.client().tcp_burst(server, 80, 50);
        assert_eq!(burst.passed, 6, "{}", bench.ruleset());
    }
    assert_eq!(bench.packets("flood"), 88);
}

fn a_full_table_counts_as_over(target: &'static str) {
    let policy = |full: &str| {
        format!(
            "bucket one = 1/h burst 5 per source max 1 idle 10min full {full}
             from lan to wan {{ reject tcp/80 over one  allow tcp/80  default deny }}
             default deny"
        )
    };
    let client_extra = "10.0.1.9".parse().unwrap();
    for (full, passes) in [("over", false), ("within", true)] {
        let bench = Bench::on(target, &policy(full));
        let _server = bench.serve("wan", 80);
        bench
            .topology
            .client()
            .add_address(client_extra)
            .expect("an address");
        let server = bench.server()[0];
        assert!(
            bench
                .client()
                .source(bench.topology.client().v4)
                .tcp(server, 80)
                .is_connected()
        );
        let second = bench.client().source(client_extra).tcp(server, 80);
        assert_eq!(
            second.is_connected(),
            passes,
            "full {full}: {second:?}\n{}",
            bench.ruleset()
        );
    }
}

fn live_flows_are_limited(target: &'static str) {
    let bench = Bench::on(
        target,
        "from lan to wan { allow tcp/80 within 3 flows per source  default reject }
         default deny",
    );
    let _server = bench.serve("wan", 80);
    for server in bench.server() {
        let mut open: Vec<_> = (0..3)
            .map(|_| {
                bench
                    .client()
                    .tcp_session(server, 80)
                    .expect("a connection")
            })
            .collect();
        let refused = bench.client().tcp(server, 80);
        assert_eq!(refused, Outcome::Refused, "{}", bench.ruleset());
        assert!(
            open.iter_mut()
                .all(|session| session.exchange().is_connected())
        );
    }
}

/// The kernel collects counters of no live flow once a second.
fn a_limit_without_live_flows_holds_always(target: &'static str) {
    let bench = Bench::on(
        target,
        "from lan to wan {
           deny udp/80 within 3 flows
           default allow
         }
         default deny",
    );
    let _server = bench.serve("wan", 80);
    let gap = Duration::from_millis(5);
    let burst = bench.client().udp_burst(bench.server()[0], 80, 600, gap);
    assert_eq!((burst.sent, burst.passed), (600, 0), "{}", bench.ruleset());
}

fn a_flow_that_ends_makes_room(target: &'static str) {
    let bench = Bench::on(
        target,
        "from lan to wan { allow tcp/80 within 3 flows per source  default reject }
         default deny",
    );
    let _server = bench.serve("wan", 80);
    for server in bench.server() {
        let open = || bench.client().tcp_session(server, 80);
        let mut sessions: VecDeque<_> = (0..3).map(|_| open().expect("a connection")).collect();
        for _ in 0..4 {
            assert!(open().is_err(), "{}", bench.ruleset());
            drop(sessions.pop_front());
            let closed = Instant::now();
            let session = loop {
                match open() {
                    Ok(session) => break session,
                    Err(_) => assert!(closed.elapsed() < Duration::from_secs(5), "no room"),
                }
                std::thread::sleep(Duration::from_millis(50));
            };
            sessions.push_back(session);
        }
        let mut live = sessions.iter_mut();
        assert!(live.all(|session| session.exchange().is_connected()));
    }
}

fn networks_are_limited(target: &'static str) {
    let bench = Bench::on(
        target,
        "from lan to wan { allow tcp/80 within 2 flows per source/25,/120  default reject }
         default deny",
    );
    let _server = bench.serve("wan", 80);
    let client = bench.topology.client();
    let near = ["10.0.1.9".parse().unwrap(), "fd00:1::9".parse().unwrap()];
    let far = [
        "10.0.1.200".parse().unwrap(),
        "fd00:1::200".parse().unwrap(),
    ];
    for other in near.into_iter().chain(far) {
        client.add_address(other).expect("an address");
    }
    for (index, server) in bench.server().into_iter().enumerate() {
        let from = |source| bench.client().source(source).tcp_session(server, 80);
        let own = client.addresses()[index];
        let _first = from(own).expect("the first of the network");
        let _second = from(near[index]).expect("the second of the network");
        assert!(from(own).is_err(), "{}", bench.ruleset());
        assert!(from(near[index]).is_err());
        let _other = from(far[index]).expect("the first of another network");
    }
}

fn a_full_table_of_live_flows_counts_as_over(target: &'static str) {
    let other = "10.0.1.9".parse().unwrap();
    for (full, passes) in [("over", false), ("within", true)] {
        let bench = Bench::on(
            target,
            &format!(
                "bucket one = 2 flows per source max 1 full {full}
                 from lan to wan {{ reject tcp/80 over one  allow tcp/80  default deny }}
                 default deny"
            ),
        );
        let _server = bench.serve("wan", 80);
        let client = bench.topology.client();
        client.add_address(other).expect("an address");
        let server = bench.server()[0];
        let from = |source| bench.client().source(source).tcp_session(server, 80);
        let _first = from(client.v4).expect("the first");
        let second = from(other);
        assert_eq!(second.is_ok(), passes, "full {full}\n{}", bench.ruleset());
        let _third = from(client.v4).expect("the second of the first source");
        assert!(from(client.v4).is_err(), "full {full}");
    }
}

fn who_opens_a_flow_cannot_reset_it_away(target: &'static str) {
    let bench = Bench::on(
        target,
        "from lan to wan { allow tcp/80, tcp/81 within 1 flows per source  default reject }
         default deny",
    );
    let _server = bench.serve("wan", 80);
    let client = bench.topology.client();
    let wire = Wire::open(&client.namespace, &client.interface).expect("a wire");
    for (from, to) in client.addresses().into_iter().zip(bench.server()) {
        // Nobody listens on it: the server resets the flow, which makes room.
        assert_eq!(bench.client().tcp(to, 81), Outcome::Refused);
        let refused = Instant::now();
        let opener = bench.client().source_port(4711);
        let mut kept = loop {
            match opener.tcp_session(to, 80) {
                Ok(session) => break session,
                Err(_) => assert!(refused.elapsed() < Duration::from_secs(3), "no room"),
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        // Its sequence number is nowhere near what the server waits for.
        let forged = Transport::Tcp {
            source: 4711,
            destination: 80,
            flags: TcpFlags {
                rst: true,
                ..TcpFlags::default()
            },
        };
        let ends = ((client.mac, from), (client.router_mac, to));
        let forged = FrameBuilder::new(ends.0, ends.1, forged);
        wire.send(&forged.build()).expect("sent");
        std::thread::sleep(Duration::from_millis(300));
        assert!(bench.client().tcp_session(to, 80).is_err());
        assert!(kept.exchange().is_connected(), "the server took no notice");
    }
}

fn the_second_datagram_of_a_flow_costs_nothing(target: &'static str) {
    let bench = Bench::on(
        target,
        "from lan to wan { allow udp/80 within 1/h burst 2 per source  default deny }
         default deny",
    );
    let _server = bench.serve("wan", 80);
    for server in bench.server() {
        let burst = bench
            .client()
            .udp_burst(server, 80, 20, Duration::from_millis(1));
        assert_eq!(
            (burst.sent, burst.passed),
            (20, 20),
            "one flow is one token"
        );
    }
}

fn offenders_are_remembered(target: &'static str) {
    let bench = Bench::on(
        target,
        "set noisy as source = {} dynamic idle 10min max 100
         from lan to wan {
           deny from @noisy as noisy count
           deny tcp/80 over 1/h burst 3 per source add @noisy as pps count
           allow tcp/80, tcp/81
           default deny
         }
         default deny",
    );
    let servers: Vec<EchoServer> = [80, 81].map(|port| bench.serve("wan", port)).into();
    for server in bench.server() {
        assert!(bench.client().tcp(server, 81).is_connected());
        assert_eq!(
            bench.client().tcp_burst(server, 80, 10).passed,
            3,
            "{}",
            bench.ruleset()
        );
        assert!(
            !bench.client().tcp(server, 81).is_connected(),
            "it is on the list now"
        );
    }
    assert!(bench.packets("noisy") > 0);
    drop(servers);
}
