//! Packets of all kinds.

use fastrand::Rng;

use super::sample::{Body, DCCP, Part, SCTP, Sample, TCP, UDP, UDP_LITE};

/// An address: mostly any, sometimes one of those that are special to sums.
pub(super) fn address(rng: &mut Rng, v6: bool) -> u128 {
    let most = if v6 { u128::MAX } else { u128::from(u32::MAX) };
    match rng.u8(..16) {
        0 => 0,
        1 => most,
        2 => 0x0102_ffff & most,
        _ => rng.u128(..) & most,
    }
}

/// A port, likewise.
pub(super) fn port(rng: &mut Rng) -> u16 {
    match rng.u8(..16) {
        0 => 0,
        1 => u16::MAX,
        _ => rng.u16(..),
    }
}

pub(super) fn noise(rng: &mut Rng, size: usize) -> Vec<u8> {
    (0..size).map(|_| rng.u8(..)).collect()
}

/// A packet that carries something; whole, and with random headers of its network.
pub(super) fn sample(rng: &mut Rng, v6: bool, body: Body) -> Sample {
    let options = match rng.u8(..3) {
        0 => rng.usize(1..=10) * 4,
        _ => 0,
    };
    let mut extensions = Vec::new();
    for _ in 0..[0, 0, 1, 3][rng.usize(..4)] {
        let kind = [0, 43, 60][rng.usize(..3)];
        let units = rng.usize(..3);
        let mut rest = noise(rng, units * 8 + 7);
        rest[0] = u8::try_from(units).unwrap();
        // All segments are behind it, so that the destination is the last.
        rest[2] = 0;
        extensions.push((kind, rest));
    }
    let sample = Sample {
        v6,
        addresses: [address(rng, v6), address(rng, v6)],
        ports: [port(rng), port(rng)],
        options: vec![1; options],
        extensions,
        number: rng.u16(..),
        body,
        part: Part::Whole,
    };
    if v6 {
        Sample {
            options: Vec::new(),
            ..sample
        }
    } else {
        Sample {
            extensions: Vec::new(),
            ..sample
        }
    }
}

/// Something to carry, of each kind in turn.
pub(super) fn body(rng: &mut Rng, v6: bool, kind: usize) -> Body {
    let payload = rng.usize(..90);
    let payload = noise(rng, payload);
    let ports = |protocol, header: &[u8]| Body::Ports {
        protocol,
        rest: [header, &payload].concat(),
    };
    let ids: &[u8] = if v6 {
        &[128, 129]
    } else {
        &[0, 8, 13, 14, 15, 16, 17, 18]
    };
    let others: &[u8] = if v6 {
        &[133, 135, 139, 143]
    } else {
        &[9, 10, 30]
    };
    match kind {
        0 => {
            let words = rng.u8(5..=15);
            let mut header = noise(rng, usize::from(words) * 4 - 4);
            header[8] = words << 4;
            ports(TCP, &header)
        }
        1 => {
            // A reset without anything.
            let mut rest = noise(rng, 16);
            (rest[8], rest[9]) = (0x50, 4);
            Body::Ports {
                protocol: TCP,
                rest,
            }
        }
        2 => {
            let length = u16::try_from(8 + payload.len()).unwrap();
            ports(UDP, &[&length.to_be_bytes()[..], &[0, 0]].concat())
        }
        3 => Body::Unsummed { payload },
        4 => {
            let covered = 8 + rng.usize(..=payload.len());
            let covered = u16::try_from(covered).unwrap();
            ports(UDP_LITE, &[&covered.to_be_bytes()[..], &[0, 0]].concat())
        }
        5 => ports(DCCP, &[3, 0, 0, 0, 4, 0, 0, 0]),
        6 => ports(SCTP, &noise(rng, 8)),
        7 => Body::Icmp {
            kind: ids[rng.usize(..ids.len())],
            id: true,
            rest: [&noise(rng, 2)[..], &payload].concat(),
        },
        8 => Body::Icmp {
            kind: others[rng.usize(..others.len())],
            id: false,
            rest: [&noise(rng, 2)[..], &payload].concat(),
        },
        9 => Body::Raw {
            protocol: [47, 50, 99][rng.usize(..3)],
            bytes: [&payload[..], &[1]].concat(),
        },
        _ => {
            // Less than a header. IPv6 has no packets of 0 bytes: that length is a jumbogram's.
            let protocol = [TCP, UDP, UDP_LITE, DCCP, SCTP, if v6 { 58 } else { 1 }];
            let size = rng.usize(1..8);
            Body::Raw {
                protocol: protocol[rng.usize(..protocol.len())],
                bytes: noise(rng, size),
            }
        }
    }
}

/// How many kinds of things there are to carry.
pub(super) const KINDS: usize = 11;
