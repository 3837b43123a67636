//! A flood of packets that every policy of a test denies, while something is done to the policy.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use polc_runtime_loader::lab::{FrameBuilder, Transport, Wire, carries};

use crate::harness::Bench;

/// How many packets were sent to UDP port 7777 of the server while `work` went on. None of them
/// may get there; one to port 9999, which is let through, has to, in the end.
pub(crate) fn while_flooded(bench: &Bench, most: Duration, work: impl FnOnce()) -> u64 {
    let (client, server) = (bench.topology.client(), bench.topology.server());
    for address in bench.server() {
        bench.client().ping(address);
        bench.client().udp(address, 9999);
    }
    let frame = |to: IpAddr, from: IpAddr, destination: u16, text: &str| {
        let transport = Transport::Udp {
            source: 4000,
            destination,
        };
        FrameBuilder::new((client.mac, from), (client.router_mac, to), transport)
            .payload(text)
            .build()
    };
    let [v4, v6] = bench.server();
    let flood = [
        frame(v4, client.v4, 7777, "denied"),
        frame(v6, client.v6, 7777, "denied"),
    ];
    let wire = Wire::open(&client.namespace, &client.interface).expect("a wire");
    let far = Wire::open(&server.namespace, &server.interface).expect("a wire");
    let done = AtomicBool::new(false);
    let (sent, leaked) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let (mut sent, end) = (0, Instant::now() + most);
            while !done.load(Ordering::Relaxed) && Instant::now() < end {
                sent += wire
                    .flood(&flood, 2_000, Duration::from_millis(50))
                    .expect("sent");
            }
            wire.send(&frame(v4, client.v4, 9999, "sentinel"))
                .expect("sent");
            sent
        });
        let watcher = scope.spawn(|| {
            far.collect(
                |f| carries(f, v4, b"denied") || carries(f, v6, b"denied"),
                |f| carries(f, v4, b"sentinel"),
                most + most / 4,
            )
            .expect("collected")
        });
        work();
        done.store(true, Ordering::Relaxed);
        (
            sender.join().expect("sent"),
            watcher.join().expect("watched"),
        )
    });
    assert!(leaked.complete, "the sentinel arrived");
    assert_eq!(leaked.frames.len(), 0, "leaked of {sent}");
    sent
}
