//! Translated and proxied connections that are alive while much else goes on.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use polc_compiler::target;
use polc_runtime_loader::lab::{
    Client, EchoServer, Mode, Outcome, RedirectProxy, Reply, Session, Topology, TransparentProxy,
    Wire,
};

use crate::harness::{Bench, build_for, build_with, loopback, on_targets};
use crate::probe::Ends;

on_targets! {
    nftables: connections_live_through_many_applies, a_flood_of_flows_cuts_no_translated_connection, ports_of_flows_that_are_over_are_given_again;
    iptables_legacy: connections_live_through_many_applies, a_flood_of_flows_cuts_no_translated_connection, ports_of_flows_that_are_over_are_given_again;
    iptables_nft: connections_live_through_many_applies, a_flood_of_flows_cuts_no_translated_connection, ports_of_flows_that_are_over_are_given_again;
    ebpf: connections_live_through_many_applies, a_flood_of_flows_cuts_no_translated_connection, ports_of_flows_that_are_over_are_given_again;
}

/// A size that the environment can make larger.
fn size(name: &str, usual: usize) -> usize {
    let given = std::env::var(name).ok();
    given.map_or(usual, |text| text.parse().expect("a number"))
}

/// How long a thread waits between two words that it says.
const PAUSE: Duration = Duration::from_micros(500);

/// A connection, and who answers it.
struct Live {
    session: Session,
    to: SocketAddr,
    first: Reply,
}

impl Live {
    fn open(client: Client, to: SocketAddr) -> Self {
        let mut session = client
            .tcp_session(to.ip(), to.port())
            .unwrap_or_else(|outcome| panic!("{to}: {outcome:?}"));
        let outcome = session.exchange();
        let Outcome::Connected(first) = outcome else {
            panic!("{to}: {outcome:?}")
        };
        Self { session, to, first }
    }

    /// Says one more word; what is wrong with the answer.
    fn go_on(&mut self) -> Result<(), String> {
        match self.session.exchange() {
            Outcome::Connected(reply)
                if (&reply.name, reply.peer, reply.local)
                    == (&self.first.name, self.first.peer, self.first.local)
                    && reply.tag != self.first.tag =>
            {
                self.first.tag = reply.tag;
                Ok(())
            }
            other => Err(format!("{}: {other:?}, at first {:?}", self.to, self.first)),
        }
    }
}

/// Two policies, which number their proxies, rules and sets in different ways.
fn policy(round: usize) -> String {
    let (other, rule) = if round == 0 {
        ("", "")
    } else {
        (
            "proxy aside { listen tcp at 127.0.0.1:12399, [::1]:12399  mark 0x2/0xff  table 101 }",
            "direct udp/5353 from lan\n  proxy tcp/9999 from lan via aside",
        )
    };
    format!(
        "{other}
proxy box {{ listen tcp at 127.0.0.1:12345, [::1]:12345  mark 0x1/0xff  table 100 }}
set visible = {{ 10.0.1.1, fd00:1::1 }}
set moving = {{ 192.0.2.{round} }}
steer {{
  {rule}
  proxy    tcp/8080 from lan via box
  dnat     tcp/8081 from lan to @visible => 10.0.2.2:80, [fd00:2::2]:80
  redirect tcp/8082 from lan => :15001
}}
egress {{ masquerade tcp/81 from lan to wan }}
from lan to wan {{ allow tcp/80, tcp/81  allow tcp/22 to @moving  default deny }}
from host {{ default allow }}
default deny"
    )
}

fn connections_live_through_many_applies(target: &'static str) {
    let (applies, count) = (
        size("POLC_TEST_APPLIES", 12),
        size("POLC_TEST_CONNECTIONS", 100),
    );
    let bundles = [0, 1].map(|round| build_for(target, &policy(round)));
    assert_ne!(bundles[0], bundles[1]);
    let bench = Bench::bare(Topology::new().expect("a topology")).built_for(target);
    bench.apply_bundle(&bundles[0]);
    let _servers = [80, 81].map(|port| bench.serve("server", port));
    let router = bench.router();
    let _proxies = (
        TransparentProxy::start_on(router, "box", &loopback(12345), Mode::Answer).expect("a proxy"),
        TransparentProxy::start_on(router, "aside", &loopback(12399), Mode::Answer)
            .expect("a proxy"),
        RedirectProxy::start(router, "redirected", 15001, Mode::Answer).expect("a proxy"),
    );
    let (near, far) = (bench.topology.client(), bench.topology.server());
    let client = bench.client().timeout(Duration::from_secs(10));
    let mut live: Vec<Live> = (0..count)
        .map(|number| {
            let v6 = number % 2;
            let visible = [near.router_v4, near.router_v6][v6];
            let server = far.addresses()[v6];
            let (to, port, name, outer) = match number / 2 % 4 {
                0 => (server, 8080, "box", near.addresses()[v6]),
                1 => (visible, 8081, "server", near.addresses()[v6]),
                2 => (server, 81, "server", [far.router_v4, far.router_v6][v6]),
                _ => (server, 8082, "redirected", near.addresses()[v6]),
            };
            let live = Live::open(client, SocketAddr::new(to, port));
            assert_eq!(
                (live.first.name.as_str(), live.first.peer.ip()),
                (name, outer)
            );
            live
        })
        .collect();
    let done = AtomicBool::new(false);
    let exchanges = AtomicUsize::new(0);
    let (mut broken, time) = std::thread::scope(|scope| {
        let threads: Vec<_> = live
            .chunks_mut(count.div_ceil(4))
            .map(|part| {
                let (done, exchanges) = (&done, &exchanges);
                scope.spawn(move || {
                    let mut broken = Vec::new();
                    while !done.load(Ordering::Relaxed) && broken.is_empty() {
                        for one in &mut *part {
                            broken.extend(one.go_on().err());
                            exchanges.fetch_add(1, Ordering::Relaxed);
                            // The policies have to be put in force meanwhile.
                            std::thread::sleep(PAUSE);
                        }
                    }
                    broken
                })
            })
            .collect();
        let start = Instant::now();
        for round in 1..=applies {
            bench.apply_bundle(&bundles[round % 2]);
        }
        let time = start.elapsed();
        done.store(true, Ordering::Relaxed);
        let results = threads.into_iter().map(|t| t.join().expect("it ends"));
        (results.flatten().collect::<Vec<_>>(), time)
    });
    broken.extend(live.iter_mut().filter_map(|one| one.go_on().err()));
    let exchanges = exchanges.into_inner();
    assert!(
        broken.is_empty(),
        "{} are broken: {:#?}",
        broken.len(),
        &broken[..broken.len().min(10)]
    );
    assert!(exchanges >= count, "{exchanges} exchanges");
    eprintln!(
        "{count} connections, {applies} applies in {time:.1?}, {exchanges} exchanges, 0 broken"
    );
}

/// Addresses that lead to the server, which does not have them.
fn nobody_at_the_server(bench: &Bench) -> [IpAddr; 2] {
    let mac = bench.topology.server().mac.to_string();
    ["10.0.2.9", "fd00:2::9"].map(|text| {
        let neighbour = ["neigh", "replace", text, "lladdr", &mac, "dev", "wan0"];
        let words = [&neighbour[..], &["nud", "permanent"]].concat();
        bench.router().output("ip", &words).expect("a neighbour");
        text.parse().unwrap()
    })
}

/// The flood has more flows than are remembered, and settled connections are among the oldest.
fn a_flood_of_flows_cuts_no_translated_connection(target: &'static str) {
    const FLOWS: u32 = 1024;
    const PORTS: u16 = 5;
    let count = size("POLC_TEST_FLOWS", 200_000);
    let options = target::Options {
        flows: FLOWS,
        ..target::Options::default()
    };
    let policy = "
        set visible = { 10.0.1.1, fd00:1::1 }
        steer { dnat tcp/8081 from lan to @visible => 10.0.2.2:80, [fd00:2::2]:80 }
        egress { masquerade from lan to wan }
        from lan to wan { allow tcp/80, udp  default deny }
        default deny";
    let bench = Bench::bare(Topology::new().expect("a topology")).built_for(target);
    bench.apply_bundle(&build_with(target, policy, &options));
    let _server: EchoServer = bench.serve("server", 80);
    let (near, far) = (bench.topology.client(), bench.topology.server());
    let mut live: Vec<Live> = [
        (far.v4, 80),
        (far.v6, 80),
        (near.router_v4, 8081),
        (near.router_v6, 8081),
    ]
    .into_iter()
    .map(|(address, port)| Live::open(bench.client(), SocketAddr::new(address, port)))
    .collect();
    for one in &mut live {
        one.go_on().expect("it is alive");
    }
    // Nobody answers for these.
    let nobody = nobody_at_the_server(&bench);
    let wire = Wire::open(&near.namespace, &near.interface).expect("a wire");
    let each = 60_000 / PORTS;
    let mut sent = 0;
    // As many at a time as there is room for in memory, each from other clients.
    for turn in 0.. {
        if sent >= count {
            break;
        }
        let clients: [IpAddr; 2] = [
            format!("10.0.1.{}", 50 + turn).parse().unwrap(),
            format!("fd00:1::{:x}", 0x50 + turn).parse().unwrap(),
        ];
        let frames: Vec<Vec<u8>> = (0..each)
            .flat_map(|source| (1..=PORTS).map(move |to| (1024 + source, to)))
            .flat_map(|(source, to)| {
                [0, 1].map(|v6| {
                    let ends = Ends::of(near, clients[v6], nobody[v6]);
                    ends.udp(source, to, "").build()
                })
            })
            .take(count - sent)
            .collect();
        let length = u64::try_from(frames.len()).expect("a number");
        let went = wire.flood(&frames, length, Duration::from_secs(120));
        assert_eq!(went.expect("sent"), length);
        sent += frames.len();
        for one in &mut live {
            one.go_on()
                .unwrap_or_else(|e| panic!("after {sent} flows: {e}"));
        }
    }
    eprintln!("{sent} flows, 0 connections cut");
}

/// One client takes every port that there is towards a server, and keeps none of them.
fn ports_of_flows_that_are_over_are_given_again(target: &'static str) {
    const PORT: u16 = 9;
    let bench = Bench::on(
        target,
        "egress { masquerade from lan to wan }
         from lan to wan { allow udp  default deny }
         default deny",
    );
    let (near, far) = (bench.topology.client(), bench.topology.server());
    let nobody = nobody_at_the_server(&bench);
    let wire = Wire::open(&near.namespace, &near.interface).expect("a wire");
    assert!(
        bench.client().udp(far.v4, 1) == Outcome::Refused,
        "neighbours are known"
    );
    for (index, address) in nobody.into_iter().enumerate() {
        let own: IpAddr = ["10.0.1.9", "fd00:1::9"][index].parse().unwrap();
        let ends = Ends::of(near, own, address);
        let frames: Vec<Vec<u8>> = (1..=u16::MAX)
            .map(|source| ends.udp(source, PORT, "").build())
            .collect();
        let length = u64::try_from(frames.len()).expect("a number");
        let sent = wire.flood(&frames, length, Duration::from_secs(60));
        assert_eq!(sent.expect("sent"), length);
    }
    for address in nobody {
        far.add_address(address).expect("an address");
    }
    let _server = bench.serve("server", PORT);
    let ask = |address| bench.client().udp(address, PORT);
    let answers = nobody.map(ask);
    assert!(answers.iter().all(|a| !a.is_connected()), "{answers:?}");
    // Nobody has answered, and so they are over soon.
    std::thread::sleep(Duration::from_secs(31));
    for address in nobody {
        for _ in 0..3 {
            let outcome = ask(address);
            assert!(outcome.is_connected(), "{address}: {outcome:?}");
        }
    }
}
