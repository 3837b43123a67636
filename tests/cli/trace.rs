//! `polc trace`: flows, and captures that the test builds.

use etherparse::{PacketBuilder, TcpOptionElement};
use serde_json::Value;

use crate::harness::{Place, golden};

const POLICY: &str = "\
policy gate
zone wan = eth0
zone lan = eth1 net 10.0.0.0/24

steer { dnat tcp/80 from wan to 192.0.2.80 => 10.0.0.80:8080 and allow as web }

to host {
  allow ssh in eth0 within 6/min burst 2 as ssh
  default deny
}
from lan { default allow }
from host { default allow }
default deny
";

fn place() -> Place {
    Place::new(&[("gate.pol", POLICY)])
}

#[test]
fn a_flow_is_shown_stage_by_stage() {
    let run = place().polc(&[
        "trace",
        "gate.pol",
        "tcp 198.51.100.7:4000 -> 192.0.2.80:80 in eth0",
    ]);
    assert_eq!(run.code, 0, "{run:?}");
    golden("trace-flow", POLICY, &run.out);
}

#[test]
fn ways_that_differ_are_shown_apart() {
    let flow = "tcp 198.51.100.7:4000 -> host:22";
    let run = place().polc(&["trace", "gate.pol", flow]);
    assert_eq!(run.code, 0, "{run:?}");
    golden("trace-ways", POLICY, &run.out);
    let run = place().polc(&["trace", "gate.pol", flow, "--format", "json"]);
    let report: Value = serde_json::from_str(&run.out).expect("JSON");
    let ways = report["ways"].as_array().expect("a list");
    assert_eq!(ways.len(), 2);
    assert_eq!(ways[0]["decision"]["rule"]["name"], "ssh");
    assert_eq!(ways[0]["chosen"][0], "in eth0");
    assert_eq!(ways[1]["decision"]["outcome"], "deny");
    assert_eq!(ways[1]["chosen"].as_array().expect("a list").len(), 2);
}

#[test]
fn mistakes_point_into_the_flow() {
    let wrong = [
        ("tcp 198.51.100.7 -> hos:22", "flow:1:21"),
        ("tcp 198.51.100.7 -> host:22 by uid 7", "flow:1:29"),
        ("tcq 198.51.100.7 -> host:22", "flow:1:1"),
        ("tcp 198.51.100.7 -> host:22 rule ssh", "flow:1:29"),
        (
            "tcp 198.51.100.7 -> host:22 deny tcp 192.0.2.1 -> host",
            "more than one flow",
        ),
        (
            "tcp 198.51.100.7 -> host:22 } default deny test \"\" {",
            "more than a flow",
        ),
        ("tcp 198.51.100.7 -> host:22 # in eth0", ""),
    ];
    for (flow, place_of) in wrong {
        let run = place().polc(&["trace", "gate.pol", flow]);
        if place_of.is_empty() {
            assert_eq!(run.code, 0, "{run:?}");
        } else {
            assert_eq!(run.code, 2, "{run:?}");
            assert!(run.err.contains(place_of), "{run:?}");
        }
    }
    let run = place().polc(&["trace", "gate.pol"]);
    assert_eq!(run.code, 2);
}

const HOST: [u8; 4] = [192, 0, 2, 1];
const CLIENT: [u8; 4] = [198, 51, 100, 7];

fn ethernet() -> etherparse::PacketBuilderStep<etherparse::Ethernet2Header> {
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
}

fn tcp(source: ([u8; 4], u16), dest: ([u8; 4], u16), answer: bool) -> Vec<u8> {
    let mut step = ethernet()
        .ipv4(source.0, dest.0, 64)
        .tcp(source.1, dest.1, 1, 1024)
        .syn()
        .options(&[TcpOptionElement::MaximumSegmentSize(1460)])
        .expect("it fits");
    if answer {
        step = step.ack(2);
    }
    let mut frame = Vec::new();
    step.write(&mut frame, &[]).expect("written");
    frame
}

/// ICMP port-unreachable about a packet from the host to the client.
fn unreachable() -> Vec<u8> {
    let quoted = tcp((HOST, 22), (CLIENT, 4000), true);
    let icmp = etherparse::Icmpv4Type::DestinationUnreachable(
        etherparse::icmpv4::DestUnreachableHeader::Port,
    );
    let mut frame = Vec::new();
    ethernet()
        .ipv4(CLIENT, HOST, 64)
        .icmpv4(icmp)
        .write(&mut frame, &quoted[14..42])
        .expect("written");
    frame
}

/// Frames with their times in milliseconds: three connections of which the rate allows two, an
/// answer, an error about the first, a forwarded flow, and what cannot be judged.
fn frames() -> Vec<(u32, Vec<u8>)> {
    let mut arp = vec![0xff; 6];
    arp.extend([2, 0, 0, 0, 0, 1, 0x08, 0x06, 0, 1]);
    vec![
        (0, tcp((CLIENT, 4000), (HOST, 22), false)),
        (10, tcp((HOST, 22), (CLIENT, 4000), true)),
        (20, tcp((CLIENT, 4001), (HOST, 22), false)),
        (30, tcp((CLIENT, 4002), (HOST, 22), false)),
        (40, unreachable()),
        (50, tcp((CLIENT, 5000), ([192, 0, 2, 80], 80), false)),
        (60, arp),
        (70, tcp((CLIENT, 4003), (HOST, 22), false)[..20].to_vec()),
        // The bucket has a token again after ten seconds.
        (10_100, tcp((CLIENT, 4004), (HOST, 22), false)),
    ]
}

fn le(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("it is short")
}

fn pcap(link: u32, frames: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut file = le(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, link]);
    for (time, frame) in frames {
        file.extend(le(&[
            time / 1000,
            time % 1000 * 1000,
            length(frame),
            length(frame),
        ]));
        file.extend(frame);
    }
    file
}

/// Big-endian, in nanoseconds.
fn swapped(frames: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let be = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|w| w.to_be_bytes()).collect() };
    let mut file = be(&[0xa1b2_3c4d, 0x0002_0004, 0, 0, 65_535, 1]);
    for (time, frame) in frames {
        let nanos = time % 1000 * 1_000_000;
        file.extend(be(&[time / 1000, nanos, length(frame), length(frame)]));
        file.extend(frame);
    }
    file
}

/// With times in milliseconds: an option of the interface says so.
fn pcapng(frames: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let padded = body.len().next_multiple_of(4);
        let size = u32::try_from(padded).expect("it is short") + 12;
        let mut block = le(&[kind, size]);
        block.extend(body);
        block.resize(padded + 8, 0);
        block.extend(size.to_le_bytes());
        block
    };
    let mut file = block(0x0a0d_0d0a, &le(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]));
    file.extend(block(1, &le(&[1, 0, 0x0001_0009, 3, 0])));
    for (time, frame) in frames {
        let mut body = le(&[0, 0, *time, length(frame), length(frame)]);
        body.extend(frame);
        file.extend(block(6, &body));
    }
    file
}

fn replay(place: &Place, bytes: &[u8], more: &[&str]) -> crate::harness::Run {
    std::fs::write(place.path().join("c.pcap"), bytes).expect("written");
    let fixed = ["trace", "gate.pol", "--pcap", "c.pcap", "--in", "eth0"];
    place.polc(&[&fixed, more].concat())
}

#[test]
fn a_capture_is_judged_packet_by_packet() {
    let place = place();
    let run = replay(&place, &pcap(1, &frames()), &["--host", "192.0.2.1", "-v"]);
    assert_eq!(run.code, 0, "{run:?}");
    golden("trace-capture", POLICY, &run.out);
}

#[test]
fn every_format_gives_the_same() {
    let place = place();
    let host = ["--host", "192.0.2.1", "-v"];
    let classic = replay(&place, &pcap(1, &frames()), &host);
    for other in [swapped(&frames()), pcapng(&frames())] {
        let run = replay(&place, &other, &host);
        assert_eq!(run.out, classic.out, "{run:?}");
    }
    // Without the Ethernet header, as raw IP.
    let raw: Vec<_> = frames().into_iter().filter(|(_, f)| f.len() > 20).collect();
    let raw: Vec<_> = raw.iter().map(|(t, f)| (*t, f[14..].to_vec())).collect();
    let run = replay(
        &place,
        &pcap(101, &raw),
        &["--host", "192.0.2.1", "--format", "json"],
    );
    let report: Value = serde_json::from_str(&run.out).expect("JSON");
    assert_eq!(report["rules"][2]["rule"], "web");
    let ssh = &report["rules"][3];
    assert_eq!(
        (&ssh["rule"], &ssh["packets"]),
        (&"ssh".into(), &3.into()),
        "{run:?}"
    );
    let bytes = ssh["bytes"].as_u64().expect("a number");
    assert_eq!(bytes, 3 * 44);
}

#[test]
fn what_cannot_be_read_is_said() {
    let place = place();
    let mut cut = pcap(1, &frames());
    cut.truncate(cut.len() - 5);
    let run = replay(&place, &cut, &[]);
    assert_eq!(run.code, 0, "{run:?}");
    let last = "the rest of the capture was not read: it ends in the middle of a frame";
    assert!(run.out.contains(last), "{run:?}");
    let run = replay(&place, &pcap(147, &frames()), &[]);
    assert!(
        run.out.contains("9 × its link type, 147, is not known"),
        "{run:?}"
    );
    let run = replay(&place, b"no capture", &[]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.err.contains("neither pcap nor pcapng"), "{run:?}");
    let run = replay(&place, b"", &[]);
    assert_eq!(run.code, 2, "{run:?}");
}
