//! What the policy costs: a transfer over TCP, and small datagrams.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use polc_runtime_loader::lab::Zone;

use crate::router::{Router, SERVER_PORT, VISIBLE_PORT};

/// The bytes of a transfer.
const TRANSFER: usize = 256 << 20;
/// The datagrams of a run.
const DATAGRAMS: u32 = 100_000;
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the client's traffic goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To the server's own address.
    Masquerade,
    /// To an address of the router.
    Dnat,
}

/// A measurement of a router: nanoseconds of each round.
struct Series<'r> {
    router: &'r Router,
    way: Way,
    v6: bool,
    transfer: Vec<f64>,
    datagram: Vec<f64>,
}

fn destination(router: &Router, way: Way, v6: bool) -> SocketAddr {
    let index = usize::from(v6);
    match way {
        Way::Masquerade => {
            SocketAddr::new(router.topology.server().addresses()[index], SERVER_PORT)
        }
        Way::Dnat => {
            let client = router.topology.client();
            SocketAddr::new([client.router_v4, client.router_v6][index], VISIBLE_PORT)
        }
    }
}

/// Nanoseconds for a kilobyte of a transfer.
fn transfer(router: &Router, to: SocketAddr) -> f64 {
    let (client, server) = (router.topology.client(), router.topology.server());
    let any = SocketAddr::new(server.addresses()[usize::from(to.is_ipv6())], SERVER_PORT);
    let listener = server.namespace.run(|| TcpListener::bind(any));
    let listener = listener.expect("a namespace").expect("a listener");
    let time = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut buffer = vec![0; 1 << 18];
            let mut got = 0;
            while got < TRANSFER {
                match stream.read(&mut buffer).expect("it is readable") {
                    0 => panic!("{got} bytes of {TRANSFER}"),
                    length => got += length,
                }
            }
            stream.write_all(b"!").expect("it is writable");
        });
        let connected = client
            .namespace
            .run(|| TcpStream::connect_timeout(&to, PATIENCE));
        let mut stream = connected.expect("a namespace").expect("a connection");
        let bytes = vec![7; 1 << 18];
        let start = Instant::now();
        for _ in 0..TRANSFER / bytes.len() {
            stream.write_all(&bytes).expect("it is writable");
        }
        let mut done = [0];
        stream.read_exact(&mut done).expect("all arrived");
        let time = start.elapsed();
        reader.join().expect("it ends");
        time
    });
    time.as_secs_f64() * 1e9 / (TRANSFER as f64 / 1024.0)
}

/// Nanoseconds for a datagram of a flow that was answered. The kernel forwards it, and hands it to the
/// server's socket, before the call that sends it returns.
fn datagrams(router: &Router, to: SocketAddr) -> f64 {
    let (client, server) = (router.topology.client(), router.topology.server());
    let v6 = to.is_ipv6();
    let any = SocketAddr::new(server.addresses()[usize::from(v6)], SERVER_PORT);
    let bound = |zone: &Zone, address| {
        let socket = zone.namespace.run(|| UdpSocket::bind(address));
        socket.expect("a namespace").expect("a socket")
    };
    let far = bound(server, any);
    let near = bound(
        client,
        SocketAddr::new(client.addresses()[usize::from(v6)], 0),
    );
    near.connect(to).expect("a destination");
    far.set_read_timeout(Some(PATIENCE)).expect("a setting");
    near.set_read_timeout(Some(PATIENCE)).expect("a setting");
    let mut buffer = [0; 64];
    for _ in 0..3 {
        near.send(b"question").expect("sent");
        let (_, peer) = far.recv_from(&mut buffer).expect("it arrives");
        far.send_to(b"answer", peer).expect("sent");
        near.recv(&mut buffer).expect("it is answered");
    }
    let before = arrived(server);
    let start = Instant::now();
    for _ in 0..DATAGRAMS {
        near.send(&buffer[..18]).expect("sent");
    }
    let time = start.elapsed();
    let arrived = arrived(server) - before;
    assert!(
        arrived >= u64::from(DATAGRAMS) * 99 / 100,
        "{}: {arrived} of {DATAGRAMS} datagrams arrived",
        router.name()
    );
    time.as_secs_f64() * 1e9 / f64::from(DATAGRAMS)
}

/// How many packets the host of a zone has got.
fn arrived(zone: &Zone) -> u64 {
    let read = || std::fs::read_to_string("/proc/thread-self/net/dev");
    let text = zone
        .namespace
        .run(read)
        .expect("a namespace")
        .expect("figures");
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("eth0:"));
    let word = line.and_then(|line| line.split_whitespace().nth(1));
    word.and_then(|word| word.parse().ok()).expect("a number")
}

fn least_and_median(values: &mut [f64]) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2])
}

/// The best transfer and datagram of `nftables` on the same way.
fn of_nftables(series: &[Series], like: &Series) -> (f64, f64) {
    let mut same = series
        .iter()
        .filter(|one| (one.way, one.v6) == (like.way, like.v6));
    let one = same.find(|one| one.router.target == Some("nftables"));
    let one = one.expect("it is measured");
    let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
    (least(&one.transfer), least(&one.datagram))
}

/// Measures all routers in turn, so many times, and prints what their policies cost.
pub(crate) fn run(routers: &[Router], rounds: usize) {
    let mut series = Vec::new();
    for way in [Way::Masquerade, Way::Dnat] {
        for v6 in [false, true] {
            let with = routers
                .iter()
                .filter(|r| r.target.is_some() || way == Way::Masquerade);
            series.extend(with.map(|router| Series {
                router,
                way,
                v6,
                transfer: Vec::new(),
                datagram: Vec::new(),
            }));
        }
    }
    for _ in 0..rounds {
        for one in &mut series {
            let to = destination(one.router, one.way, one.v6);
            one.transfer.push(transfer(one.router, to));
            one.datagram.push(datagrams(one.router, to));
        }
    }
    println!(
        "\n{:<24}{:>10}{:>9}{:>9}{:>12}{:>10}{:>10}",
        "", "Gbit/s", "(median)", "ratio", "ns/datagram", "(median)", "ratio"
    );
    let base: Vec<(f64, f64)> = series.iter().map(|one| of_nftables(&series, one)).collect();
    for (one, base) in series.iter_mut().zip(base) {
        let way = if one.way == Way::Dnat {
            "dnat and masquerade"
        } else {
            "masquerade"
        };
        let (transfer, transfer_median) = least_and_median(&mut one.transfer);
        let (datagram, datagram_median) = least_and_median(&mut one.datagram);
        // A kilobyte is 8192 bits.
        println!(
            "{:<9}{way:<20}{}{:>8.2}{:>9.2}{:>9.2}{datagram:>12.0}{datagram_median:>10.0}{:>10.2}",
            one.router.name(),
            if one.v6 { "6" } else { "4" },
            8192.0 / transfer,
            8192.0 / transfer_median,
            base.0 / transfer,
            datagram / base.1,
        );
    }
}
