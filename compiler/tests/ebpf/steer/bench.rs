//! A policy in the kernel, and in the interpreter.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::time::Duration;

use fastrand::Rng;
use polc_compiler::field::META_PKTTYPE;
use polc_compiler::interpret::{
    Decision, Outcome, Packet, Place, Sourced, State, Steered, judge, judge_related,
};
use polc_compiler::ir::Ir;
use polc_compiler::target::ebpf::Programs;

use super::super::frames::time;
use super::super::kernel::{Loaded, names};
use super::journey::{Fate, Journey, Machine, Place as At, Way};
use super::net::Net;
use super::shot::{End, Shot, read};
use super::table::{Flow, Table};

pub(super) struct Bench<'b> {
    pub(super) ir: &'b Ir,
    pub(super) machine: Machine<'b>,
    pub(super) names: Vec<String>,
    pub(super) state: State,
    pub(super) table: Table,
    /// The sockets of proxies that are up.
    sockets: Vec<(TcpListener, UdpSocket)>,
    /// What has happened, the newest last.
    pub(super) history: Vec<String>,
    pub(super) totals: Totals,
}

#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) packets: u64,
    pub(super) flows: u64,
    pub(super) translated: u64,
    pub(super) captured: u64,
    pub(super) dropped: u64,
    pub(super) errors: u64,
    pub(super) moved_ports: u64,
}

impl Totals {
    pub(super) fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.flows += other.flows;
        self.translated += other.translated;
        self.captured += other.captured;
        self.dropped += other.dropped;
        self.errors += other.errors;
        self.moved_ports += other.moved_ports;
    }
}

/// A packet to be judged.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) shot: Shot,
    pub(super) way: Way,
    /// The flow that it is part of, what it is to be, and whether it is an answer.
    pub(super) part: Option<(u64, Shot, bool)>,
}

impl<'b> Bench<'b> {
    pub(super) fn new(ir: &'b Ir, programs: &'b Programs, net: &'b Net, rng: &mut Rng) -> Self {
        let mut machine = Machine {
            net,
            programs,
            loaded: Loaded::new(programs, names(programs)),
            bare: !asks_how_addressed(ir),
            wait: Duration::ZERO,
        };
        let mut state = State::new(ir);
        let classes = programs.classes.iter();
        let names: Vec<String> = classes.map(|(p, _)| super::name_of(p)).collect();
        for (class, name) in names.iter().enumerate() {
            let index = machine.index(class);
            let number = u32::try_from(programs.classes[class].1).unwrap();
            machine.loaded.set_interface(index, number);
            let (v4, v6) = if name == "lo" {
                (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)
            } else {
                (net.interfaces[class].v4, net.interfaces[class].v6)
            };
            machine.loaded.set_addresses(index, v4, v6);
            state.add_address(name, v4.into());
            state.add_address(name, v6.into());
        }
        // Nobody is one of the senders that have names.
        for place in 0..programs.unresolved.len() {
            let place = u32::try_from(place).unwrap();
            machine
                .loaded
                .set_principal(place, 90_000 + u64::from(place));
        }
        let mut sockets = Vec::new();
        for (id, proxy) in ir.proxies.iter().enumerate() {
            let up = rng.bool();
            state.set_proxy(id, up);
            if up {
                let v4 = proxy.v4.map(|(addr, port)| (IpAddr::from(addr), port));
                let v6 = proxy.v6.map(|(addr, port)| (IpAddr::from(addr), port));
                let socket = |at| (TcpListener::bind(at).unwrap(), UdpSocket::bind(at).unwrap());
                sockets.extend(v4.into_iter().chain(v6).map(socket));
            }
        }
        Self {
            ir,
            machine,
            names,
            state,
            table: Table::default(),
            sockets,
            history: Vec::new(),
            totals: Totals::default(),
        }
    }

    /// Nobody listens any more.
    pub(super) fn close_proxies(&mut self) {
        self.sockets.clear();
        (0..self.ir.proxies.len()).for_each(|id| self.state.set_proxy(id, false));
    }

    /// Judges a packet by both; the complaint if they differ.
    pub(super) fn judge(&mut self, rng: &mut Rng, attempt: &Attempt) -> Result<(), String> {
        let packet = attempt.shot.bytes();
        let journey = self.machine.send(rng, attempt.way, &packet);
        let before = self.state.flow_count();
        let decision = self.interpreter(attempt, &packet, &journey);
        let opened = self.state.flow_count() > before;
        self.history.push(format!(
            "{:?}{} {:?} -> {:?} {:?} {:?} / {:?}",
            attempt.way,
            attempt
                .part
                .as_ref()
                .map_or("", |(_, _, answer)| if *answer {
                    " answer"
                } else {
                    " forth"
                }),
            attempt.shot,
            decision.outcome,
            decision.steered,
            decision.sourced,
            journey.met
        ));
        let same = self.compare(attempt, &journey, &decision, opened);
        same.map_err(|complaint| {
            let quoted = attempt.shot.quote.as_ref().map(|(quoted, _)| quoted.dest);
            let of = [Some(attempt.shot.source), Some(attempt.shot.dest), quoted];
            let proto = format!("proto: {},", attempt.shot.proto);
            let about = |entry: &&String| {
                let mut ends = of.iter().flatten();
                ends.any(|end| {
                    let same = entry.contains(&format!("{end:?}"));
                    same && (end.port != 0 || entry.contains(&proto))
                })
            };
            let last = self.history.iter().rev().filter(about).take(30);
            let last: Vec<&str> = last.map(String::as_str).collect();
            format!(
                "{complaint}\n{attempt:?}\n{journey:?}\n{:?}\n{decision:?}\n{}",
                read(&journey.packet),
                last.join("\n")
            )
        })
    }

    fn interpreter(&mut self, attempt: &Attempt, packet: &[u8], journey: &Journey) -> Decision {
        let parsed = read(packet);
        let iface = |class: usize| Place::Iface(self.names[class].as_str().into());
        let lo = || Place::Iface("lo".into());
        let own = self.machine.net.is_own(parsed.daddr);
        let (ingress, egress, detour) = match attempt.way {
            Way::In(from, to) => {
                let left = read(&journey.packet).daddr;
                let towards = |own| if own { Place::Host } else { iface(to) };
                let detour = match journey.place {
                    At::Iface(_) => false,
                    _ => self.machine.net.is_own(left),
                };
                (iface(from), towards(own), towards(detour))
            }
            Way::Out(by, other) => {
                let detour = match journey.place {
                    At::Home => lo(),
                    _ => iface(other),
                };
                (Place::Host, iface(by), detour)
            }
            Way::Home => (Place::Host, lo(), lo()),
        };
        let mut packet = parsed.packet(ingress, egress);
        packet.detour = detour;
        packet.fields.insert(META_PKTTYPE, 0);
        packet.fields.extend(time());
        let quoted = parsed.inner.as_ref().map(|inner| Packet {
            saddr: inner.saddr,
            daddr: inner.daddr,
            proto: inner.proto,
            fields: inner.fields.clone(),
            ..packet.clone()
        });
        let port = outer_port(&attempt.shot, journey);
        self.state.choose_port(Some(port));
        match quoted {
            Some(quoted) => judge_related(self.ir, &packet, &quoted, &mut self.state, 0),
            None => judge(self.ir, &packet, &mut self.state, 0),
        }
    }

    fn compare(
        &mut self,
        attempt: &Attempt,
        journey: &Journey,
        decision: &Decision,
        opened: bool,
    ) -> Result<(), String> {
        self.totals.packets += 1;
        let shot = &attempt.shot;
        let captured = match decision.steered {
            Some(Steered::Proxy(id)) => self.state.is_proxy_up(id),
            _ => false,
        };
        let clashes = attempt.part.is_none() && self.clashes(attempt, journey, decision);
        if decision.outcome != Outcome::Allow {
            let expected: &[Fate] = match decision.outcome {
                Outcome::Reject(_) => &[Fate::Answered, Fate::Dropped],
                _ => &[Fate::Dropped],
            };
            self.totals.dropped += 1;
            if !expected.contains(&journey.fate) {
                return Err(format!("{:?} for {:?}", journey.fate, decision.outcome));
            }
            // Programs remember what was rejected, and let nobody else leave so.
            self.table.refused(shot.pair());
            if let Some((id, ..)) = attempt.part {
                // What becomes of the rest depends on what was refused.
                self.table.doubt(id);
            }
            return Ok(());
        }
        let mut expected = match &attempt.part {
            Some((_, expected, _)) => expected.clone(),
            None if opened => self.opened(attempt, journey, decision),
            None => shot.clone(),
        };
        if captured {
            // Programs that are only tested cannot give packets to sockets. The mark shows that one tried.
            if journey.fate != Fate::Dropped || journey.mark != decision.mark {
                return Err("not captured".to_owned());
            }
            self.totals.captured += 1;
            expected = shot.clone();
        } else if journey.fate != Fate::Passed {
            let pair = expected.pair();
            if opened && clashes {
                self.table.avoid(shot.pair());
                self.forget(shot, attempt.way);
                return Ok(());
            }
            if opened && !shot.can_move() && self.table.has_left(pair) {
                // There is no other port to leave from.
                self.table.avoid(shot.pair());
                self.table.avoid(pair);
                if let Some(other) = self.table.owner(pair) {
                    self.table.doubt(other);
                }
                self.forget(shot, attempt.way);
                return Ok(());
            }
            return Err(format!("{:?} is not passed", journey.fate));
        } else if journey.packet != expected.bytes() {
            return Err(format!(
                "expected {expected:?}\n{:?}",
                read(&expected.bytes())
            ));
        } else if journey.mark != decision.mark && attempt.way != Way::Home {
            return Err(format!("mark {:#x}", journey.mark));
        }
        self.totals.translated += u64::from(expected != *shot);
        self.totals.errors += u64::from(attempt.part.is_some() && shot.quote.is_some());
        if let Some((id, _, answer)) = &attempt.part {
            if let Some(flow) = self.table.flows.get_mut(id)
                && shot.quote.is_none()
            {
                flow.had(shot.flags, *answer);
            }
        } else if opened {
            self.remember(attempt, journey, &expected, captured)?;
        }
        Ok(())
    }

    /// Whether what would become of a packet looks like another flow inside, from which the interpreter does not tell
    /// it: nothing more comes of that one. One of which nothing more comes is in its way, too.
    fn clashes(&mut self, attempt: &Attempt, journey: &Journey, decision: &Decision) -> bool {
        let shot = &attempt.shot;
        let dest = self.opened(attempt, journey, decision).dest;
        let inside = shot.between(shot.source, dest).pair();
        if dest == shot.dest || self.table.is_free(inside) {
            return false;
        }
        if let Some(other) = self.table.owner(inside) {
            self.table.doubt(other);
        }
        true
    }

    /// What the first packet of a flow is to be.
    fn opened(&self, attempt: &Attempt, journey: &Journey, decision: &Decision) -> Shot {
        let shot = &attempt.shot;
        let of = |class: usize| {
            let interface = self.machine.net.interfaces[class];
            if shot.source.addr.is_ipv4() {
                interface.v4.into()
            } else {
                IpAddr::from(interface.v6)
            }
        };
        let (mut source, mut dest) = (shot.source, shot.dest);
        match decision.steered {
            Some(Steered::Dnat { addr, port }) => {
                dest.addr = addr;
                dest.port = port.unwrap_or(dest.port);
            }
            Some(Steered::Redirect { port }) => {
                dest.addr = match attempt.way {
                    Way::In(from, _) => of(from),
                    _ if dest.addr.is_ipv4() => Ipv4Addr::LOCALHOST.into(),
                    _ => Ipv6Addr::LOCALHOST.into(),
                };
                dest.port = port.unwrap_or(dest.port);
            }
            _ => {}
        }
        match (decision.sourced, journey.place) {
            (Some(Sourced::Snat(addr)), _) => source.addr = addr,
            (Some(Sourced::Masquerade), At::Iface(class)) => source.addr = of(class),
            _ => {}
        }
        let translated = matches!(
            decision.sourced,
            Some(Sourced::Snat(_) | Sourced::Masquerade)
        );
        let expected = shot.between(source, dest);
        // Another port is right if somebody has this one.
        if translated && shot.can_move() && self.table.has_left(expected.pair()) {
            source.port = outer_port(shot, journey);
            if shot.is_icmp() {
                dest.port = source.port;
            }
        }
        shot.between(source, dest)
    }

    fn remember(
        &mut self,
        attempt: &Attempt,
        journey: &Journey,
        expected: &Shot,
        captured: bool,
    ) -> Result<(), String> {
        let shot = &attempt.shot;
        let home = journey.place == At::Home;
        let back = match (attempt.way, journey.place) {
            (Way::In(from, _), At::Iface(to)) => Way::In(to, from),
            (Way::In(from, _), _) => Way::Out(from, from),
            (_, At::Iface(by)) => Way::In(by, by),
            _ => Way::Home,
        };
        let flow = Flow {
            first: shot.clone(),
            inner: (shot.source, expected.dest),
            outer: (expected.source, expected.dest),
            there: attempt.way,
            back,
            captured,
            home,
            finished: [false; 2],
            reset: false,
        };
        let moved = shot.source.port != expected.source.port;
        if expected.source != shot.source && self.two(&flow, expected) {
            return Err("two flows leave from the same end".to_owned());
        }
        self.totals.flows += 1;
        self.totals.moved_ports += u64::from(moved);
        self.table.insert(flow);
        Ok(())
    }

    /// Whether a live flow leaves so.
    fn two(&self, new: &Flow, shot: &Shot) -> bool {
        let mut flows = self.table.flows.values();
        flows.any(|flow| {
            let same = flow.first.between(flow.outer.0, flow.outer.1).pair() == shot.pair();
            // Each end that asks has identifiers of its own, for each kind of question. Flows that are the same
            // inside are one.
            let asks = (flow.outer.0, flow.first.kind) == (shot.source, shot.kind);
            same && flow.inner != new.inner && (!shot.is_icmp() || asks)
        })
    }

    /// The interpreter forgets a packet's flow.
    pub(super) fn forget(&mut self, shot: &Shot, way: Way) {
        let iface = |class: usize| Place::Iface(self.names[class].as_str().into());
        let (ingress, egress) = match way {
            Way::In(from, to) => (iface(from), iface(to)),
            Way::Out(by, _) => (Place::Host, iface(by)),
            Way::Home => (Place::Host, Place::Iface("lo".into())),
        };
        let packet = read(&shot.bytes()).packet(ingress, egress);
        self.state.forget(&packet);
    }

    /// The time of a flow comes to its end.
    pub(super) fn expire(&mut self, id: u64) -> Result<(), String> {
        let Some(flow) = self.table.flows.get(&id).cloned() else {
            return Ok(());
        };
        let shot = flow.first.between(flow.inner.0, flow.inner.1);
        let state = self.machine.programs.state.iter().map(String::as_str);
        let maps = state.filter(|name| name.starts_with("freshd") || name.starts_with("flowsd"));
        if !self.machine.loaded.expire(maps, key(&shot)) {
            return Err(format!("no entry for {flow:?}"));
        }
        self.history.push(format!("over: {:?}", flow.first));
        self.forget(&flow.first, flow.there);
        self.table.remove(id);
        Ok(())
    }
}

fn asks_how_addressed(ir: &Ir) -> bool {
    let cubes = ir.rules().flat_map(|(_, rule)| &rule.cubes);
    let mut fields = cubes.flat_map(|cube| cube.fields.keys());
    fields.any(|field| *field == META_PKTTYPE)
}

/// The port, or identifier, of the packet's source in the end.
fn outer_port(shot: &Shot, journey: &Journey) -> u16 {
    let packet = &journey.packet;
    let read = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let header = packet.len() - (shot.bytes().len() - shot.header());
    if shot.is_icmp() {
        read(header + 4)
    } else if Shot::has_ports(shot.proto) {
        read(header)
    } else {
        0
    }
}

/// The flow table's key.
fn key(shot: &Shot) -> [u64; 5] {
    let (proto, one, other) = shot.pair();
    let bits = |addr| match addr {
        IpAddr::V4(addr) => u128::from(Ipv4Addr::to_bits(addr)),
        IpAddr::V6(addr) => addr.to_bits(),
    };
    let halves = |end: End| [bits(end.addr) as u64, (bits(end.addr) >> 64) as u64];
    let ([a, b], [c, d]) = (halves(one), halves(other));
    let ports = u64::from(one.port) | u64::from(other.port) << 16;
    let family = u64::from(one.addr.is_ipv6()) << 40;
    [a, b, c, d, ports | u64::from(proto) << 32 | family]
}
