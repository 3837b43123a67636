//! Headers, and what the interpreter makes of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use fastrand::Rng;
use polc_compiler::interpret::frame::{Frame, Link, parse};
use polc_compiler::interpret::{Place, State, judge};
use polc_compiler::ir::{Ir, Stage};
use polc_generator::filters::Filter;

use crate::driver::{HEADER, Header, TRACE};

/// The interface on which headers come in.
const IFACE: &str = "eth0";

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The five fields of a packet.
struct Packet5 {
    source: u32,
    dest: u32,
    sport: u16,
    dport: u16,
    proto: u8,
}

impl Packet5 {
    fn random(rng: &mut Rng) -> Self {
        Self {
            source: rng.u32(..),
            dest: rng.u32(..),
            sport: rng.u16(..),
            dport: rng.u16(..),
            proto: [TCP, UDP][rng.usize(..2)],
        }
    }

    fn of(rng: &mut Rng, filter: &Filter) -> Self {
        let Self { proto, .. } = Self::random(rng);
        Self {
            source: within(rng, filter.source),
            dest: within(rng, filter.dest),
            sport: rng.u16(filter.sport.0..=filter.sport.1),
            dport: rng.u16(filter.dport.0..=filter.dport.1),
            proto: filter.proto.unwrap_or(proto),
        }
    }

    fn header(&self) -> Header {
        let mut out = [0; HEADER as usize];
        out[12..14].copy_from_slice(&[0x08, 0x00]);
        out[14] = 0x45;
        out[16..18].copy_from_slice(&u16::from(HEADER - 14).to_be_bytes());
        out[22] = 64;
        out[23] = self.proto;
        out[26..30].copy_from_slice(&self.source.to_be_bytes());
        out[30..34].copy_from_slice(&self.dest.to_be_bytes());
        out[34..36].copy_from_slice(&self.sport.to_be_bytes());
        out[36..38].copy_from_slice(&self.dport.to_be_bytes());
        if self.proto == TCP {
            out[46] = 5 << 4;
        }
        out
    }
}

/// An address of a network.
fn within(rng: &mut Rng, (addr, len): (Ipv4Addr, u8)) -> u32 {
    let host = u32::MAX.checked_shr(len.into()).unwrap_or(0);
    u32::from(addr) | rng.u32(..) & host
}

/// A trace: every other header matches a filter, the others are random.
pub(crate) fn of_filters(filters: &[Filter], seed: u64) -> Vec<Header> {
    let mut rng = Rng::with_seed(seed);
    let packet = |at: u32| {
        if at.is_multiple_of(2) {
            let filter = &filters[rng.usize(..filters.len())];
            return Packet5::of(&mut rng, filter);
        }
        Packet5::random(&mut rng)
    };
    (0..TRACE).map(packet).map(|p| p.header()).collect()
}

/// The header of a packet from an address.
pub(crate) fn from(source: IpAddr) -> Header {
    let mut rng = Rng::with_seed(1);
    match source {
        IpAddr::V4(source) => {
            let mut packet = Packet5::random(&mut rng);
            packet.source = source.into();
            packet.header()
        }
        IpAddr::V6(source) => header6(source.into(), &mut rng),
    }
}

/// A trace: every other source is in a network, the others are random, of the families that networks
/// are of.
pub(crate) fn of_networks(networks: &[(IpAddr, u8)], seed: u64) -> Vec<Header> {
    let mut rng = Rng::with_seed(seed);
    let header = |at: u32| {
        let (addr, len) = networks[rng.usize(..networks.len())];
        let inside = at.is_multiple_of(2);
        match addr {
            IpAddr::V4(addr) => {
                let mut packet = Packet5::random(&mut rng);
                if inside {
                    packet.source = within(&mut rng, (addr, len));
                }
                packet.header()
            }
            IpAddr::V6(addr) => {
                let host = u128::MAX.checked_shr(len.into()).unwrap_or(0);
                let source = if inside {
                    u128::from(addr) | rng.u128(..) & host
                } else {
                    unicast(&mut rng)
                };
                header6(source, &mut rng)
            }
        }
    };
    (0..TRACE).map(header).collect()
}

/// An IPv6 address of `2000::/3`.
fn unicast(rng: &mut Rng) -> u128 {
    rng.u128(..) >> 3 | 1 << 125
}

/// A datagram: there is no room for more than its ports.
fn header6(source: u128, rng: &mut Rng) -> Header {
    let mut out = [0; HEADER as usize];
    out[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
    out[18..20].copy_from_slice(&u16::from(HEADER - 54).to_be_bytes());
    out[20..22].copy_from_slice(&[UDP, 64]);
    out[22..38].copy_from_slice(&source.to_be_bytes());
    out[38..54].copy_from_slice(&unicast(rng).to_be_bytes());
    out[54..56].copy_from_slice(&rng.u16(..).to_be_bytes());
    out[56..58].copy_from_slice(&rng.u16(..).to_be_bytes());
    out
}

/// Whether the interpreter lets a header pass guard.
pub(crate) fn passes(ir: &Ir, header: &Header) -> bool {
    let parsed = parse(&Frame::whole(Link::Ethernet, header)).unwrap();
    let packet = parsed.packet(Place::Iface(IFACE.into()), Place::Host);
    let mut state = State::oracle(Vec::<bool>::new(), BTreeMap::new());
    let decision = judge(ir, &packet, &mut state, 0);
    decision.by.is_none_or(|id| id.stage != Stage::Guard)
}
