//! Packets that are judged one by one.

use polc_runtime_loader::lab::{TcpFlags, Transport};

use crate::harness::{Bench, on_targets};
use crate::regressions::arriving;

on_targets! {
    nftables: a_length_is_that_of_the_whole_packet, a_stateless_section_judges_what_fits_no_flow;
    iptables_legacy: a_length_is_that_of_the_whole_packet, a_stateless_section_judges_what_fits_no_flow;
    iptables_nft: a_length_is_that_of_the_whole_packet, a_stateless_section_judges_what_fits_no_flow;
    ebpf: a_length_is_that_of_the_whole_packet, a_stateless_section_judges_what_fits_no_flow;
}

fn a_stateless_section_judges_what_fits_no_flow(target: &'static str) {
    // The mark makes a chain before routing, which looks up flows, too.
    let sections = "stateless from lan to wan { allow icmp, udp, tcp/80  default deny }
                    stateless from wan to lan { allow icmp  default deny }
                    steer { match tcp/81 mark 0x100/0xf00 }
                    default deny";
    let (syn, none) = (
        TcpFlags::SYN,
        TcpFlags {
            syn: false,
            ..TcpFlags::SYN
        },
    );
    let reset = TcpFlags { rst: true, ..none };
    let answer = TcpFlags { ack: true, ..syn };
    let plain = TcpFlags { ack: true, ..none };
    let marks = ["reset", "answer", "plain", "elsewhere", "sentinel"];
    for (head, stateless, expected) in [
        ("", true, &["reset", "answer", "plain"][..]),
        ("strict tcp\n", true, &["reset", "answer", "plain"]),
        ("", false, &["plain"]),
        ("strict tcp\n", false, &[]),
    ] {
        let word = if stateless { "stateless " } else { "" };
        let sections = sections.replace("stateless ", word);
        let bench = Bench::on(target, &format!("{head}{sections}"));
        let seen = arriving(&bench, &marks, |_, _, frame| {
            // A port for each: a flow that a plain packet opens would be known to the others.
            let tcp = |source, destination, flags, text| {
                let transport = Transport::Tcp {
                    source,
                    destination,
                    flags,
                };
                frame.of(transport, text).build()
            };
            vec![
                tcp(4001, 80, reset, "reset"),
                tcp(4002, 80, answer, "answer"),
                tcp(4003, 80, plain, "plain"),
                tcp(4004, 81, reset, "elsewhere"),
                frame.udp(9, "sentinel").build(),
            ]
        });
        assert_eq!(
            seen,
            [expected, expected],
            "{head}{word}{}",
            bench.ruleset()
        );
    }
}

fn a_length_is_that_of_the_whole_packet(target: &'static str) {
    let bench = Bench::on(
        target,
        "guard on lan0 { deny udp when ip.length > 200 as long count  default allow }
         from lan to wan { deny udp when ip.length == 199  default allow }
         default deny",
    );
    let marks = ["fits", "long", "exactly", "sentinel"];
    let seen = arriving(&bench, &marks, |from, _, frame| {
        // The headers of IP and UDP.
        let headers = if from.is_ipv4() { 28 } else { 48 };
        let sized = |port, text: &str, length: usize| {
            let text = format!("{text:x<width$}", width = length - headers);
            frame.udp(port, &text).build()
        };
        vec![
            sized(9, "fits", 200),
            sized(9, "long", 201),
            sized(10, "exactly", 199),
            frame.udp(9, "sentinel").build(),
        ]
    });
    assert_eq!(seen, [["fits"]; 2], "{}", bench.ruleset());
    assert_eq!(bench.packets("long"), 2);
}
