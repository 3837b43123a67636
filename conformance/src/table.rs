//! The flows that a machine is to know.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use polc_compiler::interpret::Place;

use crate::backend::Backend;
use crate::shot::{ACK, End, FIN, Pair, RST, SCTP, SYN, Shot, TCP, has_ports};

/// How long a flow may be idle, in milliseconds: kernels and programs forget some that were so for half a minute,
/// and packets of a salvo are sent some time after it is made up, long after on a busy machine.
const IDLE: u64 = 10_000;

/// Ports that the kernel replaces by others of their kind alone, of which there are 424 at least; and how many flows
/// of one address and to one end may have got others before it may find no more that is free.
const LOW: u16 = 1024;
const CROWD: u32 = 350;

/// Who sends a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Somebody behind an interface.
    In(usize),
    /// A user and group of the machine.
    Out(u32, u32),
}

/// Where a packet was in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The machine got it.
    Here,
    /// It left by an interface.
    Left(usize),
}

/// A flow.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    /// Its first packet, as it came.
    pub(crate) first: Shot,
    /// The ends as the filter sees them, and as they are outside: of packets of the first one's way.
    pub(crate) inner: (End, End),
    pub(crate) outer: (End, End),
    pub(crate) there: Way,
    pub(crate) exit: Exit,
    /// Where its packets go by what steer has decided.
    pub(crate) detour: Place,
    /// Whether a proxy has taken it.
    pub(crate) captured: bool,
    /// When its last packet was sent, in milliseconds since the Unix epoch.
    last: u64,
    /// Whether TCP's first question has no answer yet.
    asked: bool,
    /// Which ends have finished: the one that has opened it, and the other.
    finished: [bool; 2],
    reset: bool,
}

impl Flow {
    /// A flow that has begun now, in milliseconds since the Unix epoch.
    pub(crate) fn new(first: Shot, (there, exit): (Way, Exit), detour: Place, now: u64) -> Self {
        let ends = (first.source, first.dest);
        let asked = first.flags & SYN != 0;
        Self {
            first,
            inner: ends,
            outer: ends,
            there,
            exit,
            detour,
            captured: false,
            last: now,
            asked,
            finished: [false; 2],
            reset: false,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.reset || self.finished == [true; 2]
    }

    /// Who answers, if anybody does.
    pub(crate) fn back(&self) -> Way {
        match self.exit {
            Exit::Here => Way::Out(0, 0),
            Exit::Left(by) => Way::In(by),
        }
    }

    /// A packet of the first one's way, and what it is to be.
    pub(crate) fn forth(&self, number: u16, flags: u8) -> (Shot, Shot) {
        let shot = Shot {
            number,
            flags: if self.asked { SYN } else { flags },
            mss: None,
            cut: None,
            ..self.first.clone()
        };
        let expected = shot.between(self.outer.0, self.outer.1);
        (shot, expected)
    }

    /// An answer, and what it is to be.
    pub(crate) fn answer(&self, number: u16, flags: u8) -> (Shot, Shot) {
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
            number,
            kind,
            flags: if self.asked { SYN | ACK } else { flags },
            mss: None,
            cut: None,
            ..self.first.between(self.outer.1, self.outer.0)
        };
        let expected = answer.between(self.first.dest, self.first.source);
        (answer, expected)
    }

    /// A packet with such flags was part of it now, in milliseconds since the Unix epoch.
    pub(crate) fn had(&mut self, flags: u8, answer: bool, now: u64) {
        self.last = now;
        if self.first.proto == TCP {
            self.asked &= !answer;
            let [forth, back] = &mut self.finished;
            let end = if answer { back } else { forth };
            *end |= flags & FIN != 0 && flags & RST == 0;
            self.reset |= flags & RST != 0;
        }
    }

    /// What packets of it look like anywhere.
    pub(crate) fn pairs(&self) -> [Pair; 3] {
        let pair = |(one, other): (End, End)| self.first.between(one, other).pair();
        [self.first.pair(), pair(self.inner), pair(self.outer)]
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Table {
    flows: BTreeMap<u64, Flow>,
    /// The numbers of flows, for a quick choice among them.
    known: Vec<u64>,
    next: u64,
    owners: HashMap<Pair, u64>,
    /// What two flows look like, or packets of which it is not clear what they are.
    unclear: HashSet<Pair>,
    /// What flows have looked like outside.
    left: HashSet<Pair>,
    /// What sources have become: Netfilter gives one that talks to many the same port again.
    given: HashSet<(u8, End, End)>,
    /// How many flows with a low port have got another one, by protocol, source address and where they go.
    crowds: HashMap<(u8, IpAddr, End), u32>,
}

/// The interpreter tells flows of ICMP by their addresses.
pub(crate) fn told((proto, mut one, mut other): Pair) -> Pair {
    if [1, 58].contains(&proto) {
        (one.port, other.port) = (0, 0);
    }
    (proto, one, other)
}

/// By what flows take each other's ports.
fn crowd(left: &Shot) -> (u8, IpAddr, End) {
    (left.proto, left.source.addr, left.dest)
}

impl Table {
    pub(crate) fn get(&self, id: u64) -> Option<&Flow> {
        self.flows.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut Flow> {
        self.flows.get_mut(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.flows.len()
    }

    /// Nothing more comes of flows that were idle for long before now, in milliseconds since the Unix epoch.
    pub(crate) fn settle(&mut self, now: u64) {
        let idle = |flow: &Flow| flow.last.saturating_add(IDLE) < now;
        let idle = self.flows.iter().filter(|(_, flow)| idle(flow));
        let idle: Vec<u64> = idle.map(|(id, _)| *id).collect();
        for id in idle {
            self.doubt(id);
        }
        self.known.retain(|id| self.flows.contains_key(id));
    }

    /// Some flow: the one at this place among all that are known, and some that were.
    pub(crate) fn at(&self, place: usize) -> Option<u64> {
        let id = self.known.get(place % self.known.len().max(1))?;
        self.flows.contains_key(id).then_some(*id)
    }

    /// Whether a packet is one of no flow, and cannot be mistaken for one.
    pub(crate) fn is_free(&self, pair: Pair) -> bool {
        !self.owners.contains_key(&told(pair)) && !self.unclear.contains(&told(pair))
    }

    /// Whether a flow has left so, or two flows might.
    pub(crate) fn has_left(&self, pair: Pair) -> bool {
        self.left.contains(&pair) || !self.is_free(pair)
    }

    /// Whether packets of a known flow leave so; those without ports may share their look.
    pub(crate) fn goes_so(&self, shot: &Shot) -> bool {
        let flow = self
            .owners
            .get(&told(shot.pair()))
            .and_then(|id| self.get(*id));
        has_ports(shot.proto) && flow.is_some_and(|flow| flow.outer == (shot.source, shot.dest))
    }

    /// Whether a packet's source has become this one before.
    pub(crate) fn has_got(&self, shot: &Shot, source: End) -> bool {
        self.given.contains(&(shot.proto, shot.source, source))
    }

    /// The first packet of a flow has become this.
    pub(crate) fn give(&mut self, shot: &Shot, left: &Shot) {
        if shot.source != left.source {
            self.given.insert((shot.proto, shot.source, left.source));
        }
        if shot.source.port < LOW && shot.source.port != left.source.port {
            *self.crowds.entry(crowd(left)).or_default() += 1;
        }
    }

    /// Whether there may be no port for the first packet of a flow, if it needs another than it has and is to become
    /// this.
    pub(crate) fn is_crowded(&self, shot: &Shot, left: &Shot) -> bool {
        let before = self.crowds.get(&crowd(left));
        shot.source.port < LOW && before.is_some_and(|before| *before >= CROWD)
    }

    /// Whether a flow cannot be told from another one that looks like it once it is translated, so that either may
    /// lose its packets: where there are no ports, or they are kept, and with eBPF where both go to one end
    /// from one, or go opposite ways between ports of one address.
    pub(crate) fn collides(&self, flow: &Flow, backend: Backend) -> bool {
        let first = &flow.first;
        let taken = |(source, dest)| self.has_left(first.between(source, dest).pair());
        let kept = backend == Backend::Ebpf && first.proto == SCTP;
        let ported = first.is_icmp() || has_ports(first.proto) && !kept;
        let steered = flow.inner.1 != first.dest && !first.is_icmp();
        let alone = flow.outer.0.addr == flow.outer.1.addr;
        (!ported && taken(flow.outer))
            || (backend == Backend::Ebpf
                && (alone && taken(flow.outer) || steered && taken(flow.inner)))
    }

    /// Remembers a flow, unless others look like it.
    pub(crate) fn insert(&mut self, flow: Flow) {
        let pairs = flow.pairs();
        self.left.insert(pairs[2]);
        let pairs = pairs.map(told);
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
        self.known.push(id);
        self.flows.insert(id, flow);
    }

    /// Nothing more comes of a flow, and nothing that looks like it.
    pub(crate) fn doubt(&mut self, id: u64) {
        if let Some(flow) = self.flows.remove(&id) {
            let pairs = flow.pairs().map(told);
            for pair in &pairs {
                self.owners.remove(pair);
            }
            self.unclear.extend(pairs);
        }
    }

    /// Nothing more comes of a flow that looks so, if there is one.
    pub(crate) fn confuse(&mut self, pair: Pair) {
        if let Some(id) = self.owners.get(&told(pair)) {
            self.doubt(*id);
        }
        self.avoid(pair);
    }

    /// Nothing more comes that looks so.
    pub(crate) fn avoid(&mut self, pair: Pair) {
        self.unclear.insert(told(pair));
        self.left.insert(pair);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shot::UDP;
    use crate::shot::tests::shot;

    fn flow(port: u16, now: u64) -> Flow {
        let mut first = shot(UDP, false);
        first.source.port = port;
        Flow::new(first, (Way::In(0), Exit::Here), Place::Host, now)
    }

    #[test]
    fn ports_run_out_for_those_that_need_another_low_one() {
        let mut table = Table::default();
        let left = |port| {
            let mut shot = flow(port, 0).first;
            shot.dest.port = 80;
            shot
        };
        for port in 0..CROWD {
            assert!(!table.is_crowded(&left(53), &left(53)));
            let other = u16::try_from(port).unwrap() + 100;
            table.give(&left(53), &left(other));
            table.give(&left(5300), &left(2000 + other));
        }
        assert!(table.is_crowded(&left(53), &left(53)));
        assert!(!table.is_crowded(&left(5300), &left(5300)));
        assert!(!table.is_crowded(&left(53), &flow(53, 0).first));
    }

    #[test]
    fn idle_flows_have_no_more_packets() {
        let mut table = Table::default();
        table.insert(flow(1000, 5_000));
        table.insert(flow(2000, 5_000));
        let busy = table.at(1).unwrap();
        table.get_mut(busy).unwrap().had(0, true, 10_000);
        table.settle(15_000);
        assert_eq!(table.len(), 2);
        table.settle(20_000);
        let left: BTreeSet<Option<u64>> = (0..9).map(|place| table.at(place)).collect();
        assert_eq!(left, [Some(busy)].into());
        // The kernel may know the other one still.
        assert!(!table.is_free(flow(1000, 0).first.pair()));
    }
}
