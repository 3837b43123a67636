//! What is in force, and what it has counted.

use std::time::Duration;

use polc_runtime_loader::lab::{Client, EchoServer, Namespace, Topology};

use crate::apply::routing;
use crate::support::{State, nft, privileged, sample};

#[test]
fn rules_show_what_they_counted() {
    if !privileged() {
        return;
    }
    let (topology, state) = (Topology::new().unwrap(), State::new());
    let _echo = EchoServer::start(&topology.server().namespace, "web", 80).unwrap();
    let bundle = sample().bundle();
    state.apply(&topology.router, &bundle).unwrap();
    let client = Client::new(&topology.client().namespace);
    let (v4, v6) = (topology.server().v4, topology.server().v6);
    assert!(client.udp(v4, 80).is_connected());
    assert!(client.udp(v6, 80).is_connected());
    // Shorter than the second after which the SYN is sent again.
    let hasty = client.timeout(Duration::from_millis(500));
    assert!(!hasty.tcp(v4, 81).is_connected());
    let status = state.status(&topology.router);
    assert!(status.in_step);
    assert_eq!(status.policy.as_deref(), Some("sample"));
    assert_eq!(
        status.generation,
        Some(bundle.manifest().generation.clone())
    );
    let counted = |name: &str| {
        let rule = status.rules.iter().find(|rule| rule.name == name);
        rule.unwrap().counter.unwrap()
    };
    // Two datagrams and two answers.
    assert_eq!(counted("allow-rest").packets, 4);
    assert!(counted("allow-rest").bytes >= 4 * 28);
    // One SYN, 60 bytes without its link header.
    assert_eq!(counted("deny-port").packets, 1);
    assert_eq!(counted("deny-port").bytes, 60);
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["rules"][1]["counter"]["packets"], 1);
}

#[test]
fn drift_is_seen() {
    if !privileged() {
        return;
    }
    let (namespace, state) = (Namespace::new().unwrap(), State::new());
    assert!(state.status(&namespace).in_step);
    let mut policy = sample();
    policy.routing = routing(100);
    let bundle = policy.bundle();
    state.apply(&namespace, &bundle).unwrap();
    assert!(state.status(&namespace).in_step);

    namespace
        .output("ip", &["rule", "del", "pref", "100"])
        .unwrap();
    let status = state.status(&namespace);
    assert!(!status.in_step);
    let lost: Vec<_> = status.routing.iter().filter(|r| !r.present).collect();
    assert_eq!(lost.len(), 1);
    assert!(lost[0].what.starts_with("ip rule pref 100"));
    state.apply(&namespace, &bundle).unwrap();

    let stray = [
        "rule", "add", "pref", "7", "fwmark", "7", "lookup", "7", "protocol", "112",
    ];
    namespace.output("ip", &stray).unwrap();
    let status = state.status(&namespace);
    assert_eq!(status.routing_left_over.len(), 1);
    assert!(!status.in_step);
    state.apply(&namespace, &bundle).unwrap();
    assert!(state.status(&namespace).in_step);

    nft(&namespace, "flush chain inet polc generation");
    let status = state.status(&namespace);
    assert!(status.table && !status.in_step);
    assert_eq!(status.generation, None);

    nft(&namespace, "delete table inet polc");
    let status = state.status(&namespace);
    assert!(!status.table && !status.in_step);
    assert_eq!(status.rules[0].counter, None);
    state.apply(&namespace, &bundle).unwrap();
    assert!(state.status(&namespace).in_step);
}
