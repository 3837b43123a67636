//! A packet as a stage sees it.

use std::net::IpAddr;

use super::packet::{Packet, Place};
use crate::field::Field;
use crate::ir::Stage;

/// Where a packet goes, as far as its stage knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Towards<'a> {
    /// To this host.
    Host,
    /// Out by an interface.
    Iface(&'a str),
    /// Not to an address of this host. Steer knows no more of an arriving packet to a group of
    /// receivers (multicast, broadcast), of which this host may be one.
    Elsewhere,
}

impl<'a> From<&'a Place> for Towards<'a> {
    fn from(place: &'a Place) -> Self {
        match place {
            Place::Host => Self::Host,
            Place::Iface(name) => Self::Iface(name),
        }
    }
}

/// What the flow lookup has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// Guard comes before it, and an invalid packet belongs to nothing.
    Nothing,
    /// The packet is not tracked.
    Untracked,
    /// It belongs to a flow.
    Flow {
        /// What `ct.state` says: 0 new, 1 established, 2 related.
        state: u64,
        /// The flow's mark as the packet entered the stage.
        mark: u32,
        /// Whether the packet goes against the way of the flow's first one.
        reply: bool,
    },
}

/// A packet as a stage sees it: what steer and the flow lookup have changed is changed, and marks
/// are as they were when the packet entered the stage.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The packet.
    pub packet: &'a Packet,
    /// The stage.
    pub stage: Stage,
    /// Where it goes.
    pub egress: Towards<'a>,
    /// Its source, as it was before egress.
    pub saddr: IpAddr,
    /// Its destination, as steer has left it.
    pub daddr: IpAddr,
    /// Its destination before steer.
    pub original: IpAddr,
    /// The destination port that steer gave it; of an answer, the port that its flow began with.
    pub dport: Option<u16>,
    /// Its mark.
    pub mark: u32,
    /// Its flow.
    pub track: Track,
    /// Whether it passes by loopback, so that only conditions that name `lo` speak of it.
    pub loopback: bool,
    /// The time in milliseconds.
    pub now: u64,
}

impl<'a> View<'a> {
    /// The packet as `stage` sees it when no other stage has changed anything, as the first of a
    /// flow.
    pub fn new(packet: &'a Packet, stage: Stage, now: u64) -> Self {
        let track = match stage {
            Stage::Guard => Track::Nothing,
            _ => Track::Flow {
                state: 0,
                mark: 0,
                reply: false,
            },
        };
        Self {
            packet,
            stage,
            egress: Towards::from(&packet.egress),
            saddr: packet.saddr,
            daddr: packet.daddr,
            original: packet.daddr,
            dport: None,
            mark: packet.mark(),
            track,
            loopback: false,
            now,
        }
    }

    /// A field's value; `None` when the packet has no such field.
    ///
    /// * Marks and what the flow lookup found are the view's own, not the packet's.
    /// * Only what this host sends has a sender, and it has no Ethernet header yet.
    /// * After guard, packets are whole: none is a fragment.
    /// * Filter and egress see what this host sends on when its time to live is one less.
    /// * A packet that does not say when it came came at [`View::now`], UTC.
    pub fn field(&self, field: Field) -> Option<u64> {
        let own = || self.packet.field(field);
        let sent_here = self.packet.ingress == Place::Host;
        match (field.name(), self.track) {
            ("meta.mark", _) => Some(self.mark.into()),
            ("ct.state", Track::Untracked) => Some(3),
            ("ct.state", Track::Flow { state, .. }) => Some(state),
            ("ct.mark", Track::Flow { mark, .. }) => Some(mark.into()),
            ("ct.direction", Track::Flow { reply, .. }) => Some(reply.into()),
            ("ct.state" | "ct.mark" | "ct.direction", _) => None,
            ("uid" | "gid", _) => own().filter(|_| sent_here),
            ("eth.saddr" | "eth.daddr" | "eth.type" | "vlan.id" | "vlan.pcp", _) => {
                own().filter(|_| !sent_here)
            }
            ("ip.fragment", _) if self.stage == Stage::Guard => Some(own().unwrap_or(0)),
            ("ip.fragment", _) => Some(0),
            ("ip.ttl", _) if self.is_sent_on() => own().map(|ttl| ttl.saturating_sub(1)),
            ("dport", _) => own().map(|port| self.dport.map_or(port, u64::from)),
            ("time.hour", _) => Some(own().unwrap_or(self.now / HOUR % 24)),
            // The epoch was a Thursday.
            ("time.day", _) => Some(own().unwrap_or((self.now / (24 * HOUR) + 4) % 7)),
            _ => own(),
        }
    }

    /// Whether routing has found that the packet comes in by an interface and leaves by one.
    fn is_sent_on(&self) -> bool {
        matches!(self.stage, Stage::Filter | Stage::Egress)
            && self.packet.arrives()
            && matches!(self.egress, Towards::Iface(_))
    }
}

/// Milliseconds.
const HOUR: u64 = 3_600_000;
