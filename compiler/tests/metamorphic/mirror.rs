//! Families: what a policy does with IPv4, its mirror does with IPv6, and the other way.
//!
//! Addresses have images where all that random policies ask has one. `10.0.0.0/8` is
//! `fd00::/104`, and so is, to packets of these addresses, every larger prefix around it. What is of
//! one family by its nature, ICMP, is left out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fastrand::Rng;
use polc_compiler::diagnostic::Code;
use polc_compiler::field::{ETH_TYPE, ICMP, ICMPV6};
use polc_compiler::interpret::{Packet, Sourced, Steered};

use super::judge::{Judgement, Met, in_step};
use super::trial::{Compiled, Trial};

/// Prefixes that are each other's images: IPv4, its length, IPv6.
const IMAGES: [(Ipv4Addr, u8, Ipv6Addr); 6] = [
    // What policies do not name.
    (
        Ipv4Addr::new(11, 0, 0, 0),
        8,
        Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0),
    ),
    (
        Ipv4Addr::new(10, 0, 0, 0),
        8,
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0),
    ),
    (
        Ipv4Addr::new(192, 0, 0, 0),
        16,
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0),
    ),
    (
        Ipv4Addr::new(12, 0, 0, 0),
        8,
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0),
    ),
    // Targets: no packet has them.
    (
        Ipv4Addr::new(198, 51, 100, 0),
        24,
        Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0),
    ),
    (Ipv4Addr::LOCALHOST, 32, Ipv6Addr::LOCALHOST),
];
/// How many of them packets have.
const OF_PACKETS: usize = 4;

/// How many more bits the length of an IPv6 prefix has.
const MORE: u8 = 96;

/// The image of an address, when one of these prefixes has it.
fn image_in(images: &[(Ipv4Addr, u8, Ipv6Addr)], addr: IpAddr) -> Option<IpAddr> {
    images.iter().find_map(|(four, len, six)| {
        let low = match addr {
            IpAddr::V4(addr) => u128::from(u32::from(addr) ^ u32::from(*four)),
            IpAddr::V6(addr) => u128::from(addr) ^ u128::from(*six),
        };
        let inside = low >> (32 - len) == 0;
        let low = u32::try_from(low).ok().filter(|_| inside)?;
        Some(match addr {
            IpAddr::V4(_) => Ipv6Addr::from(u128::from(*six) | u128::from(low)).into(),
            IpAddr::V6(_) => Ipv4Addr::from(u32::from(*four) | low).into(),
        })
    })
}

/// The image of an address that policies name or packets have.
fn image(addr: IpAddr) -> IpAddr {
    image_in(&IMAGES, addr).unwrap_or_else(|| panic!("{addr} has no image"))
}

/// The image of a prefix. One of IPv6 that is larger than an image has all of it.
fn prefix(addr: IpAddr, len: u8) -> String {
    let whole = IMAGES.iter().find(|(_, _, six)| *six == addr);
    let len = match whole {
        _ if addr.is_ipv4() => len + MORE,
        Some((_, least, _)) => len.saturating_sub(MORE).max(*least),
        None => len - MORE,
    };
    format!("{}/{len}", image(addr))
}

/// The address that packets of this trial have for it.
fn fold(addr: IpAddr) -> IpAddr {
    let of_packets = &IMAGES[..OF_PACKETS];
    if image_in(of_packets, addr).is_some() {
        return addr;
    }
    match addr {
        IpAddr::V4(addr) => {
            let (net, len, _) = IMAGES[0];
            Ipv4Addr::from(u32::from(net) | u32::from(addr) & (u32::MAX >> len)).into()
        }
        IpAddr::V6(addr) => {
            let near = |net: Ipv6Addr| net.segments()[0] == addr.segments()[0];
            let found = of_packets.iter().find(|(_, _, net)| near(*net));
            let (_, len, net) = found.unwrap_or(&IMAGES[0]);
            let low = u128::from(addr) & u128::from(u32::MAX >> len);
            Ipv6Addr::from(u128::from(*net) | low).into()
        }
    }
}

/// A packet and its image; `None` for ICMP.
fn packets(packet: &Packet) -> Option<(Packet, Packet)> {
    if [ICMP, ICMPV6].contains(&packet.proto.into()) {
        return None;
    }
    let mut packet = packet.clone();
    (packet.saddr, packet.daddr) = (fold(packet.saddr), fold(packet.daddr));
    let mut other = packet.clone();
    (other.saddr, other.daddr) = (image(packet.saddr), image(packet.daddr));
    if let Some(kind) = other.fields.get_mut(&ETH_TYPE) {
        *kind = match *kind {
            0x0800 => 0x86dd,
            0x86dd => 0x0800,
            other => other,
        };
    }
    Some((packet, other))
}

/// The image of what became of a packet.
fn met(seen: &Met) -> Met {
    let mut out = seen.clone();
    if let Some(Steered::Dnat { addr, .. }) = &mut out.steered {
        *addr = image(*addr);
    }
    if let Some(Sourced::Snat(addr)) = &mut out.sourced {
        *addr = image(*addr);
    }
    out
}

/// The policy with the families exchanged.
fn mirrored(text: &str) -> Option<String> {
    if text.contains("icmpv6") {
        return None;
    }
    let mut out = String::new();
    let ends = |c: char| c.is_whitespace() || "{}(),".contains(c);
    for piece in text.replace("/24,/56", "/8,/120").split_inclusive(ends) {
        let word = piece.trim_end_matches(ends);
        let asks = |what: &str| out.ends_with(what);
        let new = match word {
            "v4" if asks("only ") => Some("v6".to_owned()),
            "v6" if asks("only ") => Some("v4".to_owned()),
            "4" if asks("ip.version == ") => Some("6".to_owned()),
            "6" if asks("ip.version == ") => Some("4".to_owned()),
            _ => address(word),
        };
        out.push_str(&new.unwrap_or_else(|| word.to_owned()));
        out.push_str(&piece[word.len()..]);
    }
    Some(out)
}

/// The image of an address, prefix, range or socket, as a policy writes it; `None` of other words.
fn address(word: &str) -> Option<String> {
    let of = |text: &str| text.parse().ok().map(image);
    if let Some((addr, len)) = word.split_once('/') {
        let addr = addr.parse().ok()?;
        return Some(prefix(addr, len.parse().ok()?));
    }
    if let Some((first, last)) = word.split_once('-') {
        return Some(format!("{}-{}", of(first)?, of(last)?));
    }
    let socket: Option<std::net::SocketAddr> = word.parse().ok();
    if let Some(socket) = socket {
        let to = std::net::SocketAddr::new(image(socket.ip()), socket.port());
        return Some(to.to_string());
    }
    Some(of(word)?.to_string())
}

/// The interpreter alone can be asked: to the comparison, these are other packets.
fn judged(before: &Compiled, after: &Compiled, rng: &mut Rng) -> Judgement {
    in_step(before, after, packets, met, rng)
}

/// The mirror of a policy. A rule about a set that is empty only in one of them has no bucket there:
/// then it has none.
fn change(policy: &Compiled, _: &mut Rng) -> Option<String> {
    let text = mirrored(&policy.text)?;
    let mirror = Compiled::new(text.clone());
    let buckets = mirror.out.ir.as_ref().map(|ir| ir.buckets.len());
    let alike = buckets.is_none_or(|count| count == policy.ir().buckets.len());
    alike.then_some(text)
}

#[test]
fn families_are_treated_alike() {
    let trial = Trial {
        policies: 100,
        floor: 60,
        may_cause: &[Code::UnmatchableRule],
        moves_marks: false,
    };
    trial.run_with(change, judged);
}

#[test]
fn a_mirror_that_is_not_true_is_seen() {
    let text = "to host { deny from 10.0.0.0/30, fd00::4/126 only v4 default allow }";
    let (before, mirror) = (Compiled::new(text.to_owned()), mirrored(text).unwrap());
    let seen = |after: &str| {
        let after = Compiled::new(after.to_owned());
        in_step(&before, &after, packets, met, &mut Rng::with_seed(1)).packet
    };
    assert_eq!(
        mirror,
        "to host { deny from fd00::/126, 10.0.0.4/30 only v6 default allow }"
    );
    assert_eq!(seen(&mirror), None);
    assert!(seen(&mirror.replace("only v6", "only v4")).is_some());
    assert!(seen(&mirror.replace("fd00::/126", "fd00::/127")).is_some());
}
