//! The model policies, as they stand in the repository, on a router of their own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use polc_runtime_loader::lab::{Client, EchoServer, Mode, Topology, TransparentProxy};
use tempfile::TempDir;

use crate::harness::{loopback, on_targets, own_packets_come_back};

on_targets! {
    nftables: the_gateway_policy_steers_real_traffic, every_model_policy_loads;
    ebpf: the_gateway_policy_steers_real_traffic, every_model_policy_loads;
}

pub(crate) fn polc(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_polc"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("polc runs");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "polc {arguments:?}\n{out}\n{err}");
    out.into_owned()
}

/// The gateway policy, from its text to steered traffic, with the command line.
fn the_gateway_policy_steers_real_traffic(target: &'static str) {
    let topology =
        Topology::with_zones(&[("client", "br0"), ("server", "eth0")]).expect("a topology");
    own_packets_come_back(&topology.router);
    let state = TempDir::new().expect("a directory");
    let place = [
        "--netns",
        topology.router.name(),
        "--state-dir",
        state.path().to_str().unwrap(),
    ];
    let with = |first: &[&'static str]| [first, &place[..]].concat();
    assert!(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("policies/tproxy-gateway.pol")
            .exists()
    );
    let dry = polc(&with(&[
        "apply",
        "policies/tproxy-gateway.pol",
        "--target",
        target,
        "--dry-run",
    ]));
    assert!(dry.starts_with("would apply"), "{dry}");
    polc(&with(&[
        "apply",
        "policies/tproxy-gateway.pol",
        "--target",
        target,
    ]));

    // Public addresses: what the policy calls private goes direct.
    let server = topology.server();
    let public: [std::net::IpAddr; 2] = [
        "93.184.216.34".parse().unwrap(),
        "2600:9000::34".parse().unwrap(),
    ];
    for (address, via) in public.into_iter().zip([server.v4, server.v6]) {
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        server
            .namespace
            .add_address("eth0", address, prefix)
            .expect("an address");
        let (destination, via) = (format!("{address}/{prefix}"), via.to_string());
        topology
            .router
            .output("ip", &["route", "add", &destination, "via", &via])
            .expect("a route");
    }
    let _real = EchoServer::start(&server.namespace, "real", 443).expect("a server");
    let proxy = TransparentProxy::start_on(&topology.router, "box", &loopback(12345), Mode::Answer)
        .expect("a proxy");
    let clients = [
        Client::new(&topology.client().namespace),
        Client::new(&topology.router),
    ];
    for (who, client) in clients.iter().enumerate() {
        for address in public {
            let tcp = client.tcp(address, 443);
            assert_eq!(tcp.answered_by(), Some("box"), "{tcp:?}");
            let last = proxy.seen().pop().expect("it was seen");
            assert_eq!(last.original_destination, SocketAddr::new(address, 443));
            let udp = client.udp(address, 4433);
            assert_eq!(udp.answered_by(), Some("box"), "{udp:?}");
            let quic = client.udp(address, 443);
            let captured = quic.answered_by() == Some("box");
            assert_eq!(captured, who == 1, "QUIC from the LAN is denied: {quic:?}");
        }
        let direct = client.tcp(server.v4, 443);
        assert_eq!(
            direct.answered_by(),
            Some("real"),
            "private destinations go direct"
        );
    }
    drop(proxy);
    for client in &clients {
        assert!(
            !client.tcp(public[0], 443).is_connected(),
            "proxy down: nothing leaks"
        );
    }
    let status = polc(&with(&["status"]));
    assert!(status.contains("policy      proxy-gateway"), "{status}");
    assert!(status.contains("in step     yes"), "{status}");
    assert!(status.contains("no-quic"), "{status}");
    polc(&with(&["remove"]));
    let rules = topology
        .router
        .output("ip", &["rule", "list"])
        .expect("rules");
    assert!(!rules.contains("fwmark"), "{rules}");
    let tables = topology
        .router
        .output("nft", &["list", "tables"])
        .expect("tables");
    assert!(!tables.contains("polc"), "{tables}");
}

/// Every model policy loads into a kernel as it is.
fn every_model_policy_loads(target: &'static str) {
    for name in ["ddos", "edge-router", "host", "sidecar", "tproxy-gateway"] {
        let topology = Topology::new().expect("a topology");
        own_packets_come_back(&topology.router);
        let state = TempDir::new().expect("a directory");
        let state = state.path().to_str().unwrap();
        let policy = format!("policies/{name}.pol");
        let netns = topology.router.name();
        polc(&[
            "apply",
            &policy,
            "--target",
            target,
            "--netns",
            netns,
            "--state-dir",
            state,
        ]);
        let status = polc(&[
            "status",
            "--exit-code",
            "--netns",
            netns,
            "--state-dir",
            state,
        ]);
        assert!(status.contains("in step     yes"), "{name}: {status}");
    }
}
