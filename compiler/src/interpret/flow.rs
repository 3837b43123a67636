//! Flows: what later packets, answers and ICMP errors are recognised by.

use std::collections::HashMap;
use std::net::IpAddr;

use super::decision::{Sourced, Steered};
use super::packet::Packet;
use crate::field::{DPORT, ICMP, ICMP_CODE, ICMP_TYPE, ICMPV6, SPORT};
use crate::ir::ProxyId;

/// Identifies a flow of a [`Flows`].
pub(super) type FlowId = u64;

/// The packets of one direction of a flow. ICMP has its type and code in place of a destination
/// port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tuple {
    pub(super) proto: u8,
    pub(super) saddr: IpAddr,
    pub(super) sport: u16,
    pub(super) daddr: IpAddr,
    pub(super) dport: u16,
}

impl Tuple {
    pub(super) fn of(packet: &Packet) -> Self {
        let number = |field| packet.field(field).unwrap_or(0);
        let port = |field| u16::try_from(number(field)).unwrap_or(0);
        let (sport, dport) = if is_icmp(packet.proto) {
            let [kind, code] = [ICMP_TYPE, ICMP_CODE].map(|f| u8::try_from(number(f)).unwrap_or(0));
            (0, u16::from_be_bytes([kind, code]))
        } else {
            (port(SPORT), port(DPORT))
        };
        Self {
            proto: packet.proto,
            saddr: packet.saddr,
            sport,
            daddr: packet.daddr,
            dport,
        }
    }

    /// What the answers look like.
    pub(super) fn inverted(self) -> Self {
        let (sport, dport) = if is_icmp(self.proto) {
            (0, answer(self.proto, self.dport))
        } else {
            (self.dport, self.sport)
        };
        Self {
            proto: self.proto,
            saddr: self.daddr,
            sport,
            daddr: self.saddr,
            dport,
        }
    }
}

fn is_icmp(proto: u8) -> bool {
    [ICMP, ICMPV6].contains(&u64::from(proto))
}

/// Type and code of the answer to a question, or of the question that an answer is to.
fn answer(proto: u8, type_and_code: u16) -> u16 {
    const PAIRS: [(u8, u8); 4] = [(8, 0), (13, 14), (15, 16), (17, 18)];
    const PAIRS6: [(u8, u8); 2] = [(128, 129), (139, 140)];
    let pairs = if u64::from(proto) == ICMP {
        &PAIRS[..]
    } else {
        &PAIRS6[..]
    };
    let [kind, code] = type_and_code.to_be_bytes();
    let other = pairs.iter().find_map(|(a, b)| match kind {
        k if k == *a => Some(*b),
        k if k == *b => Some(*a),
        _ => None,
    });
    u16::from_be_bytes([other.unwrap_or(kind), code])
}

/// A flow that was admitted.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    /// The packets that go the way of the first one, as they come in.
    pub(super) original: Tuple,
    /// The answers, as they come in.
    pub(super) reply: Tuple,
    pub(super) mark: u32,
    pub(super) steered: Option<Steered>,
    pub(super) sourced: Option<Sourced>,
    /// Whether steer has admitted it.
    pub(super) admitted: bool,
    pub(super) proxy: Option<ProxyId>,
    /// Whether there was an answer.
    pub(super) replied: bool,
}

/// The flows that are known.
#[derive(Clone, Debug, Default)]
pub(super) struct Flows {
    known: HashMap<FlowId, Flow>,
    /// The flow of each tuple, and whether the tuple is that of its answers.
    tuples: HashMap<Tuple, (FlowId, bool)>,
    next: FlowId,
}

/// A flow that a packet belongs to.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) id: FlowId,
    /// Whether the packet is an answer.
    pub(super) reply: bool,
    /// Whether it is an ICMP error about the flow.
    pub(super) related: bool,
}

impl Flows {
    /// The flow of a packet, or for an ICMP error that of the packet that it quotes.
    pub(super) fn find(&self, packet: &Packet, quoted: Option<&Packet>) -> Option<Found> {
        let related = quoted.is_some();
        // An error travels against what it is about, to whoever has sent that.
        if quoted.is_some_and(|q| q.saddr != packet.daddr) {
            return None;
        }
        let tuple = quoted.map_or_else(|| Tuple::of(packet), |q| Tuple::of(q).inverted());
        let (id, reply) = *self.tuples.get(&tuple)?;
        Some(Found { id, reply, related })
    }

    pub(super) fn get_mut(&mut self, id: FlowId) -> Option<&mut Flow> {
        self.known.get_mut(&id)
    }

    /// Remembers a flow.
    pub(super) fn insert(&mut self, flow: Flow) -> FlowId {
        let id = self.next;
        self.next += 1;
        self.tuples.insert(flow.reply, (id, true));
        self.tuples.insert(flow.original, (id, false));
        self.known.insert(id, flow);
        id
    }

    /// Forgets a flow.
    pub(super) fn remove(&mut self, id: FlowId) {
        if let Some(flow) = self.known.remove(&id) {
            for tuple in [flow.original, flow.reply] {
                if self
                    .tuples
                    .get(&tuple)
                    .is_some_and(|(owner, _)| *owner == id)
                {
                    self.tuples.remove(&tuple);
                }
            }
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(proto: u64, sport: u16, dport: u16) -> Tuple {
        Tuple {
            proto: u8::try_from(proto).unwrap(),
            saddr: "192.0.2.1".parse().unwrap(),
            sport,
            daddr: "192.0.2.2".parse().unwrap(),
            dport,
        }
    }

    #[test]
    fn an_answer_is_the_other_way_round() {
        let question = tuple(6, 40000, 22);
        let answer = question.inverted();
        assert_eq!((answer.saddr, answer.sport), (question.daddr, 22));
        assert_eq!(answer.inverted(), question);
        // Echo request and reply, with their codes.
        assert_eq!(tuple(ICMP, 0, 0x0800).inverted().dport, 0);
        assert_eq!(tuple(ICMPV6, 0, 0x8000).inverted().dport, 0x8100);
        assert_eq!(tuple(ICMPV6, 0, 0x8101).inverted().dport, 0x8001);
    }

    #[test]
    fn a_flow_that_ends_leaves_the_tuples_of_a_newer_one() {
        let flow = |mark| Flow {
            original: tuple(17, 1, 2),
            reply: tuple(17, 1, 2).inverted(),
            mark,
            steered: None,
            sourced: None,
            admitted: false,
            proxy: None,
            replied: false,
        };
        let mut flows = Flows::default();
        let (old, new) = (flows.insert(flow(1)), flows.insert(flow(2)));
        flows.remove(old);
        assert_eq!(flows.tuples.get(&tuple(17, 1, 2)), Some(&(new, false)));
        flows.remove(new);
        assert!(flows.tuples.is_empty() && flows.len() == 0);
    }
}
