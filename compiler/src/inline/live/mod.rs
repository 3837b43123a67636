//! Steps of tests as real packets: what has to be sent, along which ways, and what has to be seen
//! of it.
//!
//! A step becomes a [`Play`] for each way in which it can come about. A play is made of volleys,
//! one after the other. What was seen of each is a [`Report`]. It is compared with what the
//! interpreter says of the same packets: a cell of the table is right when the kernel did what
//! the interpreter says, and the interpreter says what the test says.

mod play;
mod round;
mod sight;
#[cfg(test)]
mod tests;
mod unplayable;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::field::{GID, UID};
use crate::interpret::{Decision, Packet};
use crate::ir::cube::PrincipalKind;
use crate::ir::{Atom, Cube, Ir};

pub use sight::{Refusal, Sight, refusal};

/// The longest `send` that is played, in milliseconds.
const LONGEST: u64 = 5_000;

/// The most flows that a `send` that is played opens.
const MOST_FLOWS: usize = 5_000;

/// The most ways in which a step that is played can come about.
const MOST_PLAYS: usize = 128;

/// By how many milliseconds a packet may meet its rule earlier or later than it was sent.
const JITTER: u64 = 15;

/// One way in which a step can come about.
#[derive(Clone, Debug)]
pub struct Play {
    /// What is sent, in order; each volley when what became of the one before is known.
    pub volleys: Vec<Volley>,
    /// The ways that its packets and the answers to them have to take.
    pub routes: BTreeSet<Route>,
    /// Ports of this machine at which something has to listen.
    pub ports: BTreeSet<u16>,
    /// The rule that the step names, which must have counted.
    pub rule: Option<Arc<str>>,
}

impl Play {
    /// Every packet of it.
    pub fn shots(&self) -> impl Iterator<Item = &Shot> {
        self.volleys.iter().flat_map(|v| &v.shots)
    }

    /// Whether what becomes of its packets is only counted.
    pub fn is_counted(&self) -> bool {
        self.volleys.iter().any(|v| v.counted)
    }

    /// The interfaces by which its packets come and go.
    pub fn interfaces(&self) -> BTreeSet<Arc<str>> {
        let routes = self.routes.iter().map(|r| &r.iface);
        let senders = self.shots().filter_map(|s| match &s.sender {
            Sender::Iface(name) => Some(name),
            Sender::Host { .. } => None,
        });
        routes.chain(senders).cloned().collect()
    }
}

/// Packets that are sent together.
#[derive(Clone, Debug)]
pub struct Volley {
    /// The packets.
    pub shots: Vec<Shot>,
    /// Whether what becomes of them is only counted.
    counted: bool,
}

/// A packet to be sent.
#[derive(Clone, Debug)]
pub struct Shot {
    /// How many milliseconds after the first of its volley.
    pub after: u64,
    /// Who sends it.
    pub sender: Sender,
    /// The packet, from its IP header on.
    pub bytes: Vec<u8>,
    /// What the interpreter knows of it.
    packet: Packet,
    /// What the interpreter says of it.
    decision: Decision,
    /// What that looks like.
    predicted: Sight,
}

impl Shot {
    /// Whether it is of IPv6.
    pub fn is_v6(&self) -> bool {
        self.packet.daddr.is_ipv6()
    }

    /// The number of its protocol.
    pub fn protocol(&self) -> u8 {
        self.packet.proto
    }
}

/// Users and groups that a policy names and that have no numbers.
pub fn unnumbered(ir: &Ir) -> Vec<(PrincipalKind, String)> {
    let names: BTreeSet<_> = cubes(ir)
        .flat_map(|cube| cube.atoms.keys())
        .filter_map(|atom| match atom {
            Atom::Principal(kind @ (PrincipalKind::User | PrincipalKind::Group), name) => {
                Some((*kind, name.clone()))
            }
            _ => None,
        })
        .collect();
    names.into_iter().collect()
}

/// Whether a policy asks for users or groups.
pub fn asks_who_sends(ir: &Ir) -> bool {
    let numbered = |cube: &Cube| [UID, GID].iter().any(|f| cube.fields.contains_key(f));
    cubes(ir).any(numbered) || !unnumbered(ir).is_empty()
}

fn cubes(ir: &Ir) -> impl Iterator<Item = &Cube> {
    let rules = ir.rules().flat_map(|(_, rule)| &rule.cubes);
    rules.chain(ir.proxies.iter().flat_map(|proxy| &proxy.bypass))
}

/// Who sends a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sender {
    /// Somebody behind an interface.
    Iface(Arc<str>),
    /// This machine.
    Host {
        /// The user; somebody whom the policy does not name when absent.
        uid: Option<u32>,
        /// The group; likewise.
        gid: Option<u32>,
    },
}

/// A route to one address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The table; the main one when absent.
    pub table: Option<u32>,
    /// The address.
    pub dest: IpAddr,
    /// The interface behind which it is.
    pub iface: Arc<str>,
}

/// Where a packet is seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Where {
    /// This machine got it.
    Host,
    /// It left by an interface.
    Iface(String),
}

/// What was seen of a volley.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// When each packet was sent: milliseconds after the first.
    pub sent: Vec<u64>,
    /// The packets seen, from their IP headers on.
    pub packets: Vec<(Where, Vec<u8>)>,
    /// How many packets the sockets of each proxy got.
    pub taken: BTreeMap<String, u64>,
}

/// Why a step cannot be played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unplayable(pub String);

impl Unplayable {
    fn because(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}
