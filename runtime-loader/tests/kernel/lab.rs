//! The laboratory itself: what it says must be what happened.

use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::{nft, privileged};
use polc_runtime_loader::lab::{
    Client, EchoServer, FrameBuilder, Mode, Namespace, Outcome, Protocol, RedirectProxy, TcpFlags,
    Topology, TransparentProxy, Transport, Wire, carries,
};

const WAIT: Duration = Duration::from_secs(3);

#[test]
fn a_namespace_is_found_by_name_and_removed_even_on_panic() {
    if !privileged() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let path = Path::new("/run/netns").join(namespace.name());
    assert!(path.exists());
    let panicked = std::panic::catch_unwind(move || {
        let _held = namespace;
        panic!("on purpose");
    });
    assert!(panicked.is_err());
    assert!(!path.exists());
}

#[test]
fn a_spawned_process_lives_inside_with_the_same_file_systems() {
    if !privileged() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    namespace.add_bridge("only-here", &[]).unwrap();
    let links = namespace.output("ip", &["-o", "link"]).unwrap();
    assert!(links.contains("only-here"));
    let inside = namespace
        .output("readlink", &["/proc/self/ns/mnt"])
        .unwrap();
    let outside = Command::new("readlink")
        .arg("/proc/self/ns/mnt")
        .output()
        .unwrap();
    assert_eq!(inside.as_bytes(), outside.stdout);
}

#[test]
fn traffic_crosses_the_router() {
    if !privileged() {
        return;
    }
    let topology = Topology::with_third_zone().unwrap();
    let server = topology.server();
    let _echo = EchoServer::start(&server.namespace, "web", 80).unwrap();
    let client = Client::new(&topology.client().namespace);
    for (address, own) in server
        .addresses()
        .into_iter()
        .zip(topology.client().addresses())
    {
        let client = client.source_port(4711);
        for outcome in [client.tcp(address, 80), client.udp(address, 80)] {
            let Outcome::Connected(reply) = outcome else {
                panic!("{address}: {outcome:?}");
            };
            assert_eq!(reply.name, "web");
            assert_eq!(reply.peer, (own, 4711).into());
            assert_eq!(reply.local, (address, 80).into());
        }
        assert!(client.ping(address));
        let port = 81;
        assert_eq!(client.source_port(0).tcp(address, port), Outcome::Refused);
        assert_eq!(client.source_port(0).udp(address, port), Outcome::Refused);
    }
    let third = Client::new(&topology.zone("third").namespace);
    assert!(third.tcp(server.v4, 80).is_connected());
    let absent: IpAddr = "10.0.2.99".parse().unwrap();
    let patient = client.timeout(Duration::from_secs(5));
    assert_eq!(patient.tcp(absent, 80), Outcome::Unreachable);
    let nowhere: IpAddr = "192.0.2.1".parse().unwrap();
    assert_eq!(client.tcp(nowhere, 80), Outcome::Unreachable);
}

#[test]
fn outcomes_tell_drop_from_reject() {
    if !privileged() {
        return;
    }
    let topology = Topology::new().unwrap();
    let _echo = EchoServer::start(&topology.server().namespace, "web", 80).unwrap();
    nft(
        &topology.router,
        "add table inet t; \
         add chain inet t f { type filter hook forward priority 0; }; \
         add rule inet t f tcp dport 80 drop; \
         add rule inet t f udp dport 80 reject with icmpx admin-prohibited; \
         add rule inet t f tcp dport 81 reject with tcp reset",
    );
    let client = Client::new(&topology.client().namespace);
    let (v4, v6) = (topology.server().v4, topology.server().v6);
    assert_eq!(client.tcp(v4, 80), Outcome::TimedOut);
    assert_eq!(client.tcp(v6, 81), Outcome::Refused);
    assert_eq!(client.udp(v4, 80), Outcome::Unreachable);
    assert_eq!(client.udp(v6, 80), Outcome::Prohibited);
}

#[test]
fn an_established_session_keeps_exchanging() {
    if !privileged() {
        return;
    }
    let topology = Topology::new().unwrap();
    let _echo = EchoServer::start(&topology.server().namespace, "web", 80).unwrap();
    let client = Client::new(&topology.client().namespace);
    let mut session = client.tcp_session(topology.server().v6, 80).unwrap();
    assert!(session.exchange().is_connected());
    nft(
        &topology.router,
        "add table inet t; \
         add chain inet t f { type filter hook forward priority 0; }; \
         add rule inet t f drop",
    );
    assert_eq!(session.exchange(), Outcome::TimedOut);
}

#[test]
fn bursts_count_what_passed() {
    if !privileged() {
        return;
    }
    let topology = Topology::new().unwrap();
    let _echo = EchoServer::start(&topology.server().namespace, "web", 80).unwrap();
    let client = Client::new(&topology.client().namespace);
    let server = topology.server().v4;
    let gap = Duration::from_millis(1);
    let free = client.udp_burst(server, 80, 50, gap);
    assert_eq!((free.sent, free.passed), (50, 50));
    nft(
        &topology.router,
        "add table inet t; \
         add chain inet t f { type filter hook forward priority 0; }; \
         add rule inet t f iifname lan0 limit rate 1/hour burst 7 packets accept; \
         add rule inet t f iifname lan0 drop",
    );
    let limited = client.udp_burst(server, 80, 50, gap);
    assert_eq!((limited.sent, limited.passed), (50, 7));
    nft(&topology.router, "flush table inet t");
    nft(
        &topology.router,
        "add rule inet t f tcp flags & (syn|ack) == syn limit rate 1/hour burst 9 packets accept; \
         add rule inet t f tcp flags & (syn|ack) == syn drop",
    );
    let limited = client.tcp_burst(server, 80, 40);
    assert_eq!((limited.sent, limited.passed), (40, 9));
}

#[test]
fn frames_arrive_as_built() {
    if !privileged() {
        return;
    }
    let topology = Topology::new().unwrap();
    let (client, server) = (topology.client(), topology.server());
    // The server resolves the router's neighbour entry; forwarding needs the reverse too.
    assert!(Client::new(&client.namespace).ping(server.v4));
    assert!(Client::new(&client.namespace).ping(server.v6));
    let near = Wire::open(&client.namespace, "eth0").unwrap();
    let far = Wire::open(&server.namespace, "eth0").unwrap();
    for (from, to) in client.addresses().into_iter().zip(server.addresses()) {
        let build =
            |transport| FrameBuilder::new((client.mac, from), (client.router_mac, to), transport);
        let udp = build(Transport::Udp {
            source: 9,
            destination: 9,
        })
        .payload("the-frame");
        let tcp = build(Transport::Tcp {
            source: 9,
            destination: 9,
            flags: TcpFlags::SYN,
        })
        .payload("the-frame");
        let sentinel = build(Transport::Udp {
            source: 9,
            destination: 9,
        })
        .payload("sentinel");
        let mut frames = vec![udp.build(), tcp.build()];
        frames.extend(
            udp.payload([b"the-frame".as_slice(), &[0; 55]].concat())
                .fragments(32),
        );
        let sent = near.flood(&frames, frames.len() as u64, WAIT).unwrap();
        assert_eq!(sent, 5);
        near.send(&sentinel.build()).unwrap();
        let seen = far
            .collect(
                |frame| carries(frame, to, b""),
                |frame| carries(frame, to, b"sentinel"),
                WAIT,
            )
            .unwrap();
        assert!(seen.complete);
        assert_eq!(seen.frames.len(), frames.len());
        let marked = |frames: &[Vec<u8>]| {
            let marked = frames
                .iter()
                .filter(|frame| carries(frame, to, b"the-frame"));
            marked.count()
        };
        assert_eq!(marked(&seen.frames), 3);
    }
}

#[test]
fn a_bridge_carries_frames_between_its_ports() {
    if !privileged() {
        return;
    }
    let topology = Topology::with_zones(&[("a", "a0"), ("b", "b0")]).unwrap();
    topology.router.add_bridge("br0", &["a0", "b0"]).unwrap();
    let (a, b) = (topology.zone("a"), topology.zone("b"));
    let (near, far): (IpAddr, IpAddr) = ("10.9.0.1".parse().unwrap(), "10.9.0.2".parse().unwrap());
    a.add_address(near).unwrap();
    b.add_address(far).unwrap();
    assert!(Client::new(&a.namespace).source(near).ping(far));
    topology.router.remove_link("br0").unwrap();
}

#[test]
fn a_redirect_proxy_learns_the_original_destination() {
    if !privileged() {
        return;
    }
    let topology = Topology::new().unwrap();
    let _echo = EchoServer::start(&topology.server().namespace, "web", 80).unwrap();
    nft(
        &topology.router,
        "add table inet t; \
         add chain inet t p { type nat hook prerouting priority -100; }; \
         add rule inet t p tcp dport { 80, 81 } redirect to :15002",
    );
    let forward = Mode::Forward { mark: None };
    let proxy = RedirectProxy::start(&topology.router, "proxy", 15002, forward).unwrap();
    let client = Client::new(&topology.client().namespace).source_port(4000);
    for (own, to) in topology
        .client()
        .addresses()
        .into_iter()
        .zip(topology.server().addresses())
    {
        assert_eq!(client.tcp(to, 80).answered_by(), Some("web"));
        let last = proxy.seen().pop().unwrap();
        assert_eq!(last.protocol, Protocol::Tcp);
        assert_eq!(last.source, (own, 4000).into());
        assert_eq!(last.original_destination, (to, 80).into());
        assert!(!client.source_port(0).tcp(to, 81).is_connected());
    }
}

#[test]
fn a_transparent_proxy_without_rules_sees_nothing() {
    if !privileged() {
        return;
    }
    let topology = Topology::new().unwrap();
    let _echo = EchoServer::start(&topology.server().namespace, "web", 80).unwrap();
    let proxy = TransparentProxy::start(&topology.router, "proxy", 15001, Mode::Answer).unwrap();
    let client = Client::new(&topology.client().namespace);
    assert_eq!(
        client.tcp(topology.server().v4, 80).answered_by(),
        Some("web")
    );
    assert_eq!(proxy.seen(), []);
    assert_eq!(
        client.tcp(topology.client().router_v4, 15001).answered_by(),
        Some("proxy")
    );
}
