//! The flows that a machine is to know.

use std::collections::{BTreeMap, BTreeSet};

use super::journey::Way;
use super::shot::{End, FIN, Pair, RST, Shot, TCP};

/// A flow.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    /// Its first packet, as it came.
    pub(super) first: Shot,
    /// The ends as the filter sees them, and as they are outside: of packets of the first one's way.
    pub(super) inner: (End, End),
    pub(super) outer: (End, End),
    pub(super) there: Way,
    pub(super) back: Way,
    /// Whether a proxy has taken it.
    pub(super) captured: bool,
    /// Whether it is one between sockets of this host.
    pub(super) home: bool,
    /// Which ends have finished: the one that has opened it, and the other.
    pub(super) finished: [bool; 2],
    pub(super) reset: bool,
}

impl Flow {
    pub(super) fn is_over(&self) -> bool {
        self.reset || self.finished == [true; 2]
    }

    /// A packet of the first one's way, and what it is to be.
    pub(super) fn forth(&self, flags: u8) -> (Shot, Shot) {
        let shot = Shot {
            flags,
            ..self.first.clone()
        };
        let expected = shot.between(self.outer.0, self.inner.1);
        (shot, expected)
    }

    /// An answer, and what it is to be.
    pub(super) fn answer(&self, flags: u8) -> (Shot, Shot) {
        let mut kind = self.first.kind;
        if self.first.is_icmp() {
            kind[0] = match kind[0] {
                8 => 0,
                128 => 129,
                139 => 140,
                other => other + 1,
            };
        }
        let answer = Shot {
            kind,
            flags,
            ..self.first.between(self.inner.1, self.outer.0)
        };
        let expected = answer.between(self.first.dest, self.first.source);
        (answer, expected)
    }

    /// A packet with such flags was part of it.
    pub(super) fn had(&mut self, flags: u8, answer: bool) {
        if self.first.proto == TCP {
            self.finished[usize::from(answer)] |= flags & FIN != 0 && flags & RST == 0;
            self.reset |= flags & RST != 0;
        }
    }

    /// What packets of it look like anywhere.
    fn pairs(&self) -> [Pair; 3] {
        let pair = |(one, other): (End, End)| self.first.between(one, other).pair();
        [self.first.pair(), pair(self.inner), pair(self.outer)]
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) flows: BTreeMap<u64, Flow>,
    next: u64,
    owners: BTreeMap<Pair, u64>,
    /// What two flows look like, or packets of which it is not clear what they are.
    unclear: BTreeSet<Pair>,
    /// What flows have looked like outside.
    left: BTreeSet<Pair>,
}

/// The interpreter tells flows of ICMP by their addresses.
fn told((proto, mut one, mut other): Pair) -> Pair {
    if [1, 58].contains(&proto) {
        (one.port, other.port) = (0, 0);
    }
    (proto, one, other)
}

impl Table {
    /// Whether a packet is one of no flow, and cannot be mistaken for one.
    pub(super) fn is_free(&self, pair: Pair) -> bool {
        !self.owners.contains_key(&told(pair)) && !self.unclear.contains(&told(pair))
    }

    /// Whether a flow has left so, or two flows might.
    pub(super) fn has_left(&self, pair: Pair) -> bool {
        self.left.contains(&pair) || !self.is_free(pair)
    }

    /// Remembers a flow, unless others look like it.
    pub(super) fn insert(&mut self, flow: Flow) {
        self.left.insert(flow.pairs()[2]);
        let pairs = flow.pairs().map(told);
        let others = pairs.iter().filter_map(|pair| self.owners.get(pair));
        let others: BTreeSet<u64> = others.copied().collect();
        // What an end says to itself has no direction.
        let alone = flow.inner.0 == flow.inner.1;
        if alone || !others.is_empty() || pairs.iter().any(|pair| self.unclear.contains(pair)) {
            self.unclear.extend(pairs);
            for other in others {
                self.doubt(other);
            }
            return;
        }
        let id = self.next;
        self.next += 1;
        self.owners.extend(pairs.map(|pair| (pair, id)));
        self.flows.insert(id, flow);
    }

    /// Nothing more comes of a flow, and nothing that looks like it.
    pub(super) fn doubt(&mut self, id: u64) {
        if let Some(flow) = self.remove(id) {
            self.unclear.extend(flow.pairs().map(told));
        }
    }

    /// A packet was refused that looks so.
    pub(super) fn refused(&mut self, pair: Pair) {
        self.left.insert(pair);
    }

    /// Nothing more comes that looks so.
    pub(super) fn avoid(&mut self, pair: Pair) {
        self.unclear.insert(told(pair));
    }

    /// The flow that looks so somewhere.
    pub(super) fn owner(&self, pair: Pair) -> Option<u64> {
        self.owners.get(&told(pair)).copied()
    }

    /// A flow is over.
    pub(super) fn remove(&mut self, id: u64) -> Option<Flow> {
        self.owners.retain(|_, owner| *owner != id);
        self.flows.remove(&id)
    }
}
