//! What begins a flow, what belongs to it, and what ends it.

use std::net::IpAddr;
use std::time::Duration;

use etherparse::TcpHeader;
use polc_runtime_loader::lab::{FrameBuilder, Outcome, TcpFlags, Transport, Wire};

use crate::harness::{Bench, on_targets};
use crate::probe::{Ear, Ends, SENTINEL, addresses};

on_targets! {
    nftables: a_connection_that_has_ended_is_judged_anew, ends_can_meet_again, what_ends_no_connection_does_not_cut_it, what_fits_no_flow_is_denied, a_rejected_flow_lets_its_answer_pass_alone;
    iptables_legacy: a_connection_that_has_ended_is_judged_anew, ends_can_meet_again, what_ends_no_connection_does_not_cut_it, what_fits_no_flow_is_denied, a_rejected_flow_lets_its_answer_pass_alone;
    iptables_nft: a_connection_that_has_ended_is_judged_anew, ends_can_meet_again, what_ends_no_connection_does_not_cut_it, what_fits_no_flow_is_denied, a_rejected_flow_lets_its_answer_pass_alone;
    ebpf: a_connection_that_has_ended_is_judged_anew, ends_can_meet_again, what_ends_no_connection_does_not_cut_it, what_fits_no_flow_is_denied, a_rejected_flow_lets_its_answer_pass_alone;
}

const OPEN: &str = "
from lan to wan { allow tcp/80, udp/9, icmp/echo-request  default deny }
from wan to lan { allow udp/9  default deny }
default deny
";

const CLOSED: &str = "
from lan to wan { allow udp/9  default deny }
from wan to lan { allow udp/9  default deny }
default deny
";

const SYN: TcpFlags = TcpFlags::SYN;
const ACK: TcpFlags = TcpFlags::ACK;
const SYN_ACK: TcpFlags = TcpFlags { ack: true, ..SYN };
const FIN_ACK: TcpFlags = TcpFlags { fin: true, ..ACK };
const RST_ACK: TcpFlags = TcpFlags { rst: true, ..ACK };

/// Who speaks.
const CLIENT: usize = 0;
const SERVER: usize = 1;

/// Two machines that nobody has, behind the router, whose every packet the test makes itself.
struct Talk {
    wires: [Wire; 2],
    ears: [Ear; 2],
    ends: [Ends; 2],
    ports: [u16; 2],
    next: [u32; 2],
}

impl Talk {
    fn new(bench: &Bench, v6: bool, ports: [u16; 2]) -> Self {
        let (client, server) = (bench.topology.client(), bench.topology.server());
        let texts = if v6 {
            ["fd00:1::9", "fd00:2::9"]
        } else {
            ["10.0.1.9", "10.0.2.9"]
        };
        let [near, far]: [IpAddr; 2] = texts.map(|text| text.parse().unwrap());
        for (zone, address) in [(client, near), (server, far)] {
            let (address, mac) = (address.to_string(), zone.mac.to_string());
            let (interface, neigh) = (&*zone.router_interface, ["neigh", "replace"]);
            let line = [
                &address,
                "lladdr",
                &mac,
                "dev",
                interface,
                "nud",
                "permanent",
            ];
            let line = [&neigh[..], &line[..]].concat();
            bench.router().output("ip", &line).expect("a neighbour");
        }
        let wire = |zone: &polc_runtime_loader::lab::Zone| {
            Wire::open(&zone.namespace, &zone.interface).expect("a wire")
        };
        Self {
            wires: [wire(client), wire(server)],
            ears: [Ear::at(client), Ear::at(server)],
            ends: [Ends::of(client, near, far), Ends::of(server, far, near)],
            ports,
            next: [1000, 7000],
        }
    }

    /// Sends a segment that fits what was said before; whether it gets to the other side.
    fn say(&mut self, who: usize, flags: TcpFlags, text: &str) -> bool {
        let header = TcpHeader {
            syn: flags.syn,
            ack: flags.ack,
            fin: flags.fin,
            rst: flags.rst,
            acknowledgment_number: if flags.ack { self.next[1 - who] } else { 0 },
            ..TcpHeader::new(self.ports[who], self.ports[1 - who], self.next[who], 60_000)
        };
        let passed = self.passes(who, &self.segment(who, header, text));
        if passed {
            let length = u32::try_from(text.len()).expect("short");
            self.next[who] += length + u32::from(flags.syn) + u32::from(flags.fin);
        }
        passed
    }

    fn segment(&self, who: usize, mut header: TcpHeader, text: &str) -> Vec<u8> {
        let Ends { from, to } = self.ends[who];
        let sum = match (from.1, to.1) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                header.calc_checksum_ipv4_raw(a.octets(), b.octets(), text.as_bytes())
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                header.calc_checksum_ipv6_raw(a.octets(), b.octets(), text.as_bytes())
            }
            _ => panic!("of one family"),
        };
        header.checksum = sum.expect("short");
        let bytes = [&header.to_bytes(), text.as_bytes()].concat();
        FrameBuilder::new(from, to, Transport::Other(6))
            .payload(bytes)
            .build()
    }

    /// Whether a frame gets to the other side.
    fn passes(&mut self, who: usize, frame: &[u8]) -> bool {
        let ends = self.ends[who];
        // What the router has answered in the other's name is not what it sends.
        self.ears[1 - who].for_a_while(Duration::from_millis(25));
        self.wires[who].send(frame).expect("sent");
        let last = ends.udp(9, 9, SENTINEL).build();
        self.wires[who].send(&last).expect("sent");
        let sent = Some((ends.from.1, ends.to.1));
        let all = self.ears[1 - who].all();
        all.iter().any(|bytes| addresses(bytes) == sent)
    }

    /// Begins a connection, and says something on both sides.
    fn connect(&mut self) -> [bool; 5] {
        [
            self.say(CLIENT, SYN, ""),
            self.say(SERVER, SYN_ACK, ""),
            self.say(CLIENT, ACK, ""),
            self.say(CLIENT, ACK, "question"),
            self.say(SERVER, ACK, "answer"),
        ]
    }

    /// Ends it as both want.
    fn finish(&mut self) -> [bool; 3] {
        [
            self.say(CLIENT, FIN_ACK, ""),
            self.say(SERVER, FIN_ACK, ""),
            self.say(CLIENT, ACK, ""),
        ]
    }
}

fn a_connection_that_has_ended_is_judged_anew(target: &'static str) {
    let bench = Bench::on(target, OPEN);
    for v6 in [false, true] {
        for (source, resets) in [(5001, false), (5002, true)] {
            bench.apply(OPEN);
            let mut talk = Talk::new(&bench, v6, [source, 80]);
            assert_eq!(talk.connect(), [true; 5], "{}", bench.ruleset());
            bench.apply(CLOSED);
            assert!(talk.say(CLIENT, ACK, "still"), "a flow outlives its rule");
            assert!(talk.say(SERVER, ACK, "there"));
            if resets {
                assert!(talk.say(CLIENT, RST_ACK, ""));
            } else {
                assert_eq!(talk.finish(), [true; 3]);
            }
            talk.next[CLIENT] += 100_000;
            assert!(!talk.say(CLIENT, SYN, ""), "resets: {resets}");
        }
    }
}

fn ends_can_meet_again(target: &'static str) {
    let bench = Bench::on(target, OPEN);
    let mut talks = Vec::new();
    for v6 in [false, true] {
        let mut talk = Talk::new(&bench, v6, [5001, 80]);
        assert_eq!(talk.connect(), [true; 5]);
        assert_eq!(talk.finish(), [true; 3]);
        talk.next = talk.next.map(|number| number + 100_000);
        assert_eq!(talk.connect(), [true; 5], "at once");
        assert!(talk.say(SERVER, RST_ACK, ""));
        talks.push(talk);
    }
    // Nothing is known of the connection now, but that it is not known.
    std::thread::sleep(Duration::from_secs(11));
    for mut talk in talks {
        talk.next = talk.next.map(|number| number + 100_000);
        assert_eq!(talk.connect(), [true; 5], "after a while");
    }
}

fn what_ends_no_connection_does_not_cut_it(target: &'static str) {
    let bench = Bench::on(target, OPEN);
    let _server = bench.serve("wan", 80);
    let (client, server) = (bench.topology.client(), bench.topology.server());
    let near = Wire::open(&client.namespace, &client.interface).expect("a wire");
    let far = Wire::open(&server.namespace, &server.interface).expect("a wire");
    let none = TcpFlags::default();
    for (from, to) in client.addresses().into_iter().zip(server.addresses()) {
        let mut session = bench
            .client()
            .source_port(5001)
            .tcp_session(to, 80)
            .expect("a session");
        assert!(session.exchange().is_connected());
        let (there, back) = (Ends::of(client, from, to), Ends::of(server, to, from));
        for flags in [
            SYN,
            SYN_ACK,
            FIN_ACK,
            TcpFlags { rst: true, ..none },
            RST_ACK,
        ] {
            for (wire, ends, source, destination) in
                [(&near, there, 5001, 80), (&far, back, 80, 5001)]
            {
                let transport = Transport::Tcp {
                    source,
                    destination,
                    flags,
                };
                wire.send(&ends.packet(transport, "").build())
                    .expect("sent");
            }
            let outcome = session.exchange();
            assert!(outcome.is_connected(), "{flags:?}: {outcome:?}");
        }
    }
}

fn what_fits_no_flow_is_denied(target: &'static str) {
    // Even where every rule would let it through.
    for head in ["", "strict tcp\n"] {
        let bench = Bench::on(target, &format!("{head}default allow"));
        for v6 in [false, true] {
            let mut talk = Talk::new(&bench, v6, [6000, 80]);
            let none = TcpFlags::default();
            for (flags, fits) in [
                (SYN_ACK, false),
                (FIN_ACK, false),
                (RST_ACK, false),
                (TcpFlags { rst: true, ..none }, false),
                (TcpFlags { fin: true, ..none }, false),
                (TcpFlags { fin: true, ..SYN }, false),
                (none, false),
                (ACK, head.is_empty()),
                (SYN, true),
            ] {
                talk.ports[CLIENT] += 1;
                let passed = talk.say(CLIENT, flags, "");
                assert_eq!(passed, fits, "{head} {flags:?} {}", bench.ruleset());
            }
            let ends = talk.ends[CLIENT];
            for answer in if v6 { [129, 140] } else { [0, 14] } {
                let transport = Transport::Icmp {
                    kind: answer,
                    code: 0,
                };
                let frame = ends.packet(transport, "").build();
                assert!(!talk.passes(CLIENT, &frame), "{answer}");
            }
        }
    }
}

fn a_rejected_flow_lets_its_answer_pass_alone(target: &'static str) {
    let bench = Bench::on(
        target,
        "from lan to wan { reject tcp/20, udp/20  allow udp/9  default deny }
         from wan to lan { allow udp/9  default deny }
         default deny",
    );
    for v6 in [false, true] {
        let mut talk = Talk::new(&bench, v6, [4000, 20]);
        let datagram = talk.ends[CLIENT].udp(4000, 20, "no").build();
        assert!(!talk.passes(CLIENT, &datagram));
        let answer = talk.ends[SERVER].udp(20, 4000, "yes").build();
        assert!(!talk.passes(SERVER, &answer), "{}", bench.ruleset());
        assert!(!talk.passes(CLIENT, &datagram), "it is judged again");
        assert!(!talk.say(CLIENT, SYN, ""));
        for flags in [SYN_ACK, ACK, FIN_ACK] {
            assert!(!talk.say(SERVER, flags, ""), "{flags:?}");
        }
        assert!(!talk.say(CLIENT, ACK, "it never began"));
    }
}

/// A client's connections survive what others flood a small table with.
mod table {
    use super::*;
    use std::process::Command;

    use polc_compiler::target;
    use polc_runtime_loader::lab::Topology;

    use crate::harness::{build_with, has_program, possible};

    const FLOWS: u32 = 1024;

    fn small() -> Bench {
        let bench = Bench::bare(Topology::new().expect("a topology")).built_for("ebpf");
        let options = target::Options {
            flows: FLOWS,
            ..target::Options::default()
        };
        let policy = "from lan { allow tcp/80, udp, icmp/echo-request  default deny }
                      from host { default deny }
                      default deny";
        bench.apply_bundle(&build_with("ebpf", policy, &options));
        bench
    }

    /// How long each flow of a map is known from now on, in seconds.
    fn lifetimes(bench: &Bench, map: &str) -> Vec<u64> {
        let netns = format!("/var/run/netns/{}", bench.router().name());
        let number =
            std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(netns).expect("a namespace"));
        let pin = format!("/sys/fs/bpf/polc/net-{number}/state/{map}_{FLOWS:x}");
        let shown = Command::new("bpftool")
            .args(["map", "dump", "pinned", &pin])
            .output()
            .expect("bpftool runs");
        let shown = String::from_utf8(shown.stdout).expect("text");
        let uptime = std::fs::read_to_string("/proc/uptime").expect("a clock");
        let (uptime, _) = uptime.split_once('.').expect("seconds");
        let now: u64 = uptime.parse().expect("seconds");
        let words: Vec<&str> = shown.split_whitespace().collect();
        let values = words.split(|word| *word == "value:").skip(1);
        let until = |value: &[&str]| {
            let bytes = value.iter().take(8);
            let bytes = bytes.map(|byte| u8::from_str_radix(byte, 16).expect("a byte"));
            let bytes: [u8; 8] = bytes.collect::<Vec<u8>>().try_into().expect("8 bytes");
            (u64::from_le_bytes(bytes) / 1_000_000_000).saturating_sub(now)
        };
        values.map(until).collect()
    }

    #[test]
    fn a_flood_of_flows_cuts_no_session() {
        if !possible() || !has_program("bpftool") {
            return;
        }
        let bench = small();
        let _server = bench.serve("wan", 80);
        let _own = polc_runtime_loader::lab::EchoServer::start(bench.router(), "router", 80)
            .expect("a server");
        let client = bench.topology.client();
        let open = |to| bench.client().tcp_session(to, 80).expect("a session");
        let mut sessions: Vec<_> = [bench.server(), [client.router_v4, client.router_v6]]
            .into_iter()
            .flatten()
            .map(open)
            .collect();
        for session in &mut sessions {
            assert!(session.exchange().is_connected());
        }
        let talk = Talk::new(&bench, false, [1, 2]);
        let ends = talk.ends[CLIENT];
        let frames: Vec<Vec<u8>> = (0..60_000)
            .flat_map(|source| (1..=5).map(move |to| ends.udp(source, to, "").build()))
            .collect();
        let count = u64::try_from(frames.len()).expect("a number");
        assert_eq!(count, 300_000);
        let sent = talk.wires[CLIENT].flood(&frames, count, Duration::from_secs(60));
        assert_eq!(sent.expect("sent"), count);
        for session in &mut sessions {
            assert!(session.exchange().is_connected(), "{:?}", bench.status());
        }
        let known = lifetimes(&bench, "fresh").len();
        assert!(known <= FLOWS as usize, "{known} flows");
        assert!(known > FLOWS as usize / 2, "{known} flows");
    }

    #[test]
    fn a_forged_handshake_does_not_shorten_the_life_of_a_session() {
        if !possible() || !has_program("bpftool") {
            return;
        }
        let bench = small();
        let _server = bench.serve("wan", 80);
        let (client, to) = (bench.topology.client(), bench.server()[0]);
        let near = Wire::open(&client.namespace, &client.interface).expect("a wire");
        let mut session = bench
            .client()
            .source_port(5001)
            .tcp_session(to, 80)
            .expect("a session");
        assert!(session.exchange().is_connected());
        let lives = |expected: std::ops::Range<u64>| {
            let found = lifetimes(&bench, "flows");
            assert!(
                found.len() == 1 && expected.contains(&found[0]),
                "{found:?} is not in {expected:?}"
            );
        };
        lives(431_000..432_001);
        for flags in [SYN, SYN_ACK] {
            let transport = Transport::Tcp {
                source: 5001,
                destination: 80,
                flags,
            };
            let ends = Ends::of(client, client.v4, to);
            near.send(&ends.packet(transport, "").build())
                .expect("sent");
        }
        bench.client().ping(to);
        // The server may have answered what was forged; the session says nothing meanwhile.
        lives(431_000..432_001);
        assert!(matches!(session.exchange(), Outcome::Connected(_)));
    }
}
