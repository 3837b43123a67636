//! HAProxy as Debian ships it, as the transparent proxy.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use polc_runtime_loader::lab::{Client, Outcome};
use tempfile::NamedTempFile;

use crate::harness::{Bench, Process, has_program, loopback, on_targets};

on_targets! {
    nftables: haproxy_takes_connections_of_the_lan_and_of_the_host, without_haproxy_nothing_gets_through;
    iptables_legacy: haproxy_takes_connections_of_the_lan_and_of_the_host, without_haproxy_nothing_gets_through;
    iptables_nft: haproxy_takes_connections_of_the_lan_and_of_the_host, without_haproxy_nothing_gets_through;
    ebpf: haproxy_takes_connections_of_the_lan_and_of_the_host, without_haproxy_nothing_gets_through;
}

const CONFIG: &str = "
global
  user haproxy
  group haproxy
defaults
  mode tcp
  timeout connect 2s
  timeout client 5s
  timeout server 5s
listen transparent
  bind 127.0.0.1:12345 transparent
  bind ::1:12345 transparent
  server original 0.0.0.0:0
";

const POLICY: &str = "
proxy haproxy {
  listen tcp at 127.0.0.1:12345, [::1]:12345
  mark   0x1/0xff
  table  100
  bypass user haproxy
}
steer {
  proxy tcp/80 from lan  via haproxy as lan count
  proxy tcp/80 from host via haproxy as own count
}
from lan  { default deny }
from host { allow tcp/80 by user haproxy  default deny }
default deny
";

fn start(bench: &Bench) -> (Process, NamedTempFile) {
    let config = NamedTempFile::new().expect("a file");
    std::fs::write(config.path(), CONFIG).expect("written");
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(config.path());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let process = Process(bench.router().spawn(&mut command).expect("HAProxy starts"));
    let end = Instant::now() + Duration::from_secs(10);
    for address in loopback(12345) {
        let connect = || {
            bench
                .router()
                .run(|| TcpStream::connect(address))
                .expect("inside")
        };
        while connect().is_err() {
            assert!(Instant::now() < end, "HAProxy does not listen on {address}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    (process, config)
}

/// Clients in the LAN and on the router itself go through HAProxy to the server they asked for;
/// filter would let neither of them through by itself, and HAProxy's own connections leave
/// untouched.
fn haproxy_takes_connections_of_the_lan_and_of_the_host(target: &'static str) {
    if !has_program("haproxy") {
        return;
    }
    let bench = Bench::on(target, POLICY);
    let _server = bench.serve("real", 80);
    let _haproxy = start(&bench);
    let zone = bench.topology.server();
    let routers: [IpAddr; 2] = [zone.router_v4, zone.router_v6];
    for (index, server) in bench.server().into_iter().enumerate() {
        for client in [bench.client(), Client::new(bench.router())] {
            let outcome = client.tcp(server, 80);
            let Outcome::Connected(reply) = &outcome else {
                panic!("{outcome:?}\n{}", bench.ruleset())
            };
            assert_eq!(reply.name, "real");
            assert_eq!(reply.peer.ip(), routers[index], "the server sees HAProxy");
            assert_eq!(reply.local, SocketAddr::new(server, 80));
        }
    }
    assert_eq!(bench.packets("lan"), 2);
    assert_eq!(
        bench.packets("own"),
        2,
        "HAProxy's own connections are not among them"
    );
}

fn without_haproxy_nothing_gets_through(target: &'static str) {
    if !has_program("haproxy") {
        return;
    }
    let bench = Bench::on(target, POLICY);
    let _server = bench.serve("real", 80);
    for server in bench.server() {
        for client in [bench.client(), Client::new(bench.router())] {
            assert!(!client.tcp(server, 80).is_connected());
        }
    }
}
