//! Frames: whole and broken ones, of the numbers that a policy asks for and of others.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use polc_compiler::field::{Field, TIME_DAY, TIME_HOUR, ip_bits};
use polc_compiler::interpret::frame::{Frame, Link};
use polc_compiler::ir::{Cube, Rule};

/// Numbers at which a policy changes its mind.
#[derive(Default)]
pub(crate) struct Pools {
    v4: Vec<u32>,
    v6: Vec<u128>,
    protocols: Vec<u8>,
    fields: BTreeMap<Field, Vec<u64>>,
}

impl Pools {
    pub(crate) fn of(rules: &[Rule]) -> Self {
        let mut pools = Self {
            v4: vec![0xc000_0201, 0x0a01_0203],
            v6: vec![0x2001_0db8 << 96 | 1, 0xfe80 << 112 | 9],
            protocols: vec![6, 17, 6, 17, 1, 58, 132, 33, 136, 50, 47, 51, 0, 44, 60, 99],
            fields: BTreeMap::new(),
        };
        for cube in rules.iter().flat_map(|rule| &rule.cubes) {
            pools.add(cube);
        }
        pools
    }

    fn add(&mut self, cube: &Cube) {
        for set in [&cube.saddr, &cube.daddr] {
            for (first, last) in set.v4.ranges() {
                let around = [first.wrapping_sub(1), *first, *last, last.wrapping_add(1)];
                self.v4.extend(around);
            }
            for (first, last) in set.v6.ranges() {
                let around = [first.wrapping_sub(1), *first, *last, last.wrapping_add(1)];
                self.v6.extend(around);
            }
        }
        for (first, last) in cube.proto.ranges() {
            let both = [*first, *last].map(|number| u8::try_from(number).unwrap());
            self.protocols.extend(both);
        }
        for (field, set) in &cube.fields {
            let pool = self.fields.entry(*field).or_default();
            for (first, last) in set.ranges() {
                pool.extend([first.wrapping_sub(1), *first, *last, last.wrapping_add(1)]);
            }
        }
    }

    /// A number for a field: most often one that somebody asks for.
    fn number(&self, rng: &mut Rng, name: &str) -> u64 {
        let pool = self.fields.iter().find(|(field, _)| field.name() == name);
        match pool {
            Some((_, pool)) if !pool.is_empty() && rng.u8(..) < 200 => {
                pool[rng.usize(..pool.len())]
            }
            _ => rng.u64(..),
        }
    }
}

pub(crate) fn pick<T: Copy>(rng: &mut Rng, pool: &[T]) -> T {
    pool[rng.usize(..pool.len())]
}

/// The lower 16 bits.
fn short(number: u64) -> u16 {
    (number & 0xffff) as u16
}

fn byte(number: u64) -> u8 {
    (number & 0xff) as u8
}

/// A frame.
pub(crate) fn frame(rng: &mut Rng, pools: &Pools) -> Vec<u8> {
    let v6 = rng.bool();
    let mut out = ethernet(rng, pools, v6);
    let packet = if v6 { ip6(rng, pools) } else { ip4(rng, pools) };
    out.extend(packet);
    if rng.u8(..) < 60 {
        // Padding, which is no part of the packet.
        out.extend(vec![0; rng.usize(..20)]);
    }
    if rng.u8(..) < 60 {
        out.truncate(rng.usize(14..=out.len()));
    }
    if rng.u8(..) < 30 {
        let at = rng.usize(12..out.len());
        out[at] ^= 1 << rng.u8(..8);
    }
    out
}

/// A frame, half the time as an interface without Ethernet headers has it; such have no tags.
pub(crate) fn either<'f>(rng: &mut Rng, frame: &'f [u8]) -> Frame<'f> {
    let untagged = matches!(frame.get(12..14), Some([0x08, 0x00] | [0x86, 0xdd]));
    if untagged && rng.bool() {
        Frame::whole(Link::Raw, &frame[14..])
    } else {
        Frame::whole(Link::Ethernet, frame)
    }
}

fn ethernet(rng: &mut Rng, pools: &Pools, v6: bool) -> Vec<u8> {
    let mac = |number: u64| number.to_be_bytes()[2..].to_vec();
    let mut out = mac(pools.number(rng, "eth.daddr"));
    out.extend(mac(pools.number(rng, "eth.saddr")));
    let tags = [0, 0, 0, 1, 1, 2, 3, 4][rng.usize(..8)];
    for _ in 0..tags {
        out.extend(pick(rng, &[0x8100u16, 0x88a8, 0x9100]).to_be_bytes());
        let control = pools.number(rng, "vlan.id") & 0xfff | pools.number(rng, "vlan.pcp") << 13;
        out.extend(short(control).to_be_bytes());
    }
    let kind: u16 = if v6 { 0x86dd } else { 0x0800 };
    let kind = if rng.u8(..) < 4 { 0x0806 } else { kind };
    out.extend(kind.to_be_bytes());
    out
}

fn ip4(rng: &mut Rng, pools: &Pools) -> Vec<u8> {
    let options = if rng.u8(..) < 50 {
        rng.usize(..=10) * 4
    } else {
        0
    };
    let protocol = pick(rng, &pools.protocols);
    let fragment = pick(rng, &[0u16, 0, 0, 0x4000, 0x2000, 0x2010, 0x0010, 0x1fff]);
    let mut payload = transport(rng, pools, protocol);
    let size = 20 + options;
    let total = length(rng, pools, size + payload.len());
    let mut out = vec![0; size];
    out[0] = 0x40 | (size / 4) as u8;
    out[2..4].copy_from_slice(&total.to_be_bytes());
    out[6..8].copy_from_slice(&fragment.to_be_bytes());
    out[9] = protocol;
    bits(rng, pools, false, &mut out);
    out[12..16].copy_from_slice(&Ipv4Addr::from_bits(pick(rng, &pools.v4)).octets());
    out[16..20].copy_from_slice(&Ipv4Addr::from_bits(pick(rng, &pools.v4)).octets());
    out.append(&mut payload);
    out
}

/// Writes the fields that are bits of the IP header.
fn bits(rng: &mut Rng, pools: &Pools, v6: bool, header: &mut [u8]) {
    for (field, bits) in ip_bits() {
        let first = if v6 { bits.v6 } else { bits.v4 };
        let number = pools.number(rng, field.name());
        for (at, shift) in (first..).zip((0..bits.count).rev()) {
            let (byte, mask) = (&mut header[usize::from(at / 8)], 0x80 >> (at % 8));
            *byte &= !mask;
            if number >> shift & 1 == 1 {
                *byte |= mask;
            }
        }
    }
}

/// What a header says of its packet's length: the truth, most often.
fn length(rng: &mut Rng, pools: &Pools, truth: usize) -> u16 {
    match rng.u8(..) {
        0..8 => short(pools.number(rng, "ip.length")),
        8..16 => (truth as u16).wrapping_sub(rng.u16(..8)),
        16..24 => (truth as u16).wrapping_add(rng.u16(..8)),
        24..28 => 0,
        _ => truth as u16,
    }
}

fn ip6(rng: &mut Rng, pools: &Pools) -> Vec<u8> {
    let protocol = pick(rng, &pools.protocols);
    let (first, mut payload) = chain(rng, pools, protocol);
    let total = length(rng, pools, payload.len());
    let mut out = vec![0; 40];
    out[0] = 0x60;
    out[4..6].copy_from_slice(&total.to_be_bytes());
    out[6] = first;
    bits(rng, pools, true, &mut out);
    out[8..24].copy_from_slice(&Ipv6Addr::from_bits(pick(rng, &pools.v6)).octets());
    out[24..40].copy_from_slice(&Ipv6Addr::from_bits(pick(rng, &pools.v6)).octets());
    out.append(&mut payload);
    out
}

/// Extension headers, up to 14, with what is behind them, and the number of the first.
fn chain(rng: &mut Rng, pools: &Pools, protocol: u8) -> (u8, Vec<u8>) {
    let mut payload = transport(rng, pools, protocol);
    let mut first = protocol;
    let most = [0, 0, 1, 2, 14][rng.usize(..5)];
    for _ in 0..rng.usize(..=most) {
        let kind = pick(rng, &[0u8, 43, 60, 44, 51]);
        let mut header = match kind {
            44 => {
                let offset = pick(rng, &[0u16, 1, 8, 0xfff8]);
                let [high, low] = offset.to_be_bytes();
                vec![first, 0, high, low, 1, 2, 3, 4]
            }
            51 => {
                let units = rng.usize(..4);
                let mut header = vec![0; (units + 2) * 4];
                header[1] = units as u8;
                header
            }
            _ => {
                let units = rng.usize(..3);
                let mut header = vec![0; (units + 1) * 8];
                header[1] = units as u8;
                header
            }
        };
        header[0] = first;
        header.append(&mut payload);
        payload = header;
        first = kind;
    }
    (first, payload)
}

fn transport(rng: &mut Rng, pools: &Pools, protocol: u8) -> Vec<u8> {
    let port = |rng: &mut Rng, name: &str| short(pools.number(rng, name)).to_be_bytes();
    let size = match protocol {
        6 => 20 + rng.usize(..=10) * 4,
        17 | 136 | 1 | 58 => 8,
        _ => 12,
    };
    let mut out = vec![0; size + rng.usize(..30)];
    match protocol {
        1 | 58 => {
            out[0] = byte(pools.number(rng, "icmp.type"));
            out[1] = byte(pools.number(rng, "icmp.code"));
            if rng.u8(..) < 80 {
                let types = [2, 3, 8, 128, 133, 134, 135, 136, 137];
                (out[0], out[1]) = (pick(rng, &types), pick(rng, &[0, 4]));
            }
        }
        _ => {
            out[0..2].copy_from_slice(&port(rng, "sport"));
            out[2..4].copy_from_slice(&port(rng, "dport"));
        }
    }
    if protocol == 6 {
        let words = if rng.u8(..) < 20 {
            rng.u8(..16)
        } else {
            (size / 4) as u8
        };
        out[12] = words << 4;
        out[13] = byte(pools.number(rng, "tcp.flags"));
        let options = options(rng, pools, size - 20);
        out[20..size].copy_from_slice(&options);
    }
    if rng.u8(..) < 20 {
        out.truncate(rng.usize(..=out.len()));
    }
    out
}

/// So many bytes of TCP options, well formed or not.
fn options(rng: &mut Rng, pools: &Pools, size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while out.len() < size {
        match rng.u8(..8) {
            0 => out.push(rng.u8(..)),
            1..=3 => out.push(1),
            4 | 5 => {
                out.extend([2, pick(rng, &[4, 4, 4, 3, 6])]);
                out.extend(short(pools.number(rng, "tcp.mss")).to_be_bytes());
            }
            _ => {
                let more = rng.u8(..6);
                out.extend([pick(rng, &[3, 4, 5, 8, 30]), more + 2]);
                out.extend(vec![0; more.into()]);
            }
        }
    }
    out.truncate(size);
    out
}

/// The hour and the day of the week.
pub(crate) fn time() -> [(Field, u64); 2] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let hours = now.as_secs() / 3600;
    [(TIME_HOUR, hours % 24), (TIME_DAY, (hours / 24 + 4) % 7)]
}

/// A frame that answers another one, if anything does.
pub(crate) fn answer(rng: &mut Rng, frame: &[u8]) -> Option<Vec<u8>> {
    let plain = Plain::of(frame)?;
    let mut out = frame[..plain.transport].to_vec();
    let mut rest = frame[plain.transport..].to_vec();
    out[plain.source..plain.source + 2 * plain.size].rotate_left(plain.size);
    match plain.protocol {
        1 | 58 => {
            let pairs = [(8, 0), (13, 14), (15, 16), (17, 18), (128, 129), (139, 140)];
            let kind = rest.first_mut()?;
            *kind = pairs.iter().find_map(|(one, other)| match *kind {
                kind if kind == *one => Some(*other),
                kind if kind == *other => Some(*one),
                _ => None,
            })?;
        }
        protocol if PORTS.contains(&protocol) => rest.get_mut(..4)?.rotate_left(2),
        _ => {}
    }
    if plain.protocol == 6 {
        let flags = rest.get_mut(13)?;
        *flags = if *flags & 0x12 == 2 {
            0x12
        } else {
            pick(rng, &[0x10, 0x18])
        };
    }
    out.extend(rest);
    Some(out)
}

/// An ICMP error about a frame's packet, to its sender.
pub(crate) fn error_about(rng: &mut Rng, frame: &[u8]) -> Option<Vec<u8>> {
    let plain = Plain::of(frame)?;
    let quoted = frame.get(14..plain.transport + 8)?;
    let payload = u16::try_from(8 + quoted.len()).unwrap();
    let mut out = frame[..plain.transport].to_vec();
    let [source, dest] = [plain.source, plain.source + plain.size];
    out.copy_within(source..source + plain.size, dest);
    if rng.bool() {
        let sender = frame[dest..dest + plain.size].to_vec();
        out[source..source + plain.size].copy_from_slice(&sender);
    }
    let icmp = if plain.size == 4 {
        out[16..18].copy_from_slice(&(20 + payload).to_be_bytes());
        out[20..22].fill(0);
        out[23] = 1;
        [pick(rng, &[3, 11, 12]), pick(rng, &[0, 1, 3])]
    } else {
        out[18..20].copy_from_slice(&payload.to_be_bytes());
        out[20] = 58;
        [pick(rng, &[1, 3, 4]), pick(rng, &[0, 1, 4])]
    };
    out.extend(icmp);
    out.extend([0; 6]);
    out.extend(quoted);
    Some(out)
}

/// Protocols with ports.
const PORTS: [u8; 5] = [6, 17, 33, 132, 136];

/// Where in a frame everything is: one without tags, options and extension headers, whose transport
/// header is whole.
struct Plain {
    protocol: u8,
    /// Where the source address is, and how long it is; the destination follows.
    source: usize,
    size: usize,
    transport: usize,
}

impl Plain {
    fn of(frame: &[u8]) -> Option<Self> {
        let plain = match frame.get(12..15)? {
            [0x08, 0x00, 0x45] => Self {
                protocol: *frame.get(23)?,
                source: 26,
                size: 4,
                transport: 34,
            },
            [0x86, 0xdd, _] => Self {
                protocol: *frame.get(20)?,
                source: 22,
                size: 16,
                transport: 54,
            },
            _ => return None,
        };
        let needed = if plain.protocol == 6 { 20 } else { 12 };
        let known = PORTS.contains(&plain.protocol) || [1, 58, 50, 99].contains(&plain.protocol);
        (known && frame.len() >= plain.transport + needed).then_some(plain)
    }
}
