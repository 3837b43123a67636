//! What can be seen of what becomes of a packet.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::{Report, Shot, Where};
use crate::field::{DPORT, ICMP, ICMP_CODE, ICMP_TYPE, ICMPV6, SPORT, TCP, TCP_FLAGS};
use crate::interpret::frame::{Frame, Link, Parsed, parse};
use crate::interpret::{Decision, Outcome, Packet, Place, Sourced, Steered};
use crate::ir::{Ir, Reject};

const RST: u64 = 0x04;

/// What became of a packet, as far as it can be seen from outside and by who gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Nothing: it was dropped.
    Gone,
    /// Its sender got an answer in its place.
    Refused(Refusal),
    /// This machine got it.
    Here {
        /// Its destination; `None` when it is of no account which address of this machine it is.
        daddr: Option<IpAddr>,
        /// Its destination port.
        dport: Option<u16>,
        /// The proxy whose socket got it.
        proxy: Option<Arc<str>>,
    },
    /// It left by an interface.
    Left {
        /// The interface.
        iface: Arc<str>,
        /// Its source.
        saddr: IpAddr,
        /// Its destination.
        daddr: IpAddr,
        /// Its destination port.
        dport: Option<u16>,
    },
}

/// What the sender of a refused packet is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A TCP reset.
    Reset,
    /// An ICMP error, by type and code.
    Icmp(u8, u8),
}

impl Sight {
    /// What the interpreter's decision about a packet looks like; `home` is the address that stands
    /// for this machine. What goes by `lo` has not arrived yet.
    pub(super) fn predicted(ir: &Ir, packet: &Packet, decision: &Decision, home: IpAddr) -> Self {
        match decision.outcome {
            Outcome::Deny => return Self::Gone,
            // Nobody answers a reset.
            Outcome::Reject(_) if packet.field(TCP_FLAGS).is_some_and(|f| f & RST != 0) => {
                return Self::Gone;
            }
            Outcome::Reject(answer) => return Self::Refused(refusal(packet, answer)),
            Outcome::Allow => {}
        }
        let port = port_of(packet);
        let (place, daddr, dport) = match decision.steered {
            Some(Steered::Redirect { port: to }) => {
                return Self::Here {
                    daddr: None,
                    dport: to.or(port),
                    proxy: None,
                };
            }
            Some(Steered::Proxy(id)) => {
                return Self::Here {
                    daddr: Some(packet.daddr),
                    dport: port,
                    proxy: ir.proxies.get(id).map(|p| Arc::clone(&p.name)),
                };
            }
            Some(Steered::Dnat { addr, port: to }) => (&packet.detour, addr, to.or(port)),
            Some(Steered::Route { .. }) => (&packet.detour, packet.daddr, port),
            Some(Steered::Direct) | None => (&packet.egress, packet.daddr, port),
        };
        match place {
            Place::Iface(iface) if &**iface != "lo" => Self::Left {
                iface: Arc::clone(iface),
                saddr: match decision.sourced {
                    Some(Sourced::Masquerade) => home,
                    Some(Sourced::Snat(addr)) => addr,
                    Some(Sourced::Own) | None => packet.saddr,
                },
                daddr,
                dport,
            },
            Place::Host | Place::Iface(_) => Self::Here {
                daddr: Some(daddr),
                dport,
                proxy: None,
            },
        }
    }

    /// Whether packets of these sights have passed.
    pub(super) fn passes(&self) -> bool {
        matches!(self, Self::Here { .. } | Self::Left { .. })
    }

    /// Whether it looks like `predicted`.
    pub(super) fn is_like(&self, predicted: &Self) -> bool {
        match (self, predicted) {
            (
                Self::Here { dport, proxy, .. },
                Self::Here {
                    daddr: None,
                    dport: wanted,
                    proxy: from,
                },
            ) => dport == wanted && proxy == from,
            _ => self == predicted,
        }
    }
}

fn port_of(packet: &Packet) -> Option<u16> {
    packet.field(DPORT).and_then(|p| u16::try_from(p).ok())
}

/// What the language says that a refused packet is answered with.
pub fn refusal(packet: &Packet, answer: Reject) -> Refusal {
    let tcp = u64::from(packet.proto) == TCP;
    let icmp = |v4, v6| {
        if packet.saddr.is_ipv4() {
            Refusal::Icmp(3, v4)
        } else {
            Refusal::Icmp(1, v6)
        }
    };
    match answer {
        Reject::Default if tcp => Refusal::Reset,
        Reject::TcpReset => Refusal::Reset,
        Reject::Default | Reject::PortUnreachable => icmp(3, 4),
        Reject::HostUnreachable => icmp(1, 3),
        Reject::AdminProhibited => icmp(13, 1),
        Reject::NoRoute => icmp(0, 0),
    }
}

/// Everything that a report shows of packets like `sent`, and answers to them.
pub(super) fn seen(sent: &Packet, report: &Report) -> Vec<Sight> {
    let taken = || {
        let proxies = report.taken.iter();
        let mut names = proxies.filter(|(_, n)| **n > 0).map(|(name, _)| name);
        names.next().map(|name| Arc::from(name.as_str()))
    };
    let mut found = Vec::new();
    for (place, bytes) in &report.packets {
        let Ok(packet) = parse(&Frame::whole(Link::Raw, bytes)) else {
            continue;
        };
        if is_same(sent, &packet) {
            let field = |f| packet.fields.get(&f).and_then(|p| u16::try_from(*p).ok());
            let dport = field(DPORT);
            found.push(match place {
                Where::Host => Sight::Here {
                    daddr: Some(packet.daddr),
                    dport,
                    proxy: taken(),
                },
                Where::Iface(iface) => Sight::Left {
                    iface: iface.as_str().into(),
                    saddr: packet.saddr,
                    daddr: packet.daddr,
                    dport,
                },
            });
        } else if let Some(refusal) = answer(sent, &packet)
            && is_senders(sent, place)
        {
            found.push(Sight::Refused(refusal));
        }
    }
    // What got through was not refused: the answer is that of who got it.
    if found.iter().any(Sight::passes) {
        found.retain(Sight::passes);
    }
    found
}

/// How many of these packets, which differ in their source ports, have passed, and how many were
/// refused.
pub(super) fn counted(sent: &[Shot], report: &Report) -> [usize; 2] {
    let Some(first) = sent.first() else {
        return [0, 0];
    };
    let ports: BTreeMap<_, &Packet> = sent
        .iter()
        .map(|s| (s.packet.field(SPORT), &s.packet))
        .collect();
    let [mut passed, mut refused] = [0, 0];
    for (place, bytes) in &report.packets {
        let Ok(packet) = parse(&Frame::whole(Link::Raw, bytes)) else {
            continue;
        };
        let to = ports.get(&packet.fields.get(&DPORT).copied());
        if is_same(&first.packet, &packet) {
            passed += 1;
        } else if is_senders(&first.packet, place)
            && answer(to.unwrap_or(&&first.packet), &packet).is_some()
        {
            refused += 1;
        }
    }
    [passed, refused]
}

/// Whether a packet is the one that was sent, with other addresses and ports perhaps. There are no
/// others but answers.
fn is_same(sent: &Packet, packet: &Parsed) -> bool {
    let same = |field| sent.field(field) == packet.fields.get(&field).copied();
    sent.proto == packet.proto && [TCP_FLAGS, ICMP_TYPE, ICMP_CODE].into_iter().all(same)
}

/// Whether an answer that is seen there reaches the packet's sender.
fn is_senders(sent: &Packet, place: &Where) -> bool {
    match (&sent.ingress, place) {
        (Place::Host, Where::Host) => true,
        (Place::Iface(iface), Where::Iface(name)) => **iface == **name,
        _ => false,
    }
}

/// What a packet refuses, if it refuses one like `sent`.
fn answer(sent: &Packet, packet: &Parsed) -> Option<Refusal> {
    let field = |f| packet.fields.get(&f).copied();
    match u64::from(packet.proto) {
        TCP => {
            let ours = field(SPORT) == sent.field(DPORT) && field(DPORT) == sent.field(SPORT);
            let reset = field(TCP_FLAGS).is_some_and(|f| f & RST != 0);
            (ours && reset && u64::from(sent.proto) == TCP).then_some(Refusal::Reset)
        }
        ICMP | ICMPV6 => {
            let about = packet.inner.as_ref()?;
            let byte = |f| field(f).and_then(|n| u8::try_from(n).ok());
            let (kind, code) = (byte(ICMP_TYPE)?, byte(ICMP_CODE)?);
            // A hint at a shorter way refuses nothing.
            (about.proto == sent.proto && !matches!(kind, 5 | 137))
                .then_some(Refusal::Icmp(kind, code))
        }
        _ => None,
    }
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = |addr: IpAddr, port: Option<u16>| match port {
            Some(port) => SocketAddr::new(addr, port).to_string(),
            None => addr.to_string(),
        };
        match self {
            Self::Gone => f.write_str("dropped"),
            Self::Refused(Refusal::Reset) => f.write_str("refused with a TCP reset"),
            Self::Refused(Refusal::Icmp(kind, code)) => {
                write!(f, "refused with ICMP type {kind} code {code}")
            }
            Self::Here {
                daddr,
                dport,
                proxy,
            } => {
                match (daddr, dport) {
                    (Some(addr), _) => write!(f, "delivered here as {}", socket(*addr, *dport))?,
                    (None, Some(port)) => write!(f, "delivered here at port {port}")?,
                    (None, None) => f.write_str("delivered here")?,
                }
                match proxy {
                    Some(name) => write!(f, ", to the proxy `{name}`"),
                    None => Ok(()),
                }
            }
            Self::Left {
                iface,
                saddr,
                daddr,
                dport,
            } => write!(
                f,
                "sent out by `{iface}` from {saddr} to {}",
                socket(*daddr, *dport)
            ),
        }
    }
}
