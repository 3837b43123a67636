//! Applying again: what stays, and that nothing slips through.

use std::time::Duration;

use crate::flood::while_flooded;
use crate::harness::{Bench, build_for, on_targets};

on_targets! {
    nftables: established_flows_survive, a_flow_from_before_the_first_apply_is_judged_as_new, buckets_keep_their_state_unless_they_change, nothing_leaks_during_two_hundred_applies;
    iptables_legacy: established_flows_survive, buckets_keep_their_state_unless_they_change, nothing_leaks_during_two_hundred_applies;
    iptables_nft: established_flows_survive, buckets_keep_their_state_unless_they_change, nothing_leaks_during_two_hundred_applies;
    ebpf: established_flows_survive, a_flow_from_before_the_first_apply_is_judged_as_new, buckets_keep_their_state_unless_they_change, nothing_leaks_during_two_hundred_applies;
}

const OPEN: &str = "from lan to wan { allow tcp/80 as web count  default deny }\ndefault deny";

fn established_flows_survive(target: &'static str) {
    let bench = Bench::on(target, OPEN);
    let _server = bench.serve("wan", 80);
    for server in bench.server() {
        let mut session = bench
            .client()
            .tcp_session(server, 80)
            .expect("a connection");
        for round in 0..5 {
            bench.apply(&format!("{OPEN}\nset round = {{ 192.0.2.{round} }}"));
            assert!(session.exchange().is_connected());
        }
    }
}

fn a_flow_from_before_the_first_apply_is_judged_as_new(target: &'static str) {
    let bench = Bench::bare(polc_runtime_loader::lab::Topology::new().expect("a topology"))
        .built_for(target);
    let _server = bench.serve("wan", 80);
    let _closed = bench.serve("closed", 81);
    for server in bench.server() {
        let mut kept = bench
            .client()
            .tcp_session(server, 80)
            .expect("a connection");
        let mut cut = bench
            .client()
            .tcp_session(server, 81)
            .expect("a connection");
        bench.apply(OPEN);
        assert!(kept.exchange().is_connected());
        assert!(!cut.exchange().is_connected());
        bench.remove().expect("removed");
    }
}

fn buckets_keep_their_state_unless_they_change(target: &'static str) {
    let policy = |burst: u32, more: &str| {
        format!(
            "from lan to wan {{ allow tcp/80 within 1/h burst {burst} per source as web  default reject }}
             default deny\n{more}"
        )
    };
    let bench = Bench::on(target, &policy(5, ""));
    let _server = bench.serve("wan", 80);
    let server = bench.server()[0];
    assert_eq!(bench.client().tcp_burst(server, 80, 20).passed, 5);
    bench.apply(&policy(5, "strict tcp"));
    assert_eq!(
        bench.client().tcp_burst(server, 80, 20).passed,
        0,
        "the bucket is still empty"
    );
    bench.apply(&policy(6, ""));
    assert_eq!(
        bench.client().tcp_burst(server, 80, 20).passed,
        6,
        "another bucket begins full"
    );
}

/// Two policies that both deny what the flood carries are put in force in turn, 200 times, while
/// the flood goes on.
fn nothing_leaks_during_two_hundred_applies(target: &'static str) {
    let policy = |n: u32| {
        build_for(
            target,
            &format!(
                "set moving = {{ 192.0.2.{n} }}
             from lan to wan {{ allow tcp/80 to @moving  allow udp/9999  default deny }}
             default deny"
            ),
        )
    };
    let bundles = [policy(1), policy(2)];
    let bench = Bench::bare(polc_runtime_loader::lab::Topology::new().expect("a topology"))
        .built_for(target);
    bench.apply_bundle(&bundles[0]);
    let sent = while_flooded(&bench, Duration::from_secs(120), || {
        for round in 0..200 {
            bench.apply_bundle(&bundles[(round + 1) % 2]);
        }
    });
    assert!(sent > 10_000, "the flood was one: {sent}");
    eprintln!("{sent} denied packets during 200 applies, 0 leaked");
}
