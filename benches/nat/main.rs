//! Whether translation holds under load, and what it costs, on the targets `nftables` and `ebpf`.
//!
//! `cargo bench --bench nat [-- CONNECTIONS [ROUNDS]]`, as root: through a router with a filter, a
//! masquerade and a dnat, 10,000 connections of a hundred clients that all use the same ports are opened,
//! and when all are open each exchanges payloads of its own, which both ends compare byte by byte.
//! Connections with the same outer source and payloads that are wrong are counted, and must be none.
//!
//! Then a transfer over TCP, and datagrams of 18 bytes through a flow, go through a router of each target
//! and one without a policy, in turn, so many rounds. Printed are the best round and the median; ratios
//! are to `nftables`, of the best rounds: above 1 is faster for transfers, and slower for datagrams. A
//! datagram's time is that of the call that sends it, in which the kernel does all of the way to the
//! server.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark prints its figures and stops at the first thing that is wrong"
)]

mod connections;
mod far;
mod router;
mod throughput;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use self::router::Router;

const CONNECTIONS: usize = 10_000;
const ROUNDS: usize = 7;

fn main() {
    // Each end of a connection is a file.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("a limit");
    let mut words = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let mut first = words.next();
    let serves = first.as_deref() == Some(far::SERVE);
    if serves {
        first = words.next();
    }
    let number = |text: String| text.parse().expect("a number");
    let count = first.map_or(CONNECTIONS, number);
    if serves {
        return far::serve(count);
    }
    let rounds = words.next().map_or(ROUNDS, number);
    let routers = [None, Some("nftables"), Some("ebpf")].map(Router::new);
    connections::heading();
    for router in routers.iter().filter(|router| router.target.is_some()) {
        let report = connections::run(router, count);
        assert!(report.is_clean(), "{report:?}");
    }
    if rounds > 0 {
        throughput::run(&routers, rounds);
    }
}
