//! Programs in the kernel against packets whose checksums are all computed anew.

mod kernel;
mod random;
mod sample;

use fastrand::Rng;

use self::kernel::{LINKS, Loaded, Mode, other, possible};
use self::random::{KINDS, address, body, noise, port, sample};
use self::sample::{Body, Part, Sample, UDP};
use super::End;
use crate::target::ebpf::link::Link;

/// `TCX_NEXT`, `TCX_DROP`
const NEXT: i32 = -1;
const DROP: i32 = 2;

/// How often each kind of packet is tried.
const ROUNDS: usize = 120;

/// The frame of a packet, with `padding` bytes behind it.
fn framed(link: Link, packet: &[u8], v6: bool, padding: &[u8]) -> Vec<u8> {
    let mut out = match link {
        Link::Ethernet => vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2],
        Link::Bare => Vec::new(),
    };
    if link == Link::Ethernet {
        out.extend(if v6 { [0x86, 0xdd] } else { [0x08, 0x00] });
    }
    [&out[..], packet, padding].concat()
}

/// Runs packets, and compares what becomes of them.
struct Bench {
    loaded: Loaded,
    rng: Rng,
    tried: usize,
}

impl Bench {
    fn new() -> Self {
        Self {
            loaded: Loaded::new(),
            rng: Rng::with_seed(7),
            tried: 0,
        }
    }

    /// Checks that programs of a mode make one packet of another.
    fn check(&mut self, mode: Mode, ends: [(u128, u16); 2], packets: [&Sample; 2]) {
        let bytes = packets.map(Sample::bytes);
        self.check_bytes(mode, ends, packets[0], &bytes);
    }

    fn check_bytes(
        &mut self,
        mode: Mode,
        ends: [(u128, u16); 2],
        about: &Sample,
        bytes: &[Vec<u8>; 2],
    ) {
        for link in LINKS {
            let size = self.rng.usize(..24);
            let padding = noise(&mut self.rng, size);
            let [frame, expected] =
                [&bytes[0], &bytes[1]].map(|packet| framed(link, packet, about.v6, &padding));
            let Some((answer, got)) = self.loaded.run((link, mode), &frame, ends) else {
                continue;
            };
            self.tried += 1;
            assert_eq!(answer, NEXT, "{mode:?} {link:?} {about:?}");
            assert!(
                got == expected,
                "{mode:?} {link:?} {ends:x?} {about:?}\n     got {got:02x?}\nexpected {expected:02x?}"
            );
        }
    }

    fn ends(&mut self, v6: bool) -> [(u128, u16); 2] {
        let rng = &mut self.rng;
        [(); 2].map(|()| (address(rng, v6), port(rng)))
    }

    /// A packet of a kind, perhaps a fragment.
    fn packet(&mut self, v6: bool, kind: usize) -> Sample {
        let rng = &mut self.rng;
        let body = body(rng, v6, kind);
        let mut packet = sample(rng, v6, body);
        let (_, payload) = packet.parts();
        match rng.u8(..4) {
            // So that all of the longest header is in the first.
            0 if payload.len() > 64 && kind < 9 => packet.part = Part::First(64),
            1 => {
                packet.body = Body::Raw {
                    protocol: [6, 17, 1, 58, 99][rng.usize(..5)],
                    bytes: noise(rng, 32),
                };
                packet.part = Part::Later;
            }
            _ => {}
        }
        packet
    }

    /// An ICMP error about a packet.
    fn error(&mut self, v6: bool, kind: usize) -> Sample {
        let rng = &mut self.rng;
        let body = body(rng, v6, kind);
        let mut quote = sample(rng, v6, body);
        let length = quote.parts().1.len();
        if length > 64 && rng.u8(..4) == 0 {
            quote.part = Part::First(64);
        }
        let keep = match rng.u8(..4) {
            0 => length,
            1 => 8,
            // Half of TCP's checksum would be a quote that nobody writes.
            _ => [8, 12, 16, 18, 20, 40][rng.usize(..6)],
        };
        let kinds: &[u8] = if v6 { &[1, 3, 4] } else { &[3, 11, 12] };
        let size = [0, 0, 12, 13][rng.usize(..4)];
        let error = Body::Error {
            kind: kinds[rng.usize(..3)],
            quote: Box::new(quote),
            keep,
            tail: if keep < length {
                Vec::new()
            } else {
                noise(rng, size)
            },
        };
        sample(rng, v6, error)
    }
}

const ENDS: [End; 2] = [End::Source, End::Destination];

#[test]
fn packets_get_another_end() {
    if !possible() {
        return;
    }
    let mut bench = Bench::new();
    for round in 0..ROUNDS * KINDS {
        for v6 in [false, true] {
            let packet = bench.packet(v6, round % KINDS);
            let ends = bench.ends(v6);
            let [(address, port), _] = ends;
            for end in ENDS {
                let changed = packet.rewritten(end, address, port);
                bench.check(Mode::Packet(end), ends, [&packet, &changed]);
            }
        }
    }
    assert!(bench.tried > ROUNDS * KINDS * 6, "{}", bench.tried);
}

#[test]
fn the_record_knows_the_new_end() {
    if !possible() {
        return;
    }
    let mut bench = Bench::new();
    for round in 0..ROUNDS * KINDS {
        for v6 in [false, true] {
            let packet = bench.packet(v6, round % KINDS);
            let ends = bench.ends(v6);
            let [_, (address, port)] = ends;
            let changed = packet.rewritten(End::Source, address, port);
            let changed = changed.rewritten(End::Destination, address, port);
            bench.check(Mode::Both, ends, [&packet, &changed]);
        }
    }
}

#[test]
fn quotes_get_another_end() {
    if !possible() {
        return;
    }
    let mut bench = Bench::new();
    // A quoted packet of less than a header belongs to no flow.
    let kinds = KINDS - 1;
    for round in 0..ROUNDS * kinds {
        for v6 in [false, true] {
            let error = bench.error(v6, round % kinds);
            let ends = bench.ends(v6);
            let [inner, outer] = ends;
            for end in ENDS {
                let changed = error.requoted(end, inner.0, inner.1);
                let changed = changed.rewritten(other(end), outer.0, outer.1);
                bench.check(Mode::Quoted(end), ends, [&error, &changed]);
            }
        }
    }
    assert!(bench.tried > ROUNDS * kinds * 6, "{}", bench.tried);
}

/// Packets whose checksum is 0 before, or after: of UDP, it is 0xffff then.
#[test]
fn a_checksum_of_zero_is_one() {
    if !possible() {
        return;
    }
    let mut bench = Bench::new();
    for (kind, at, zero) in [(0, 16, 0), (2, 6, 0xffff), (4, 6, 0xffff), (5, 6, 0)] {
        for v6 in [false, true] {
            for end in ENDS {
                let body = body(&mut bench.rng, v6, kind);
                let packet = sample(&mut bench.rng, v6, body);
                let ends = bench.ends(v6);
                let [(to, port), _] = ends;
                let sum = packet.rewritten(end, to, port).field(at);
                let (more, carry) = port.overflowing_add(sum);
                let port = more + u16::from(carry);
                let changed = packet.rewritten(end, to, port);
                assert_eq!(changed.field(at), zero);
                let ends = [(to, port), ends[1]];
                bench.check(Mode::Packet(end), ends, [&packet, &changed]);
                let place = usize::from(end == End::Destination);
                let back = [(packet.addresses[place], packet.ports[place]), ends[1]];
                bench.check(Mode::Packet(end), back, [&changed, &packet]);
            }
        }
    }
    assert_eq!(bench.tried, 64);
}

/// What was damaged on its way must not look sound behind this host.
#[test]
fn a_wrong_checksum_stays_wrong() {
    if !possible() {
        return;
    }
    let mut bench = Bench::new();
    for round in 0..ROUNDS {
        let v6 = round % 2 == 0;
        let body = Body::Ports {
            protocol: UDP,
            rest: [&[0, 18, 0, 0], &noise(&mut bench.rng, 10)[..]].concat(),
        };
        let packet = sample(&mut bench.rng, v6, body);
        let ends = bench.ends(v6);
        let changed = packet.rewritten(End::Source, ends[0].0, ends[0].1);
        let damaged = [&packet, &changed].map(|packet| {
            let mut bytes = packet.bytes();
            *bytes.last_mut().unwrap() ^= 0x20;
            bytes
        });
        bench.check_bytes(Mode::Packet(End::Source), ends, &packet, &damaged);
    }
    assert!(bench.tried > ROUNDS);
}

/// Padding of the frame is no part of the quote.
#[test]
fn a_quote_without_ports_is_not_rewritten() {
    if !possible() {
        return;
    }
    let mut bench = Bench::new();
    for kind in [0, 2, 3, 4, 5, 7] {
        for v6 in [false, true] {
            let mut error = bench.error(v6, kind);
            if let Body::Error { keep, tail, .. } = &mut error.body {
                *keep = 7;
                tail.clear();
            }
            let ends = bench.ends(v6);
            let padding = noise(&mut bench.rng, 30);
            let frame = framed(Link::Ethernet, &error.bytes(), v6, &padding);
            for mode in [Mode::Quoted(End::Source), Mode::Quoted(End::Destination)] {
                let answer = bench.loaded.run((Link::Ethernet, mode), &frame, ends);
                assert_eq!(answer.unwrap().0, DROP, "{error:?}");
            }
        }
    }
}
