//! Rates in the kernel: exact to the token, and under two processors at once.

use std::time::{Duration, Instant};

use polc_compiler::target::ebpf::{self, Hook};

use super::guard::compiled;
use super::kernel::{Loaded, possible};

/// A UDP packet from an address to a port.
fn udp(port: u16) -> Vec<u8> {
    let mut frame = vec![0; 60];
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    frame[14] = 0x45;
    frame[17] = 28;
    frame[22..24].copy_from_slice(&[64, 17]);
    frame[26..34].copy_from_slice(&[192, 0, 2, 1, 198, 51, 100, 1]);
    frame[36..38].copy_from_slice(&port.to_be_bytes());
    frame
}

fn loaded(text: &str, hook: Hook) -> (Loaded, String) {
    let compilation = compiled(text);
    let ir = compilation
        .ir
        .unwrap_or_else(|| panic!("{:?}", compilation.diagnostics));
    let guard = ebpf::guard(&ir, &compilation.sources, hook).unwrap();
    let names = guard
        .programs
        .iter()
        .filter_map(|program| program.name.as_deref());
    let last = guard.programs.last().and_then(|p| p.name.clone()).unwrap();
    (Loaded::new(&guard.object, names), last)
}

/// How many of some packets pass.
fn passing(loaded: &Loaded, name: &str, frame: &[u8], packets: usize) -> usize {
    let judged = (0..packets).filter(|_| loaded.passes(name, frame).unwrap());
    judged.count()
}

#[test]
fn a_burst_is_exact_to_the_token() {
    if !possible() {
        return;
    }
    let text = "guard {
                  deny udp/53 over 1/h burst 7
                  allow udp/123 within 10 bytes/s burst 280
                  deny udp/123
                  allow udp/53, udp/99
                  default deny
                }";
    for hook in [Hook::Xdp, Hook::Ingress] {
        let (loaded, name) = loaded(text, hook);
        assert_eq!(passing(&loaded, &name, &udp(53), 100), 7);
        assert_eq!(passing(&loaded, &name, &udp(99), 20), 20);
        assert_eq!(passing(&loaded, &name, &udp(1), 20), 0);
        // What a packet has behind its Ethernet header counts, padding too: 46 bytes.
        assert_eq!(passing(&loaded, &name, &udp(123), 50), 280 / 46);
    }
}

#[test]
fn rules_that_decide_nothing_count_and_go_on() {
    if !possible() {
        return;
    }
    let text = "guard {
                  match udp count as seen
                  allow udp/53 within 1/h burst 3 count as few
                  deny udp count as rest
                  default allow
                }";
    let (loaded, name) = loaded(text, Hook::Xdp);
    assert_eq!(passing(&loaded, &name, &udp(53), 10), 3);
    let packets: Vec<u64> = (0..3).map(|at| loaded.counter(at).0).collect();
    assert_eq!(packets, [10, 3, 7]);
    assert_eq!(loaded.counter(1).1, 3 * 46);
}

/// What the bucket of the next test gets in a second.
const RATE: f64 = 20_000.0;

#[test]
fn two_processors_share_a_bucket() {
    if !possible() {
        return;
    }
    // The burst outlasts pauses that other work on the machine makes.
    let text = "guard { allow udp within 20000/s burst 10000  default deny }";
    let (loaded, name) = loaded(text, Hook::Xdp);
    let frame = udp(53);
    let start = Instant::now();
    let flat_out = || {
        let mut passed = 0usize;
        while start.elapsed() < Duration::from_secs(3) {
            passed += passing(&loaded, &name, &frame, 500);
        }
        passed
    };
    let passed = std::thread::scope(|scope| {
        let other = scope.spawn(flat_out);
        flat_out() + other.join().unwrap()
    });
    let expected = RATE * start.elapsed().as_secs_f64() + 10_000.0;
    let ratio = passed as f64 / expected;
    eprintln!("{passed} packets of {expected:.0}: ratio {ratio:.4}");
    assert!((0.99..1.01).contains(&ratio), "{ratio}");
}
