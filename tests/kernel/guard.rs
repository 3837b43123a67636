//! The stateless front line.

use polc_runtime_loader::lab::{
    EchoServer, FrameBuilder, Mode, Outcome, TcpFlags, TransparentProxy, Transport, Wire, carries,
};
use std::time::Duration;

use crate::harness::{Bench, loopback, on_targets};
use crate::regressions::arriving;

on_targets! {
    nftables: an_established_flow_meets_the_guard_too, frames_are_judged_one_by_one, packets_are_limited_not_flows, a_mark_of_guard_is_what_the_filter_sees, notrack_leaves_no_flow_behind, what_is_not_tracked_is_judged_one_by_one;
    iptables_legacy: packets_are_limited_not_flows, a_mark_of_guard_is_what_the_filter_sees, notrack_leaves_no_flow_behind, what_is_not_tracked_is_judged_one_by_one;
    iptables_nft: packets_are_limited_not_flows, a_mark_of_guard_is_what_the_filter_sees, notrack_leaves_no_flow_behind, what_is_not_tracked_is_judged_one_by_one;
    ebpf: an_established_flow_meets_the_guard_too, frames_are_judged_one_by_one, packets_are_limited_not_flows, a_mark_of_guard_is_what_the_filter_sees, notrack_leaves_no_flow_behind, what_is_not_tracked_is_judged_one_by_one, a_proxy_gets_what_is_not_tracked, a_reject_of_what_is_not_tracked_is_answered;
}

const GUARD: &str = "
guard on lan0 {
  deny tcp when tcp.flags in { none, syn+fin }     as bad-flags count
  deny when ip.fragment and ip.protocol == udp     as udp-frag  count
  deny udp when udp.sport in { 19, 1900 }          as reflection count
  deny tcp/81                                      as port count
  default allow
}
from lan to wan { default allow }
default deny
";

fn an_established_flow_meets_the_guard_too(target: &'static str) {
    let bench = Bench::on(target, &GUARD.replace("deny tcp/81", "deny tcp/82"));
    let _server = bench.serve("wan", 81);
    for server in bench.server() {
        let mut session = bench
            .client()
            .tcp_session(server, 81)
            .expect("a connection");
        assert!(session.exchange().is_connected());
        bench.apply(GUARD);
        assert!(!session.exchange().is_connected(), "{}", bench.ruleset());
        bench.apply(&GUARD.replace("deny tcp/81", "deny tcp/82"));
    }
}

fn frames_are_judged_one_by_one(target: &'static str) {
    let bench = Bench::on(target, GUARD);
    let (client, server) = (bench.topology.client(), bench.topology.server());
    let wire = Wire::open(&client.namespace, &client.interface).expect("a wire");
    let far = Wire::open(&server.namespace, &server.interface).expect("a wire");
    // Neighbours are learnt before frames are counted.
    for address in bench.server() {
        bench.client().ping(address);
    }
    for (from, to) in client.addresses().into_iter().zip(bench.server()) {
        let frame = |transport, text: &str| {
            let (mac, router) = (client.mac, client.router_mac);
            FrameBuilder::new((mac, from), (router, to), transport).payload(text)
        };
        let udp = |source| Transport::Udp {
            source,
            destination: 9,
        };
        let tcp = |flags| Transport::Tcp {
            source: 4000,
            destination: 9,
            flags,
        };
        let none = TcpFlags {
            syn: false,
            ..TcpFlags::SYN
        };
        let syn_fin = TcpFlags {
            fin: true,
            ..TcpFlags::SYN
        };
        let mut frames = vec![
            frame(udp(1900), "bad-reflection").build(),
            frame(tcp(none), "bad-none").build(),
            frame(tcp(syn_fin), "bad-synfin").build(),
            frame(udp(4000), "good-udp").build(),
            frame(tcp(TcpFlags::SYN), "good-syn").build(),
        ];
        let long = format!("bad-fragment{}", "x".repeat(3000));
        frames.extend(frame(udp(4000), &long).identification(7).fragments(1200));
        frames.push(frame(udp(4001), "sentinel").build());
        for bytes in &frames {
            wire.send(bytes).expect("sent");
        }
        let collected = far
            .collect(
                |f| carries(f, to, b"good") || carries(f, to, b"bad") || carries(f, to, b"xxxx"),
                |f| carries(f, to, b"sentinel"),
                Duration::from_secs(3),
            )
            .expect("collected");
        assert!(collected.complete, "{}", bench.ruleset());
        assert_eq!(
            collected.frames.len(),
            2,
            "only the good ones: {}",
            bench.ruleset()
        );
        assert!(collected.frames.iter().all(|f| carries(f, to, b"good")));
    }
    assert_eq!(bench.packets("reflection"), 2);
    assert_eq!(bench.packets("bad-flags"), 4);
    assert_eq!(
        bench.packets("udp-frag"),
        6,
        "the first and the later fragments of both families"
    );
}

fn packets_are_limited_not_flows(target: &'static str) {
    let bench = Bench::on(
        target,
        "guard on lan0 {
           deny udp/80 over 1 packets/h burst 8 per source as pps count
           default allow
         }
         from lan to wan { default allow }
         default deny",
    );
    let _server: EchoServer = bench.serve("wan", 80);
    for server in bench.server() {
        let burst = bench
            .client()
            .udp_burst(server, 80, 30, Duration::from_millis(1));
        assert_eq!((burst.sent, burst.passed), (30, 8), "{}", bench.ruleset());
    }
    assert_eq!(bench.packets("pps"), 44);
}

fn notrack_leaves_no_flow_behind(target: &'static str) {
    let bench = Bench::on(
        target,
        "guard { notrack udp/80  notrack udp when udp.sport == 80  default allow }
         from lan to wan { allow udp/80 default deny }
         from wan to lan { allow udp when udp.sport == 80 default deny }
         default deny",
    );
    let _server = bench.serve("wan", 80);
    for server in bench.server() {
        assert!(
            bench.client().udp(server, 80).is_connected(),
            "{}",
            bench.ruleset()
        );
    }
    let flows = bench
        .router()
        .run(|| std::fs::read_to_string("/proc/net/nf_conntrack"));
    if let Ok(Ok(flows)) = flows {
        assert!(!flows.contains("dport=80"), "{flows}");
    }
}

fn what_is_not_tracked_is_judged_one_by_one(target: &'static str) {
    let bench = Bench::on(
        target,
        "strict tcp
         guard on lan0 { notrack tcp/80  default allow }
         from lan to wan { allow tcp/80, tcp/82, udp/9  default deny }
         default deny",
    );
    let reset = TcpFlags {
        rst: true,
        ack: true,
        syn: false,
        ..TcpFlags::SYN
    };
    let seen = arriving(&bench, &["alone", "flow", "sentinel"], |_, _, frame| {
        let tcp = |destination, text| {
            let transport = Transport::Tcp {
                source: 4000,
                destination,
                flags: reset,
            };
            frame.of(transport, text).build()
        };
        vec![
            tcp(80, "alone"),
            tcp(82, "flow"),
            frame.udp(9, "sentinel").build(),
        ]
    });
    assert_eq!(seen, [["alone"], ["alone"]], "{}", bench.ruleset());
}

/// Whatever filter says of what this host sends.
fn a_reject_of_what_is_not_tracked_is_answered(target: &'static str) {
    let bench = Bench::on(
        target,
        "guard on lan0 { notrack tcp/81, udp/81  default allow }
         from lan to wan { reject tcp/81, udp/81  default deny }
         to host { reject tcp/81, udp/81  default deny }
         default deny",
    );
    let zone = bench.topology.client();
    let routers = [zone.router_v4, zone.router_v6];
    for address in bench.server().into_iter().chain(routers) {
        for outcome in [
            bench.client().tcp(address, 81),
            bench.client().udp(address, 81),
        ] {
            assert_eq!(outcome, Outcome::Refused, "{address}: {}", bench.ruleset());
        }
    }
}

/// Filter judges it, which steer cannot admit.
fn a_proxy_gets_what_is_not_tracked(target: &'static str) {
    let policy = "
        proxy box {
          listen udp at 127.0.0.1:12345, [::1]:12345
          mark 0x1/0xff
          table 100
        }
        guard on lan0 { notrack udp/80  default allow }
        steer { proxy udp/80 from lan via box }
        to host { allow udp/80  default deny }
        from host { default allow }
        default deny";
    let bench = Bench::on(target, policy);
    let _proxy = TransparentProxy::start_on(bench.router(), "box", &loopback(12345), Mode::Answer)
        .expect("a proxy");
    for (policy, answer) in [
        (policy.to_owned(), Some("box")),
        (policy.replace("allow udp/80", "allow udp/81"), None),
    ] {
        bench.apply(&policy);
        for server in bench.server() {
            let outcome = bench.client().udp(server, 80);
            assert_eq!(
                outcome.answered_by(),
                answer,
                "{outcome:?}\n{}",
                bench.ruleset()
            );
        }
    }
}

/// Whichever of them was there first.
fn a_mark_of_guard_is_what_the_filter_sees(target: &'static str) {
    let guard = "guard { match udp/80 mark 0x1  default allow }\n";
    let filter = "to host { allow udp/80 when meta.mark == 0x1  default deny }\n";
    let both = format!("{guard}{filter}");
    let topology = polc_runtime_loader::lab::Topology::new().expect("a topology");
    let bench = Bench::bare(topology).built_for(target);
    let _server = EchoServer::start(bench.router(), "router", 80).expect("a server");
    let zone = bench.topology.client();
    for (first, answers) in [(filter, false), (guard, true)] {
        bench.apply(first);
        for policy in [first, &both, first, &both] {
            let answered = policy == both || answers;
            bench.apply(policy);
            for server in [zone.router_v4, zone.router_v6] {
                let outcome = bench.client().udp(server, 80);
                assert_eq!(outcome.is_connected(), answered, "{policy}");
            }
            assert!(bench.status().in_step);
        }
        bench.remove().expect("removed");
    }
}
