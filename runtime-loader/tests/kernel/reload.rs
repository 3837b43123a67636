//! Traffic while policies are replaced: every packet gets a verdict that both policies share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use polc_runtime_loader::lab::{Client, FrameBuilder, Topology, Transport, Wire, carries};

use crate::support::{State, privileged, sample_dropping};

const RELOADS: usize = 20;

/// Never longer than this, whatever happens.
const LONGEST: Duration = Duration::from_secs(30);

#[test]
fn replacing_a_policy_neither_leaks_nor_loses() {
    if !privileged() {
        return;
    }
    let (topology, state) = (Topology::new().unwrap(), State::new());
    let (client, server) = (topology.client(), topology.server());
    assert!(Client::new(&client.namespace).ping(server.v4));
    let frame = |destination, text: &str| {
        let transport = Transport::Udp {
            source: 9,
            destination,
        };
        let from = (client.mac, client.v4);
        FrameBuilder::new(from, (client.router_mac, server.v4), transport)
            .payload(text)
            .build()
    };
    // Both policies drop UDP port 9 and pass port 10; what else they drop differs.
    let policies = [81, 82].map(|port| {
        let mut policy = sample_dropping(port);
        let rule = "type filter hook forward priority 0; policy accept;\n";
        policy.body = policy
            .body
            .replace(rule, &format!("{rule}udp dport 9 drop\n"));
        policy.bundle()
    });
    state.apply(&topology.router, &policies[0]).unwrap();
    let near = Wire::open(&client.namespace, "eth0").unwrap();
    let far = Wire::open(&server.namespace, "eth0").unwrap();
    let done = AtomicBool::new(false);
    let frames = [frame(9, "denied"), frame(10, "allowed")];
    let (sent, collected) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let end = Instant::now() + LONGEST;
            let mut sent = 0;
            while !done.load(Ordering::Relaxed) && Instant::now() < end {
                sent += near.flood(&frames, 20, LONGEST).unwrap();
                std::thread::sleep(Duration::from_micros(500));
            }
            near.send(&frame(10, "sentinel")).unwrap();
            sent
        });
        let observer = scope.spawn(|| {
            let wanted = |frame: &[u8]| carries(frame, server.v4, b"ed");
            let sentinel = |frame: &[u8]| carries(frame, server.v4, b"sentinel");
            far.collect(wanted, sentinel, LONGEST).unwrap()
        });
        for number in 1..=RELOADS {
            state
                .apply(&topology.router, &policies[number % 2])
                .unwrap();
        }
        done.store(true, Ordering::Relaxed);
        (sender.join().unwrap(), observer.join().unwrap())
    });
    assert!(collected.complete);
    let denied = |frame: &&Vec<u8>| carries(frame, server.v4, b"denied");
    assert_eq!(collected.frames.iter().filter(denied).count(), 0);
    assert!(sent > 1000, "only {sent} frames met the {RELOADS} reloads");
    assert_eq!(collected.frames.len() as u64, sent / 2);
}
