//! Rates in the kernel: exact to the token, and under two processors at once.

use std::net::{IpAddr, Ipv6Addr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use polc_compiler::target::Options;
use polc_compiler::target::ebpf::{self, Hook};

use super::guard::compiled;
use super::kernel::{Loaded, possible};

/// A UDP packet from an address to a port.
fn udp(port: u16) -> Vec<u8> {
    from("192.0.2.1", port)
}

/// A UDP packet from a source to a port.
pub(crate) fn from(source: &str, port: u16) -> Vec<u8> {
    let mut frame = vec![0; 12];
    match source.parse().unwrap() {
        IpAddr::V4(source) => {
            frame.extend([0x08, 0x00, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
            frame.extend(source.octets());
            frame.extend([198, 51, 100, 1]);
        }
        IpAddr::V6(source) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64]);
            frame.extend(source.octets());
            let dest: Ipv6Addr = "2001:db8:9::1".parse().unwrap();
            frame.extend(dest.octets());
        }
    }
    frame.extend([0, 7]);
    frame.extend(port.to_be_bytes());
    frame.extend([0, 8, 0, 0]);
    frame.resize(frame.len().max(60), 0);
    frame
}

pub(crate) fn loaded(text: &str, hook: Hook) -> (Loaded, String) {
    let compilation = compiled(text);
    let ir = compilation
        .ir
        .unwrap_or_else(|| panic!("{:?}", compilation.diagnostics));
    let guard = ebpf::guard(&ir, &compilation.sources, hook, &Options::default()).unwrap();
    let names = guard
        .programs
        .iter()
        .filter_map(|program| program.name.as_deref());
    let last = guard.programs.last().and_then(|p| p.name.clone()).unwrap();
    (Loaded::new(&guard, names), last)
}

/// How many of some packets pass.
pub(crate) fn passing(loaded: &Loaded, name: &str, frame: &[u8], packets: usize) -> usize {
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
fn each_key_has_its_own_tokens() {
    if !possible() {
        return;
    }
    let text = "bucket each = 1/d burst 3 per source/24,/56
                bucket pair = 1/d burst 2 per pair
                bucket dest = 10 bytes/s burst 280 per dest
                guard {
                  allow udp/1 within each
                  allow udp/2 within pair
                  allow udp/3 within dest
                  default deny
                }";
    for hook in [Hook::Xdp, Hook::Ingress] {
        let (loaded, name) = loaded(text, hook);
        let count = |source: &str, port| passing(&loaded, &name, &from(source, port), 10);
        assert_eq!(count("192.0.2.1", 1), 3);
        assert_eq!(count("192.0.2.255", 1), 0, "the same network");
        assert_eq!(count("192.0.3.0", 1), 3);
        assert_eq!(count("2001:db8::1", 1), 3);
        assert_eq!(count("2001:db8:0:00ff:ffff::", 1), 0, "the same network");
        assert_eq!(count("2001:db8:0:0100::", 1), 3);
        assert_eq!(count("2001:db7::1", 1), 3);
        for source in ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"] {
            assert_eq!(count(source, 2), 2, "{source}");
        }
        // An IPv4 packet has 46 bytes with its padding, an IPv6 one has 48.
        assert_eq!(count("192.0.2.1", 3), 6);
        assert_eq!(count("192.0.2.9", 3), 0, "the same destination");
        assert_eq!(count("2001:db8::1", 3), 5);
    }
}

#[test]
fn a_full_table_answers_as_the_bucket_says() {
    if !possible() {
        return;
    }
    for (full, new) in [("over", 0), ("within", 5)] {
        let text = format!(
            "bucket b = 1/h burst 2 per source max 4 idle 1500ms full {full}
             guard {{ allow udp within b  default deny }}"
        );
        let (loaded, name) = loaded(&text, Hook::Xdp);
        let count = |last: u8, v6: bool| {
            let source = if v6 {
                format!("2001:db8::{last}")
            } else {
                format!("192.0.2.{last}")
            };
            passing(&loaded, &name, &from(&source, 1), 5)
        };
        for last in 1..=4 {
            assert_eq!(count(last, false), 2);
        }
        assert_eq!(count(5, false), new, "full {full}");
        assert_eq!(count(5, true), 2, "the other family has its own table");
        // Known keys are asked whatever the table is like, and used again.
        sleep(Duration::from_secs(1));
        assert_eq!(count(1, false), 0);
        sleep(Duration::from_secs(1));
        // The others are idle by now, and leave to make room.
        assert_eq!(count(5, false), 2, "full {full}");
        assert_eq!(count(1, false), 0);
        assert_eq!(count(2, false), 2, "forgotten");
        // A key that is found after its time is as new.
        sleep(Duration::from_millis(1600));
        assert_eq!(count(5, false), 2);
    }
}

#[test]
fn two_processors_share_a_bucket() {
    if !possible() {
        return;
    }
    for key in ["", " per source"] {
        let (passed, expected) = flat_out(key);
        let ratio = passed as f64 / expected;
        eprintln!("{passed} packets of {expected:.0}: ratio {ratio:.4}");
        assert!((0.99..1.01).contains(&ratio), "{key}: {ratio}");
    }
}

/// How many packets pass when two processors send all the time, and how many should.
fn flat_out(key: &str) -> (usize, f64) {
    // The burst outlasts pauses that other work on the machine makes.
    let text = format!("guard {{ allow udp within 20000/s burst 10000{key}  default deny }}");
    let (loaded, name) = loaded(&text, Hook::Xdp);
    let frame = udp(53);
    let start = Instant::now();
    let send = || {
        let mut passed = 0usize;
        while start.elapsed() < Duration::from_secs(3) {
            passed += passing(&loaded, &name, &frame, 500);
        }
        passed
    };
    let passed = std::thread::scope(|scope| {
        let other = scope.spawn(send);
        send() + other.join().unwrap()
    });
    (passed, RATE * start.elapsed().as_secs_f64() + 10_000.0)
}
