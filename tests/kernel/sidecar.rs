//! The model policy of a pod's network namespace, with real traffic in and out of it.

use std::net::{IpAddr, SocketAddr};

use polc_runtime_loader::lab::{Client, EchoServer, Mode, RedirectProxy, Topology};
use tempfile::TempDir;

use crate::gateway::polc;
use crate::harness::{on_targets, own_packets_come_back};

on_targets! {
    nftables: a_pod_talks_through_its_proxy;
    ebpf: a_pod_talks_through_its_proxy;
}

fn a_pod_talks_through_its_proxy(target: &'static str) {
    let topology = Topology::new().expect("a topology");
    own_packets_come_back(&topology.router);
    let state = TempDir::new().expect("a directory");
    polc(&[
        "apply",
        "policies/sidecar.pol",
        "--target",
        target,
        "--netns",
        topology.router.name(),
        "--state-dir",
        state.path().to_str().unwrap(),
    ]);
    let pod = &topology.router;
    let start = |name, port| RedirectProxy::start(pod, name, port, Mode::Answer).expect("a proxy");
    let (inbound, outbound) = (start("inbound", 15006), start("outbound", 15001));
    let _app = EchoServer::start(pod, "app", 8080).expect("a server");
    let _health = EchoServer::start(pod, "health", 15021).expect("a server");
    let _resolver = EchoServer::start(pod, "resolver", 15053).expect("a server");
    let server = topology.server();
    let _real = EchoServer::start(&server.namespace, "real", 80).expect("a server");

    let peer = Client::new(&topology.client().namespace);
    let zone = topology.client();
    for own in [zone.router_v4, zone.router_v6] {
        assert_eq!(peer.tcp(own, 8080).answered_by(), Some("inbound"));
        let last = inbound.seen().pop().expect("it was seen");
        assert_eq!(last.original_destination, SocketAddr::new(own, 8080));
        assert_eq!(peer.tcp(own, 15021).answered_by(), Some("health"));
    }

    let app = Client::new(pod);
    for to in server.addresses() {
        assert_eq!(app.tcp(to, 80).answered_by(), Some("outbound"));
        let last = outbound.seen().pop().expect("it was seen");
        assert_eq!(last.original_destination, SocketAddr::new(to, 80));
        assert_eq!(app.udp(to, 80).answered_by(), Some("real"));
    }
    for (family, loopback) in ["127.0.0.1", "::1"].into_iter().enumerate() {
        let loopback: IpAddr = loopback.parse().unwrap();
        assert_eq!(app.tcp(loopback, 8080).answered_by(), Some("app"));
        // The resolver's address need not be anywhere, but there must be a way to it.
        let resolver = ["10.96.0.10", "fd00:96::a"][family];
        let via = server.addresses()[family].to_string();
        pod.output("ip", &["route", "add", resolver, "via", &via])
            .expect("a route");
        let resolver: IpAddr = resolver.parse().unwrap();
        let answer = app.udp(resolver, 53);
        assert_eq!(answer.answered_by(), Some("resolver"), "{answer:?}");
    }
}
