//! Corners of the language in which a ruleset is easily wrong.

use std::net::IpAddr;
use std::time::Duration;

use polc_runtime_loader::lab::{
    Client, EchoServer, FrameBuilder, Mode, Outcome, RedirectProxy, TcpFlags, Transport, Wire,
    carries,
};

use crate::harness::{Bench, on_targets};

on_targets! {
    nftables: packet_too_big_of_no_known_flow_is_admitted, a_packet_fires_a_rule_once_whatever_alternatives_hold, directions_that_a_new_policy_does_not_govern_are_free, negated_ports_are_not_asked_of_later_fragments, extension_headers_hide_nothing, unusual_names_load, rules_share_a_limit_of_live_flows, filter_sees_where_a_rewritten_flow_of_the_host_goes, steer_decides_once_with_limits_and_every_kind_of_verdict, a_stateless_section_judges_both_directions, loopback_is_judged_by_rules_that_name_it, untracked_traffic_is_judged_whole;
    iptables_legacy: packet_too_big_of_no_known_flow_is_admitted, a_packet_fires_a_rule_once_whatever_alternatives_hold, directions_that_a_new_policy_does_not_govern_are_free, extension_headers_hide_nothing, unusual_names_load, filter_sees_where_a_rewritten_flow_of_the_host_goes, steer_decides_once_with_limits_and_every_kind_of_verdict, a_stateless_section_judges_both_directions, loopback_is_judged_by_rules_that_name_it, untracked_traffic_is_judged_whole;
    iptables_nft: packet_too_big_of_no_known_flow_is_admitted, a_packet_fires_a_rule_once_whatever_alternatives_hold, directions_that_a_new_policy_does_not_govern_are_free, extension_headers_hide_nothing, unusual_names_load, filter_sees_where_a_rewritten_flow_of_the_host_goes, steer_decides_once_with_limits_and_every_kind_of_verdict, a_stateless_section_judges_both_directions, loopback_is_judged_by_rules_that_name_it, untracked_traffic_is_judged_whole;
    ebpf: packet_too_big_of_no_known_flow_is_admitted, a_packet_fires_a_rule_once_whatever_alternatives_hold, directions_that_a_new_policy_does_not_govern_are_free, negated_ports_are_not_asked_of_later_fragments, extension_headers_hide_nothing, unusual_names_load, rules_share_a_limit_of_live_flows, filter_sees_where_a_rewritten_flow_of_the_host_goes, steer_decides_once_with_limits_and_every_kind_of_verdict, a_stateless_section_judges_both_directions, loopback_is_judged_by_rules_that_name_it, untracked_traffic_is_judged_whole;
}

/// Sends frames from the client to the server and says which of the payloads arrive. The last
/// one must, and ends the wait.
pub(crate) fn arriving(
    bench: &Bench,
    marks: &[&str],
    frames: impl Fn(IpAddr, IpAddr, FrameOf) -> Vec<Vec<u8>>,
) -> Vec<Vec<String>> {
    let (client, server) = (bench.topology.client(), bench.topology.server());
    let wire = Wire::open(&client.namespace, &client.interface).expect("a wire");
    let far = Wire::open(&server.namespace, &server.interface).expect("a wire");
    let mut out = Vec::new();
    for (from, to) in client.addresses().into_iter().zip(server.addresses()) {
        bench.client().ping(to);
        let ends = ((client.mac, from), (client.router_mac, to));
        for bytes in frames(from, to, FrameOf(ends)) {
            wire.send(&bytes).expect("sent");
        }
        let last = marks.last().expect("a mark");
        let collected = far
            .collect(
                |f| marks.iter().any(|m| carries(f, to, m.as_bytes())),
                |f| carries(f, to, last.as_bytes()),
                Duration::from_secs(3),
            )
            .expect("collected");
        assert!(collected.complete, "{}", bench.ruleset());
        let seen = marks.iter().filter(|m| {
            let mark = m.as_bytes();
            collected.frames.iter().any(|f| carries(f, to, mark))
        });
        out.push(seen.map(|m| (*m).to_owned()).collect());
    }
    out
}

type End = (polc_runtime_loader::lab::Mac, IpAddr);

pub(crate) struct FrameOf((End, End));

impl FrameOf {
    pub(crate) fn of(&self, transport: Transport, text: &str) -> FrameBuilder {
        FrameBuilder::new(self.0.0, self.0.1, transport).payload(text)
    }

    pub(crate) fn udp(&self, destination: u16, text: &str) -> FrameBuilder {
        let source = 4000;
        self.of(
            Transport::Udp {
                source,
                destination,
            },
            text,
        )
    }
}

fn packet_too_big_of_no_known_flow_is_admitted(target: &'static str) {
    let steer = if target == "ebpf" {
        ""
    } else {
        "steer { match tcp/81 count }"
    };
    let bench = Bench::on(
        target,
        &format!(
            "{steer}
             from lan to wan {{ allow udp/9  allow icmp/echo-request default deny }}
             default deny"
        ),
    );
    let seen = arriving(
        &bench,
        &["too-big", "unreach", "sentinel"],
        |from, _, frame| {
            let icmp = |v4: (u8, u8), v6: (u8, u8)| {
                let (kind, code) = if from.is_ipv4() { v4 } else { v6 };
                Transport::Icmp { kind, code }
            };
            vec![
                frame.of(icmp((3, 4), (2, 0)), "too-big").build(),
                frame.of(icmp((3, 1), (1, 3)), "unreach").build(),
                frame.udp(9, "sentinel").build(),
            ]
        },
    );
    assert_eq!(seen, [["too-big"], ["too-big"]], "{}", bench.ruleset());
}

fn filter_sees_where_a_rewritten_flow_of_the_host_goes(target: &'static str) {
    let topology = polc_runtime_loader::lab::Topology::with_third_zone().expect("a topology");
    let third = topology.zone("third").addresses();
    let server = topology.server().addresses();
    let bench = Bench::bare(topology).built_for(target);
    bench.apply(&format!(
        "steer {{
           dnat tcp/80 from host to {} => {}
           dnat tcp/80 from host to {} => {}
         }}
         from host to {{ {}, {} }} {{ default deny }}
         from host {{ default allow }}
         default deny",
        server[0], third[0], server[1], third[1], third[0], third[1],
    ));
    let _dmz =
        EchoServer::start(&bench.topology.zone("third").namespace, "dmz", 80).expect("a server");
    for address in server {
        let outcome = Client::new(bench.router()).tcp(address, 80);
        assert!(!outcome.is_connected(), "{outcome:?}\n{}", bench.ruleset());
    }
}

fn a_packet_fires_a_rule_once_whatever_alternatives_hold(target: &'static str) {
    let bench = Bench::on(
        target,
        "from lan to wan {
           match when tcp.dport == 80 or udp.dport == 53
             or (udp.dport == 53 and meta.iif == lan0) count as once
           allow udp, tcp
           default deny
         }
         default deny",
    );
    let _server = bench.serve("wan", 53);
    for server in bench.server() {
        assert!(bench.client().udp(server, 53).is_connected());
    }
    assert_eq!(bench.packets("once"), 2, "{}", bench.ruleset());
}

fn directions_that_a_new_policy_does_not_govern_are_free(target: &'static str) {
    let first = if target == "ebpf" {
        "set noisy = {} dynamic idle 10m
         guard on lan0 { deny udp/80 from @noisy  deny udp over 1/h per source add @noisy default allow }
         default deny"
    } else {
        "proxy box { listen tcp at 127.0.0.1:12345, [::1]:12345  mark 0x1/0xff  table 100 }
         set noisy = {} dynamic idle 10m
         guard on lan0 { deny udp/80 from @noisy  deny udp over 1/h per source add @noisy default allow }
         steer { proxy tcp/80 from lan via box  dnat tcp/81 only v4 => 10.0.2.2  }
         egress { masquerade }
         default deny"
    };
    let bench = Bench::on(target, first);
    let _server = bench.serve("wan", 80);
    for server in bench.server() {
        assert!(!bench.client().tcp(server, 80).is_connected());
    }
    bench.apply("to host { default deny }");
    for server in bench.server() {
        assert!(
            bench.client().tcp(server, 80).is_connected(),
            "{}",
            bench.ruleset()
        );
        assert!(
            bench.client().udp(server, 80).is_connected(),
            "{}",
            bench.ruleset()
        );
    }
    bench.apply("from lan to wan { default deny }\ndefault deny");
    for server in bench.server() {
        assert!(!bench.client().tcp(server, 80).is_connected());
    }
}

fn rules_share_a_limit_of_live_flows(target: &'static str) {
    let bench = Bench::on(
        target,
        "bucket few = 3 flows
         from lan to wan {
           allow tcp/80 within few
           allow tcp/81 from @private within few
           default reject
         }
         default deny",
    );
    let servers: Vec<EchoServer> = [80, 81].map(|port| bench.serve("wan", port)).into();
    let [v4, v6] = bench.server();
    let open = |server, port| bench.client().tcp_session(server, port);
    let first = open(v4, 80).expect("the first");
    let _second = open(v6, 81).expect("the second");
    let _third = open(v4, 81).expect("the third");
    for (server, port) in [(v4, 80), (v6, 80), (v4, 81), (v6, 81)] {
        assert!(
            open(server, port).is_err(),
            "{server} {port}\n{}",
            bench.ruleset()
        );
    }
    drop(first);
    std::thread::sleep(Duration::from_millis(1500));
    assert!(open(v6, 80).is_ok(), "a closed flow makes room");
    drop(servers);
}

fn steer_decides_once_with_limits_and_every_kind_of_verdict(target: &'static str) {
    let topology = polc_runtime_loader::lab::Topology::with_third_zone().expect("a topology");
    let third = topology.zone("third").addresses();
    let bench = Bench::bare(topology).built_for(target);
    bench.apply(&format!(
        "set seen = {{}} dynamic idle 10m max 100
         steer {{
           match tcp when tcp.dport == 80 or ip.ttl < 200 count as all
           deny tcp/81 from lan as no
           redirect tcp/80 from lan within 1/h burst 2 per source => :15001 as r
           direct tcp/80 from lan to not @seen within 1/h burst 1 per source add @seen and allow as d
           dnat tcp/80 from lan => {}, {} and allow as n
           match tcp count as after
         }}
         from lan to host {{ default deny }}
         default deny",
        third[0], third[1]
    ));
    let _server = bench.serve("real", 80);
    let _dmz =
        EchoServer::start(&bench.topology.zone("third").namespace, "dmz", 80).expect("a server");
    let _box = RedirectProxy::start(bench.router(), "box", 15001, Mode::Answer).expect("a proxy");
    for server in bench.server() {
        let answers: Vec<String> = (0..5)
            .map(|_| {
                bench
                    .client()
                    .tcp(server, 80)
                    .answered_by()
                    .unwrap_or("none")
                    .to_owned()
            })
            .collect();
        assert_eq!(
            answers,
            ["box", "box", "real", "dmz", "dmz"],
            "{}",
            bench.ruleset()
        );
        assert_eq!(bench.client().tcp(server, 81), Outcome::TimedOut);
        assert!(
            !bench.client().tcp(server, 82).is_connected(),
            "`and allow` is of its flow alone"
        );
    }
}

fn negated_ports_are_not_asked_of_later_fragments(target: &'static str) {
    let bench = Bench::on(
        target,
        "guard on lan0 {
           match udp/30840 as pos count
           deny udp when udp.dport != 9 as other count
           deny proto/200 as bare count
           deny tcp when not tcp.flags has syn as flags count
           default allow
         }
         default allow",
    );
    let long = format!("{}late", "x".repeat(1600));
    let seen = arriving(&bench, &["late", "bare", "sentinel"], |_, _, frame| {
        let mut frames = frame.udp(10, &long).identification(7).fragments(1200);
        frames.extend(
            frame
                .of(Transport::Other(200), &"bare".repeat(400))
                .identification(8)
                .fragments(1200),
        );
        frames.extend(
            frame
                .of(
                    Transport::Tcp {
                        source: 1,
                        destination: 2,
                        flags: TcpFlags::SYN,
                    },
                    &"tcp".repeat(800),
                )
                .identification(9)
                .fragments(1200),
        );
        frames.push(frame.udp(9, "sentinel").build());
        frames
    });
    assert_eq!(bench.packets("pos"), 0, "{}", bench.ruleset());
    assert_eq!(seen, [[""; 0]; 2]);
    assert_eq!(bench.packets("other"), 2, "{}", bench.ruleset());
    assert_eq!(bench.packets("bare"), 4);
    assert_eq!(bench.packets("flags"), 0);
}

fn extension_headers_hide_nothing(target: &'static str) {
    let bench = Bench::on(
        target,
        "guard on lan0 { deny udp/53 as early count  default allow }
         from lan to wan { deny udp/54 as late count  allow udp/9  default deny }
         default deny",
    );
    arriving(&bench, &["sentinel"], |from, _, frame| {
        let mut frames = Vec::new();
        if from.is_ipv6() {
            for port in [53, 54] {
                // Destination options between the IPv6 header and that of UDP.
                let plain = frame.udp(port, "hidden").build();
                let options = [17, 0, 1, 4, 0, 0, 0, 0];
                let text = [&options, &plain[14 + 40..]].concat();
                let builder = FrameBuilder::new(frame.0.0, frame.0.1, Transport::Other(60));
                frames.push(builder.payload(text).build());
            }
        }
        frames.push(frame.udp(9, "sentinel").build());
        frames
    });
    assert_eq!(bench.packets("early"), 1, "{}", bench.ruleset());
    assert_eq!(bench.packets("late"), 1, "{}", bench.ruleset());
}

fn loopback_is_judged_by_rules_that_name_it(target: &'static str) {
    let bench = Bench::on(
        target,
        "to host in lo { deny tcp/80  deny tcp/81 from 127.0.0.1, ::1 }
         from host out lo { deny tcp/82 }
         from host { deny tcp/83  default deny }
         default deny",
    );
    let servers: Vec<EchoServer> = [80, 81, 82, 83]
        .map(|port| EchoServer::start(bench.router(), "own", port).expect("a server"))
        .into();
    let local = Client::new(bench.router());
    let zone = bench.topology.client();
    for (own, lo) in [zone.router_v4, zone.router_v6]
        .into_iter()
        .zip(["127.0.0.1", "::1"])
    {
        let lo: IpAddr = lo.parse().unwrap();
        assert!(!local.tcp(own, 80).is_connected(), "{}", bench.ruleset());
        assert!(!local.tcp(lo, 80).is_connected());
        assert!(local.tcp(own, 81).is_connected());
        assert!(!local.tcp(lo, 81).is_connected());
        assert!(!local.tcp(own, 82).is_connected());
        assert!(local.tcp(own, 83).is_connected());
    }
    drop(servers);
}

fn a_stateless_section_judges_both_directions(target: &'static str) {
    let bench = Bench::on(
        target,
        "stateless from lan to wan { allow tcp/80, udp/80  default deny }
         stateless from wan to lan { allow tcp when tcp.sport == 80  default deny }
         default deny",
    );
    let _server = bench.serve("wan", 80);
    for server in bench.server() {
        assert!(
            bench.client().tcp(server, 80).is_connected(),
            "{}",
            bench.ruleset()
        );
        assert!(
            !bench.client().udp(server, 80).is_connected(),
            "the answer has no rule"
        );
    }
}

fn untracked_traffic_is_judged_whole(target: &'static str) {
    let bench = Bench::on(
        target,
        "guard on lan0 { notrack udp  default allow }
         from lan to wan { allow udp/9  default deny }
         default deny",
    );
    // The second fragment of a denied datagram begins with the port that is allowed.
    let forged = [vec![b'x'; 1192], [0, 9].repeat(300), b"forged".to_vec()].concat();
    let long = format!("{}whole", "x".repeat(1600));
    let seen = arriving(&bench, &["forged", "whole", "sentinel"], |_, _, frame| {
        let denied = FrameBuilder::new(
            frame.0.0,
            frame.0.1,
            Transport::Udp {
                source: 4000,
                destination: 10,
            },
        );
        let denied = denied.payload(forged.clone()).identification(5);
        let mut frames = denied.fragments(1200);
        frames.extend(frame.udp(9, &long).identification(7).fragments(1200));
        frames.push(frame.udp(9, "sentinel").build());
        frames
    });
    assert_eq!(seen, [["whole"], ["whole"]], "{}", bench.ruleset());
}

fn unusual_names_load(target: &'static str) {
    let long = "x".repeat(300);
    Bench::on(target, &format!(
        "set lshift = {{}} dynamic
         bucket rshift = 3/s
         to host {{
           allow ssh from not @lshift in abcdefghijklmno* within rshift as lshift count log \"$5 ${{x}} \\\"\"
           allow web in abcdefghijklmn*, \"a.b-c@d\", \"1\" as {long} count log
           default deny
         }}",
    ));
}
