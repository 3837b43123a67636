//! `ip.ecn`, asked of real packets.

use std::time::Duration;

use polc_runtime_loader::lab::Wire;

use crate::harness::{Bench, on_targets};
use crate::probe::{Ear, Ends, SENTINEL};

on_targets! {
    nftables: a_section_asks_for_congestion, guard_asks_for_congestion;
    iptables_legacy: a_section_asks_for_congestion, guard_asks_for_congestion;
    iptables_nft: a_section_asks_for_congestion, guard_asks_for_congestion;
    ebpf: a_section_asks_for_congestion, guard_asks_for_congestion;
}

/// Conditions, and which packets satisfy them: ECN of packets with the DSCP 0, and with others.
const CONDITIONS: [(&str, &[u8], &[u8]); 9] = [
    ("ip.ecn == ce", &[3], &[3]),
    ("ip.ecn != not-ect", &[1, 2, 3], &[1, 2, 3]),
    ("ip.ecn in { ect0, ect1 }", &[1, 2], &[1, 2]),
    ("ip.ecn in { 0, 2-3 }", &[0, 2, 3], &[0, 2, 3]),
    ("ip.ecn in { 0-1 }", &[0, 1], &[0, 1]),
    ("ip.ecn in { not-ect, ce }", &[0, 3], &[0, 3]),
    ("not (ip.ecn in { not-ect, ect0 })", &[1, 3], &[1, 3]),
    ("ip.ecn in { 0-3 }", &[0, 1, 2, 3], &[0, 1, 2, 3]),
    ("ip.ecn == ect0 and ip.dscp != cs0", &[], &[2]),
];

/// The port that asks for the first condition.
const FIRST: u16 = 100;

/// The types of service of the packets.
fn services() -> impl Iterator<Item = u8> {
    [0, 1, 46, 63]
        .into_iter()
        .flat_map(|dscp| (0..4).map(move |ecn| dscp << 2 | ecn))
}

/// A rule for each condition.
fn rules() -> String {
    let ports = FIRST..;
    let rules = ports
        .zip(CONDITIONS)
        .map(|(port, (condition, ..))| format!("allow udp/{port} when {condition}\n"));
    rules.collect()
}

fn a_section_asks_for_congestion(target: &'static str) {
    let rules = rules();
    let policy = format!("from lan {{ {rules} allow udp/9  default deny }}\ndefault deny");
    judge(&Bench::on(target, &policy));
}

fn guard_asks_for_congestion(target: &'static str) {
    let rules = rules();
    let policy = format!(
        "guard on lan0 {{ {rules} deny udp/{FIRST}-199  default allow }}
         from lan {{ default allow }}
         default deny"
    );
    judge(&Bench::on(target, &policy));
}

/// Sends a packet of each type of service to each port, and hears which get through.
fn judge(bench: &Bench) {
    let (client, server) = (bench.topology.client(), bench.topology.server());
    let near = Wire::open(&client.namespace, &client.interface).expect("a wire");
    for (from, to) in client.addresses().into_iter().zip(bench.server()) {
        // The sentinel has to find its way at once.
        bench
            .client()
            .timeout(Duration::from_millis(200))
            .udp(to, 9);
        let mut ear = Ear::at(server);
        let ends = Ends::of(client, from, to);
        let (mut sent, mut expected) = (Vec::new(), Vec::new());
        for (port, (_, plain, marked)) in (FIRST..).zip(CONDITIONS) {
            for service in services() {
                // Each opens a flow of its own.
                let source = 4000 + u16::from(service);
                let text = format!("to-{port}-with-{service}-");
                let packet = ends.udp(source, port, &text).service(service);
                near.send(&packet.build()).expect("sent");
                let passing = if service >> 2 == 0 { plain } else { marked };
                if passing.contains(&(service & 3)) {
                    expected.push(text.clone());
                }
                sent.push(text);
            }
        }
        near.send(&ends.udp(4000, 9, SENTINEL).build())
            .expect("sent");
        let sent: Vec<&str> = sent.iter().map(String::as_str).collect();
        assert_eq!(ear.hears(&sent), expected, "{to}: {}", bench.ruleset());
    }
}
