//! A packet as the language sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::field::{Field, META_MARK};
use crate::ir::cube::PrincipalKind;

/// One end of a packet's way through this machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// This machine: it sent the packet, or gets it.
    Host,
    /// An interface: the packet came in by it, or leaves by it. What this machine sends to itself
    /// leaves by `lo` and comes in by `lo`.
    Iface(Arc<str>),
}

/// A packet: where it is from and goes to, its addresses and its fields.
///
/// A field that the packet does not have (the ports of a later fragment) is absent from
/// [`Packet::fields`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where it comes from.
    pub ingress: Place,
    /// Where its own destination address leads: to this machine or out by an interface.
    pub egress: Place,
    /// Where it goes once steer has given it another destination address or routing table.
    pub detour: Place,
    /// Its source address.
    pub saddr: IpAddr,
    /// Its destination address, of the same family.
    pub daddr: IpAddr,
    /// Its protocol number, 0–255. For IPv6 the one after all extension headers.
    pub proto: u8,
    /// The other fields that it has.
    pub fields: BTreeMap<Field, u64>,
    /// The users, groups and control groups, by the names that the policy has for them, of which
    /// its sender is one. Those with numbers are in [`Packet::fields`].
    pub principals: BTreeSet<(PrincipalKind, String)>,
}

impl Packet {
    /// A field's value; `None` when the packet has no such field.
    pub fn field(&self, field: Field) -> Option<u64> {
        self.fields.get(&field).copied()
    }

    /// The mark with which it comes; none is 0.
    pub(super) fn mark(&self) -> u32 {
        let mark = self.field(META_MARK).unwrap_or(0);
        u32::try_from(mark).unwrap_or(u32::MAX)
    }

    /// Whether it comes in by an interface.
    pub(super) fn arrives(&self) -> bool {
        self.ingress != Place::Host
    }

    /// Whether it passes by the loopback interface, in or out.
    pub(super) fn is_loopback(&self) -> bool {
        self.ingress.is_loopback() || self.egress.is_loopback()
    }
}

impl Place {
    /// Whether it is the loopback interface.
    pub(super) fn is_loopback(&self) -> bool {
        matches!(self, Self::Iface(name) if &**name == LOOPBACK)
    }
}

/// The interface that loopback traffic passes.
pub(super) const LOOPBACK: &str = "lo";
