//! Many masqueraded connections that are all open at the same time, each with bytes of its own.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::far::Far;
use crate::router::{Router, SERVER_PORT, VISIBLE_PORT};

/// How many addresses clients have, of each family. All of them use the same ports.
const HOSTS: usize = 50;
const FIRST_PORT: usize = 20_000;
/// How many threads open connections, and write and read, at each end.
const THREADS: usize = 4;
/// The bytes of one exchange and direction: fewer than the buffers of a socket hold, so that all
/// connections can be written to before any is read.
pub(crate) const PAYLOAD: usize = 4096;
pub(crate) const EXCHANGES: u64 = 3;
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Connections that did not come about, or broke.
    failed: usize,
    /// Payloads, of either direction, with a byte that is wrong.
    corrupted: usize,
    /// Connections whose outer source another one has, too.
    collisions: usize,
    /// Connections that reached the server with the client's own address.
    untranslated: usize,
    /// Connections that left from another port than their own.
    moved: usize,
}

/// The two ends that say a payload.
#[derive(Clone, Copy)]
pub(crate) enum Side {
    Client = 1,
    Server = 2,
}

/// What one end says of a connection in an exchange. It begins with the connection's number.
pub(crate) fn payload(number: usize, exchange: u64, side: Side) -> Vec<u8> {
    let seed = (number as u64) << 16 | exchange << 2 | side as u64;
    let mut bytes = vec![0; PAYLOAD];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
    bytes
}

fn host(index: usize, v6: bool) -> IpAddr {
    let last = u8::try_from(100 + index).expect("few hosts");
    if v6 {
        Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, last.into()).into()
    } else {
        Ipv4Addr::new(10, 0, 1, last).into()
    }
}

/// From where a connection comes, and where it goes.
fn ends(router: &Router, number: usize) -> (SocketAddr, SocketAddr) {
    let v6 = number % 2 == 1;
    let index = number / 2;
    let port = u16::try_from(FIRST_PORT + index / HOSTS).expect("few connections");
    let from = SocketAddr::new(host(index % HOSTS, v6), port);
    let (client, server) = (router.topology.client(), router.topology.server());
    let visible = [client.router_v4, client.router_v6];
    let to = if number.is_multiple_of(7) {
        SocketAddr::new(visible[usize::from(v6)], VISIBLE_PORT)
    } else {
        SocketAddr::new(server.addresses()[usize::from(v6)], SERVER_PORT)
    };
    (from, to)
}

fn open(from: SocketAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&from.into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// Says something on every connection, and hears the answers. Returns how many connections were
/// broken, and how many payloads were wrong.
fn ask(connections: &mut [(usize, TcpStream)]) -> (usize, usize) {
    let (mut broken, mut corrupted) = (BTreeSet::new(), 0);
    let mut bytes = vec![0; PAYLOAD];
    for exchange in 0..EXCHANGES {
        for (number, stream) in &mut *connections {
            let said = stream.write_all(&payload(*number, exchange, Side::Client));
            if said.is_err() {
                broken.insert(*number);
            }
        }
        for (number, stream) in &mut *connections {
            if broken.contains(number) {
                continue;
            }
            if stream.read_exact(&mut bytes).is_err() {
                broken.insert(*number);
            } else {
                corrupted += usize::from(bytes != payload(*number, exchange, Side::Server));
            }
        }
    }
    (broken.len(), corrupted)
}

/// Runs `work` on threads, each with a part of the items.
pub(crate) fn apart<T: Send, R: Send>(
    items: &mut [T],
    work: impl Fn(&mut [T]) -> R + Sync,
) -> Vec<R> {
    let size = items.len().div_ceil(THREADS).max(1);
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = items
            .chunks_mut(size)
            .map(|part| scope.spawn(move || work(part)))
            .collect();
        let results = threads.into_iter().map(|t| t.join().expect("it ends"));
        results.collect()
    })
}

/// Opens so many connections, lets both ends of each say something, and prints what came of it.
pub(crate) fn run(router: &Router, count: usize) -> Report {
    let (client, server) = (router.topology.client(), router.topology.server());
    for index in 0..HOSTS {
        for v6 in [false, true] {
            client.add_address(host(index, v6)).expect("an address");
        }
    }
    for key in ["net/core/somaxconn", "net/ipv4/tcp_max_syn_backlog"] {
        server.namespace.sysctl(key, "8192").expect("a setting");
    }
    let far = Far::start(server, count);
    let start = Instant::now();
    // Neighbouring numbers, which have the same port, are opened at the same time.
    let mut numbers: Vec<usize> = (0..THREADS)
        .flat_map(|part| (part..count).step_by(THREADS))
        .collect();
    let opened = apart(&mut numbers, |numbers| {
        let open = |number: &usize| {
            let (from, to) = ends(router, *number);
            Some((*number, open(from, to).ok()?))
        };
        let all = || numbers.iter().filter_map(open).collect::<Vec<_>>();
        client.namespace.run(all).expect("a namespace")
    });
    let mut connections: Vec<_> = opened.into_iter().flatten().collect();
    let opening = start.elapsed();
    let start = Instant::now();
    let heard = far.all_are_open();
    let asked = apart(&mut connections, ask);
    let exchanging = start.elapsed();
    let heard = heard.end();

    let failed: usize = asked.iter().map(|(broken, _)| broken).sum();
    let wrong: usize = asked.iter().map(|(_, wrong)| wrong).sum();
    let mut report = Report {
        failed: count - connections.len() + failed,
        corrupted: heard.corrupted + wrong,
        ..Report::default()
    };
    let (mut sources, mut known) = (BTreeSet::new(), BTreeSet::new());
    let outer = [server.router_v4, server.router_v6];
    for (peer, number) in heard.connections {
        report.collisions += usize::from(!sources.insert(peer));
        report.untranslated += usize::from(!outer.contains(&peer.ip()));
        // What has said nothing is counted among those that failed.
        if let Some(number) = number {
            report.corrupted += usize::from(!known.insert(number));
            report.moved += usize::from(ends(router, number).0.port() != peer.port());
        }
    }
    println!(
        "{:<10}{:>8}{:>8.2}{:>10.2}{:>9}{:>12}{:>11}{:>8}{:>14}{:>8}",
        router.name(),
        connections.len(),
        opening.as_secs_f64(),
        exchanging.as_secs_f64(),
        sources.len(),
        report.collisions,
        report.corrupted,
        report.failed,
        report.untranslated,
        report.moved,
    );
    report
}

/// Prints what the columns of [`run`] are.
pub(crate) fn heading() {
    println!(
        "{:<10}{:>8}{:>8}{:>10}{:>9}{:>12}{:>11}{:>8}{:>14}{:>8}",
        "",
        "open",
        "open s",
        "exchange",
        "sources",
        "collisions",
        "corrupted",
        "failed",
        "untranslated",
        "moved"
    );
}

impl Report {
    /// Whether every connection was translated, and said and heard what it should.
    pub(crate) fn is_clean(&self) -> bool {
        self.failed + self.corrupted + self.collisions + self.untranslated == 0
    }
}
