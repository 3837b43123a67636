//! Interfaces whose packets have no Ethernet header: tun devices, as tunnels are to the kernel.

use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use polc_runtime_loader::lab::{Client, EchoServer, Namespace, Outcome, Topology};
use tempfile::TempDir;

use crate::harness::{Bench, Process, has_program, possible};

/// A machine at the other end of a tunnel of the router's.
struct Remote {
    namespace: Namespace,
    /// Of both families: of this machine, and of the router in the tunnel.
    addresses: [IpAddr; 2],
    router: [IpAddr; 2],
    _carriers: [Process; 2],
    _sockets: TempDir,
}

impl Remote {
    /// Joins a new machine to the router by the interface `wgN` of both, with the networks
    /// `10.9.N.0/24` and `fd09:N::/64`, of which the router is number 1.
    fn new(router: &Namespace, number: u8) -> Self {
        let interface = format!("wg{number}");
        let namespace = Namespace::new().expect("a namespace");
        let sockets = TempDir::new().expect("a directory");
        let [near, far] = ["near", "far"].map(|name| sockets.path().join(name));
        let ends = [router, &namespace];
        let carriers = [
            carrier(router, &interface, &near, &far),
            carrier(&namespace, &interface, &far, &near),
        ];
        let end = Instant::now() + Duration::from_secs(10);
        while !(near.exists() && far.exists()) {
            assert!(
                Instant::now() < end,
                "nobody carries what `{interface}` sends"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        let [own, other] = [1, 2].map(|host| {
            let v4 = format!("10.9.{number}.{host}");
            let v6 = format!("fd09:{number}::{host}");
            [v4, v6].map(|address| address.parse().expect("an address"))
        });
        for (end, addresses) in ends.into_iter().zip([own, other]) {
            end.set_link_up(&interface, true).expect("it is up");
            for (address, prefix) in addresses.into_iter().zip([24, 64]) {
                let added = end.add_address(&interface, address, prefix);
                added.expect("an address");
            }
        }
        for (gateway, all) in own.into_iter().zip(["0.0.0.0", "::"]) {
            let all = all.parse().expect("an address");
            namespace.add_route(all, 0, gateway).expect("a route");
        }
        Self {
            namespace,
            addresses: other,
            router: own,
            _carriers: carriers,
            _sockets: sockets,
        }
    }

    fn client(&self) -> Client<'_> {
        Client::new(&self.namespace)
    }

    fn serve(&self, ports: &[u16]) -> Vec<EchoServer> {
        let start = |port: &u16| EchoServer::start(&self.namespace, "remote", *port);
        ports.iter().map(|p| start(p).expect("a server")).collect()
    }
}

/// Makes a tun device and starts what carries its packets to another's socket.
fn carrier(namespace: &Namespace, interface: &str, own: &Path, other: &Path) -> Process {
    let make = ["tuntap", "add", "mode", "tun", "name", interface];
    namespace.output("ip", &make).expect("a tun device");
    let mut command = Command::new("socat");
    command
        .arg(format!("TUN,tun-name={interface},iff-no-pi"))
        .arg(format!(
            "UNIX-SENDTO:{},bind={}",
            other.display(),
            own.display()
        ))
        .stdin(Stdio::null());
    Process(namespace.spawn(&mut command).expect("socat starts"))
}

/// A router with two tunnels, and the machines behind them.
fn bench() -> (Bench, [Remote; 2]) {
    let bench = Bench::bare(Topology::new().expect("a topology")).built_for("ebpf");
    let remotes = [1, 2].map(|number| Remote::new(bench.router(), number));
    (bench, remotes)
}

const ZONES: &str = "
zone vpn = wg*
from vpn to host { allow tcp/22, udp/22, icmp  reject tcp/23, udp/23  default deny }
from vpn to wan  { allow tcp/80, udp/80  reject tcp/82, udp/82  default deny }
from vpn to vpn  { allow tcp/80, udp/80  reject tcp/82, udp/82  default deny }
from lan to vpn  { allow tcp/80, udp/80  reject tcp/82, udp/82  default deny }
from host to vpn { allow tcp/80, udp/80  reject tcp/82, udp/82  default deny }
default deny
";

/// Whom a client reaches at an address: at 80, and neither at 81, where nobody answers, nor at 82,
/// where it is refused.
fn judged(client: &Client, address: IpAddr, name: &str) {
    assert_eq!(client.tcp(address, 80).answered_by(), Some(name));
    assert_eq!(client.udp(address, 80).answered_by(), Some(name));
    assert_eq!(client.tcp(address, 82), Outcome::Refused, "{address}");
    assert_eq!(client.udp(address, 82), Outcome::Refused, "{address}");
    assert_eq!(client.udp(address, 81), Outcome::TimedOut, "{address}");
}

#[test]
fn tunnels_are_judged() {
    if !possible() || !has_program("socat") {
        return;
    }
    let (bench, [one, other]) = bench();
    bench.apply(ZONES);
    let ports = [80, 81, 82];
    let _wan = ports.map(|port| bench.serve("wan", port));
    let _remote = [one.serve(&ports), other.serve(&ports)];
    let _own = [22, 23, 24]
        .map(|port| EchoServer::start(bench.router(), "router", port).expect("a server"));
    let host = Client::new(bench.router());
    for (index, server) in bench.server().into_iter().enumerate() {
        let router = one.router[index];
        assert_eq!(one.client().tcp(router, 22).answered_by(), Some("router"));
        assert_eq!(one.client().udp(router, 22).answered_by(), Some("router"));
        assert!(one.client().ping(router));
        assert_eq!(one.client().tcp(router, 23), Outcome::Refused);
        assert_eq!(one.client().udp(router, 23), Outcome::Refused);
        assert_eq!(one.client().tcp(router, 24), Outcome::TimedOut);
        judged(&one.client(), server, "wan");
        judged(&one.client(), other.addresses[index], "remote");
        judged(&bench.client(), one.addresses[index], "remote");
        judged(&host, one.addresses[index], "remote");
    }
    let status = bench.status();
    assert!(status.in_step, "{status:?}");
    let bare = |name: &Option<String>| name.as_ref().is_some_and(|n| n.ends_with("_ip"));
    let mut programs = status.programs.iter();
    assert!(programs.all(|p| p.interface.starts_with("wg") == bare(&p.name)));
    let of_tunnels = status.programs.iter().filter(|p| bare(&p.name));
    assert_eq!(of_tunnels.count(), 4, "{status:?}");

    bench.remove().expect("removed");
    // A link may go a moment later: a SYN is sent again.
    for (index, server) in bench.server().into_iter().enumerate() {
        assert!(one.client().tcp(server, 81).is_connected());
        assert!(one.client().tcp(one.router[index], 24).is_connected());
        assert!(bench.client().tcp(one.addresses[index], 81).is_connected());
    }
}

/// Guards at both of their hooks.
#[test]
fn what_comes_by_a_tunnel_is_guarded() {
    if !possible() || !has_program("socat") {
        return;
    }
    for (mode, more) in [("generic", ""), ("tcx", "match udp/80 mark 0x1/0xff")] {
        let (bench, [one, _]) = bench();
        let policy = format!(
            "guard on wg*, lan0 {{
               {more}
               deny tcp/81, udp/81 as port count
               deny udp/82 when eth.type in {{ 0x0800, 0x86dd }} as typed count
               default allow
             }}"
        );
        bench.apply(&policy);
        let _servers = [80, 81, 82].map(|port| bench.serve("wan", port));
        for server in bench.server() {
            assert!(one.client().udp(server, 80).is_connected());
            assert_eq!(one.client().udp(server, 81), Outcome::TimedOut);
            // No frame of a tunnel has a type.
            assert!(one.client().udp(server, 82).is_connected());
            assert_eq!(bench.client().udp(server, 82), Outcome::TimedOut);
        }
        assert!(bench.packets("port") >= 2);
        assert_eq!(bench.packets("typed"), 2);
        let status = bench.status();
        assert!(status.in_step, "{status:?}");
        let mut programs = status.programs.iter();
        let tunnel = programs.find(|p| p.interface == "wg1").expect("a program");
        assert_eq!(tunnel.mode.as_deref(), Some(mode));
        bench.remove().expect("removed");
        for server in bench.server() {
            assert!(one.client().tcp(server, 81).is_connected());
        }
    }
}
