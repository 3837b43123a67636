//! Policies as programs, from the command line, and what other tools make of them.

use polc_runtime_loader::lab::{Client, EchoServer, Namespace, Outcome, Topology};
use tempfile::TempDir;

use crate::gateway::polc;
use crate::harness::{has_program, possible};

/// Runs a shell script in a namespace, with the mounts of its own.
fn script(namespace: &Namespace, script: &str) -> String {
    let arguments = ["--mount", "sh", "-ec", script];
    namespace.output("unshare", &arguments).expect("it runs")
}

/// A bundle for `ebpf` in a directory.
fn bundle(policy: &str) -> TempDir {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().to_str().unwrap();
    polc(&["build", policy, "--target", "ebpf", "-o", path]);
    directory
}

/// The model policy of a web server is in force as programs: who reaches it, and what it reaches.
#[test]
fn the_host_policy_guards_a_web_server() {
    if !possible() {
        return;
    }
    // The server is what the topology calls its router.
    let topology = Topology::with_zones(&[("client", "eth0")]).expect("a topology");
    let (host, zone) = (&topology.router, topology.client());
    let state = TempDir::new().expect("a directory");
    let place = [
        "--netns",
        host.name(),
        "--state-dir",
        state.path().to_str().unwrap(),
    ];
    let with = |first: &[&'static str]| [first, &place[..]].concat();
    // Others of the public Internet come from next to the administrators.
    let admins = ["203.0.113.5", "2001:db8:ad::5"].map(|text| text.parse().unwrap());
    let others = ["9.9.8.7", "2620:fe::8"].map(|text| text.parse().unwrap());
    for (number, address) in admins.into_iter().chain(others).enumerate() {
        let index = number % 2;
        zone.namespace
            .add_address(&zone.interface, address, [32, 128][index])
            .expect("an address");
        let (to, via) = (address.to_string(), zone.addresses()[index].to_string());
        host.output("ip", &["route", "add", &to, "via", &via])
            .expect("a route");
    }
    polc(&with(&["apply", "policies/host.pol", "--target", "ebpf"]));
    let servers: Vec<EchoServer> = [22, 443, 8080]
        .map(|port| EchoServer::start(host, "host", port).expect("a server"))
        .into();
    let _far = EchoServer::start(&zone.namespace, "far", 443).expect("a server");
    let _resolver = EchoServer::start(&zone.namespace, "resolver", 5353).expect("a server");
    let client = Client::new(&zone.namespace);
    let own = [zone.router_v4, zone.router_v6];
    for (index, server) in own.into_iter().enumerate() {
        let admin = client.source(admins[index]);
        let other = client.source(others[index]);
        assert_eq!(admin.tcp(server, 22).answered_by(), Some("host"));
        assert_eq!(admin.tcp(server, 443).answered_by(), Some("host"));
        assert_eq!(other.tcp(server, 443).answered_by(), Some("host"));
        assert_eq!(other.tcp(server, 22), Outcome::TimedOut);
        assert_eq!(admin.tcp(server, 8080), Outcome::TimedOut);
        let own = client.source(zone.addresses()[index]);
        let private = own.tcp(server, 443).is_connected();
        assert_eq!(private, server.is_ipv6(), "bogons are of IPv4");
        let far = zone.addresses()[index];
        assert_eq!(Client::new(host).tcp(far, 443).answered_by(), Some("far"));
        assert_eq!(Client::new(host).udp(far, 5353), Outcome::Refused);
    }
    let status = polc(&with(&["status", "--exit-code"]));
    assert!(status.contains("in step     yes"), "{status}");
    polc(&with(&["remove"]));
    assert_eq!(client.tcp(own[0], 8080).answered_by(), Some("host"));
    drop(servers);
}

#[test]
fn bpftool_loads_the_host_policy_and_quotes_its_lines() {
    if !possible() || !has_program("bpftool") {
        return;
    }
    let namespace = Namespace::new().expect("a namespace");
    let bundle = bundle("policies/host.pol");
    let said = script(
        &namespace,
        &format!(
            "mount -t bpf none /sys/fs/bpf
             bpftool prog loadall {}/policy.o /sys/fs/bpf/programs pinmaps /sys/fs/bpf/maps
             for program in /sys/fs/bpf/programs/*; do
               bpftool prog dump xlated pinned $program linum
             done",
            bundle.path().display()
        ),
    );
    for (place, text) in [
        ("lib/host.pol line_num:11 ", "allow icmp within 10/s"),
        ("lib/host.pol line_num:16 ", "allow ssh from admins"),
        (":host.pol line_num:15 ", "allow site"),
        (":host.pol line_num:17 ", "default deny log \"in\""),
        (":host.pol line_num:21 ", "allow updates"),
        (":host.pol line_num:23 ", "default reject log \"out\""),
    ] {
        let is_of_it =
            |line: &str| line.starts_with("; ") && line.contains(place) && line.contains(text);
        assert!(said.lines().any(is_of_it), "`{text}` at {place}");
    }
}

#[test]
fn ip_link_attaches_the_guard_of_a_bundle() {
    if !possible() {
        return;
    }
    let namespace = Namespace::new().expect("a namespace");
    let bundle = bundle("compiler/tests/ebpf/policies/front-line.pol");
    let said = script(
        &namespace,
        &format!(
            "mount -t bpf none /sys/fs/bpf
             ip link add left type veth peer name right
             ip link set dev left xdp obj {}/policy.o sec xdp
             ip link show dev left",
            bundle.path().display()
        ),
    );
    assert!(said.contains("prog/xdp"), "{said}");
}
