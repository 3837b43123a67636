//! Transparent proxying end to end, with a bundle written by hand.

use polc_bundle::{Bundle, ObjectKind, Sysctl};
use polc_runtime_loader::lab::{
    Client, EchoServer, Mode, Outcome, Protocol, Topology, TransparentProxy,
};
use polc_runtime_loader::remove;

use crate::apply::routing;
use crate::support::{Policy, State, privileged};

const PROXY_PORT: u16 = 15001;

/// Steers TCP and UDP port 80 that comes from the zone `client` to the proxy.
fn steering() -> Bundle {
    let mut policy = Policy::new(
        "chain prerouting {\ntype filter hook prerouting priority -150; policy accept;\n\
         ct state invalid counter\n\
         meta l4proto tcp socket transparent 1 socket wildcard 0 \
         meta mark set meta mark | 0x1 accept\n\
         iifname != \"lan0\" return\n\
         fib daddr type { local, broadcast, multicast, anycast } return\n\
         meta l4proto { tcp, udp } th dport 80 tproxy to :15001 \
         meta mark set meta mark | 0x1 accept\n\
         meta l4proto { tcp, udp } th dport 80 drop\n}\n",
        &[(ObjectKind::Chain, "prerouting")],
    );
    // The answers of servers to a proxy that uses the client's address come in from elsewhere.
    policy.routing = routing(100);
    let rules: Vec<_> = policy.routing.rules.clone();
    policy
        .routing
        .rules
        .extend(rules.into_iter().map(|mut rule| {
            rule.iif = Some("wan0".to_owned());
            rule
        }));
    policy.sysctls = vec![Sysctl {
        key: "net/ipv4/conf/lan0/rp_filter".to_owned(),
        values: vec!["0".to_owned(), "1".to_owned(), "2".to_owned()],
        reason: "it must exist".to_owned(),
        required: true,
    }];
    policy.bundle()
}

#[test]
fn forwarded_traffic_reaches_the_proxy_with_both_addresses() {
    if !privileged() {
        return;
    }
    let (topology, state) = (Topology::new().unwrap(), State::new());
    let _echo = EchoServer::start(&topology.server().namespace, "web", 80).unwrap();
    let _other = EchoServer::start(&topology.server().namespace, "other", 81).unwrap();
    let proxy =
        TransparentProxy::start(&topology.router, "proxy", PROXY_PORT, Mode::Answer).unwrap();
    let client = Client::new(&topology.client().namespace).source_port(4711);
    let pairs = || {
        let own = topology.client().addresses();
        own.into_iter().zip(topology.server().addresses())
    };
    for (_, to) in pairs() {
        assert_eq!(client.udp(to, 80).answered_by(), Some("web"));
    }
    let applied = state.apply(&topology.router, &steering()).unwrap();
    assert_eq!(applied.warnings, []);
    let mut expected = Vec::new();
    for (own, to) in pairs() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let outcome = match protocol {
                Protocol::Tcp => client.tcp(to, 80),
                Protocol::Udp => client.udp(to, 80),
            };
            let Outcome::Connected(reply) = outcome else {
                panic!("{protocol:?} {to}: {outcome:?}");
            };
            assert_eq!(reply.name, "proxy");
            assert_eq!(reply.peer, (own, 4711).into());
            assert_eq!(reply.local, (to, 80).into());
            expected.push((protocol, reply.peer, reply.local));
        }
        assert_eq!(
            client.source_port(0).tcp(to, 81).answered_by(),
            Some("other")
        );
    }
    let seen: Vec<_> = proxy
        .seen()
        .into_iter()
        .map(|p| (p.protocol, p.source, p.original_destination))
        .collect();
    assert_eq!(seen, expected);

    // Without a listener the steered traffic stops; it does not go round the proxy.
    drop(proxy);
    let client = client.source_port(0);
    for (_, to) in pairs() {
        assert_eq!(client.tcp(to, 80), Outcome::TimedOut);
        assert_eq!(client.udp(to, 80), Outcome::TimedOut);
    }
    remove(Some(topology.router.name()), Some(state.path())).unwrap();
    for (_, to) in pairs() {
        assert_eq!(client.tcp(to, 80).answered_by(), Some("web"));
    }
}

#[test]
fn a_forwarding_proxy_uses_the_clients_address() {
    if !privileged() {
        return;
    }
    let (topology, state) = (Topology::new().unwrap(), State::new());
    let _echo = EchoServer::start(&topology.server().namespace, "web", 80).unwrap();
    let forward = Mode::Forward { mark: None };
    let proxy = TransparentProxy::start(&topology.router, "proxy", PROXY_PORT, forward).unwrap();
    state.apply(&topology.router, &steering()).unwrap();
    let client = Client::new(&topology.client().namespace);
    let pairs = topology.client().addresses().into_iter();
    for (own, to) in pairs.zip(topology.server().addresses()) {
        let Outcome::Connected(reply) = client.tcp(to, 80) else {
            panic!("no TCP through the proxy to {to}");
        };
        assert_eq!(reply.name, "web");
        assert_eq!(reply.peer.ip(), own);
        let Outcome::Connected(reply) = client.udp(to, 80) else {
            panic!("no UDP through the proxy to {to}");
        };
        assert_eq!(reply.name, "web");
        assert_ne!(reply.peer.ip(), own);
    }
    assert_eq!(proxy.seen().len(), 4);
}

/// Steers this host's own TCP and UDP to port 80, except what has the mark 2.
fn local_steering() -> Bundle {
    let mut policy = Policy::new(
        "chain output {\ntype route hook output priority -150; policy accept;\n\
         ct state invalid counter\n\
         meta mark & 0xff == 0x2 return\n\
         oifname \"lo\" return\n\
         fib daddr type { local, broadcast, multicast, anycast } return\n\
         meta l4proto { tcp, udp } th dport 80 meta mark set meta mark | 0x1\n}\n\
         chain prerouting {\ntype filter hook prerouting priority -150; policy accept;\n\
         iifname != \"lo\" return\n\
         meta mark & 0x1 == 0x1 meta l4proto { tcp, udp } tproxy to :15001 accept\n\
         meta mark & 0x1 == 0x1 drop\n}\n",
        &[
            (ObjectKind::Chain, "output"),
            (ObjectKind::Chain, "prerouting"),
        ],
    );
    policy.routing = routing(100);
    for rule in &mut policy.routing.rules {
        rule.iif = Some("lo".to_owned());
    }
    policy.bundle()
}

#[test]
fn local_traffic_reaches_the_proxy_and_the_proxys_own_does_not_loop() {
    if !privileged() {
        return;
    }
    let (topology, state) = (Topology::new().unwrap(), State::new());
    let host = &topology.client().namespace;
    let _echo = EchoServer::start(&topology.server().namespace, "web", 80).unwrap();
    let forward = Mode::Forward { mark: Some(2) };
    let proxy = TransparentProxy::start(host, "proxy", PROXY_PORT, forward).unwrap();
    state.apply(host, &local_steering()).unwrap();
    let client = Client::new(host);
    for (number, to) in topology.server().addresses().into_iter().enumerate() {
        assert_eq!(client.tcp(to, 80).answered_by(), Some("web"));
        assert_eq!(client.udp(to, 80).answered_by(), Some("web"));
        assert_eq!(proxy.seen().len(), 2 * (number + 1));
        let direct = client.mark(2);
        assert_eq!(direct.tcp(to, 80).answered_by(), Some("web"));
        assert_eq!(direct.udp(to, 80).answered_by(), Some("web"));
        assert_eq!(proxy.seen().len(), 2 * (number + 1));
    }
    let own = topology.client().addresses();
    let seen = proxy.seen();
    assert!(
        seen.iter().all(|p| own.contains(&p.source.ip())),
        "{seen:?}"
    );
}
