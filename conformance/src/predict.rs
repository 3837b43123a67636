//! What the interpreter says of a packet, and what that looks like.

use std::net::IpAddr;

use polc_compiler::field::{GID, META_MARK, META_PKTTYPE, UID};
use polc_compiler::inline::live::{Refusal, refusal};
use polc_compiler::interpret::frame::{Frame, Link, parse};
use polc_compiler::interpret::{
    Decision, Outcome, Packet, Place, Sourced, State, Steered, judge, judge_behind_guard,
    judge_guard, judge_related,
};
use polc_compiler::ir::{Ir, Stage, Verdict};

use crate::chance::gambles;
use crate::net::{MAIN, Net};
use crate::pieces::Guarding;
use crate::shot::{End, RST, Shot, TCP};
use crate::table::{Exit, Flow, Table, Way};
use crate::traffic::{Attempt, Kind};

/// The hardware addresses that packets come with: from the others, to the machine.
const LINK: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

/// What is to be seen of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing.
    Gone,
    /// An answer, if the kernel answers such packets at all.
    Refused(Refusal),
    /// The packet, here.
    Passed(Exit, Shot),
}

/// What the interpreter says.
pub(crate) struct Judged {
    pub(crate) decision: Decision,
    /// Whether a flow begins with the packet.
    pub(crate) opened: bool,
    pub(crate) detour: Place,
    /// Which pieces of it go on, where guard judges each of them: the first one first.
    pub(crate) pieces: Option<Vec<bool>>,
}

impl Judged {
    /// Whether some pieces of it do not go on.
    pub(crate) fn lacks(&self) -> bool {
        self.pieces
            .as_ref()
            .is_some_and(|pieces| pieces.contains(&false))
    }
}

/// What guard says of the pieces of a packet.
struct Guarded {
    /// The decision about the first one that is denied, or about the first one. Its rules are all that held.
    decision: Decision,
    pieces: Vec<bool>,
    /// The mark of the first one.
    mark: u32,
}

/// The interpreter, with what it remembers.
#[derive(Clone)]
pub(crate) struct Oracle<'o> {
    pub(crate) ir: &'o Ir,
    pub(crate) net: &'o Net,
    pub(crate) state: State,
    /// Whether steer sends some flows elsewhere than their destination.
    pub(crate) detours: bool,
    /// Whether the policy leaves choices to chance.
    pub(crate) gambles: bool,
    /// Milliseconds since the Unix epoch.
    pub(crate) now: u64,
    /// Who judges pieces.
    pub(crate) guarding: Guarding,
}

impl<'o> Oracle<'o> {
    pub(crate) fn new(ir: &'o Ir, net: &'o Net, mut state: State, guarding: Guarding) -> Self {
        for interface in &net.interfaces {
            state.add_address(&interface.name, interface.v4.into());
            state.add_address(&interface.name, interface.v6.into());
        }
        let elsewhere = |verdict: &Option<Verdict>| {
            matches!(verdict, Some(Verdict::Dnat(_) | Verdict::Route { .. }))
        };
        Self {
            detours: ir.steer.iter().any(|rule| elsewhere(&rule.verdict)),
            gambles: gambles(ir),
            ir,
            net,
            state,
            now: 0,
            guarding,
        }
    }

    /// Judges a packet. `port` is the source port, or identifier, with which it was seen to leave.
    pub(crate) fn judge(&mut self, attempt: &Attempt, table: &Table, port: Option<u16>) -> Judged {
        let mut packet = self.packet(attempt);
        let quoted = Self::quoted(attempt, &packet);
        let guarded = self.guard(attempt);
        if let Some(guarded) = &guarded {
            packet.fields.insert(META_MARK, guarded.mark.into());
        }
        packet.detour = match &attempt.part {
            Some(of) if of.kind.goes_forth() => {
                let flow = table.get(of.flow);
                flow.map_or(packet.egress.clone(), |flow| flow.detour.clone())
            }
            Some(of) => self.towards(attempt.way, of.expected.dest.addr, MAIN),
            None => self.detour(attempt, &packet, guarded.is_some()),
        };
        let guarded = match guarded {
            Some(guarded) if !guarded.pieces.contains(&true) => {
                return Judged {
                    opened: false,
                    decision: guarded.decision,
                    detour: packet.detour,
                    pieces: Some(guarded.pieces),
                };
            }
            guarded => guarded,
        };
        let before = self.state.flow_count();
        self.state
            .choose_port(Some(port.unwrap_or(attempt.shot.source.port)));
        let (ir, state, now) = (self.ir, &mut self.state, self.now);
        let mut decision = match (quoted, &guarded) {
            (Some(quoted), _) => judge_related(ir, &packet, &quoted, state, now),
            (None, Some(_)) => judge_behind_guard(ir, &packet, state, now),
            (None, None) => judge(ir, &packet, state, now),
        };
        let pieces = guarded.map(|guarded| {
            decision.held.splice(..0, guarded.decision.held);
            guarded.pieces
        });
        Judged {
            opened: self.state.flow_count() > before,
            decision,
            detour: packet.detour,
            pieces,
        }
    }

    /// What guard says of each piece of a packet, in the order in which they are sent; none if it judges the whole.
    fn guard(&mut self, attempt: &Attempt) -> Option<Guarded> {
        let cut = attempt.shot.cut.as_ref()?;
        if self.guarding == Guarding::Whole {
            return None;
        }
        let sent = attempt.shot.pieces_as_sent();
        let packets = sent.iter().map(|bytes| self.read(attempt, bytes));
        let packets: Vec<Packet> = packets.collect();
        let (ir, state, now) = (self.ir, &mut self.state, self.now);
        let judged = packets
            .iter()
            .map(|packet| judge_guard(ir, packet, state, now));
        let mut judged: Vec<Decision> = judged.collect();
        if cut.backwards {
            judged.reverse();
        }
        let held = judged.iter().flat_map(|d| d.held.iter().copied()).collect();
        let admitted: Vec<bool> = judged.iter().map(|d| d.outcome == Outcome::Allow).collect();
        let mark = judged.first().map_or(0, |first| first.mark);
        let denied = judged.iter().position(|d| d.outcome != Outcome::Allow);
        let decision = judged.into_iter().nth(denied.unwrap_or(0))?;
        Some(Guarded {
            decision: Decision { held, ..decision },
            pieces: self.guarding.goes_on(admitted),
            mark,
        })
    }

    /// The packet as the language sees it.
    pub(crate) fn packet(&self, attempt: &Attempt) -> Packet {
        self.read(attempt, &attempt.shot.bytes())
    }

    /// As [`Oracle::packet`], of what is sent of it.
    fn read(&self, attempt: &Attempt, bytes: &[u8]) -> Packet {
        let shot = &attempt.shot;
        let (ingress, link) = match attempt.way {
            Way::In(at) => (self.net.iface(at), Link::Ethernet),
            Way::Out(..) => (Place::Host, Link::Raw),
        };
        let egress = self.towards(attempt.way, shot.dest.addr, MAIN);
        let framed;
        let whole = if link == Link::Ethernet {
            let kind: [u8; 2] = if shot.is_v6() {
                [0x86, 0xdd]
            } else {
                [0x08, 0x00]
            };
            framed = [&LINK[..], &kind, bytes].concat();
            &framed
        } else {
            bytes
        };
        let mut packet = match parse(&Frame::whole(link, whole)) {
            Ok(parsed) => parsed.packet(ingress, egress),
            // Every packet that is made here can be read.
            Err(_) => Packet {
                ingress,
                detour: egress.clone(),
                egress,
                saddr: shot.source.addr,
                daddr: shot.dest.addr,
                proto: shot.proto,
                fields: [].into(),
                principals: [].into(),
            },
        };
        packet.fields.insert(META_PKTTYPE, 0);
        if let Way::Out(uid, gid) = attempt.way {
            packet.fields.insert(UID, uid.into());
            packet.fields.insert(GID, gid.into());
        }
        packet
    }

    fn quoted(attempt: &Attempt, packet: &Packet) -> Option<Packet> {
        attempt.shot.quote.as_ref()?;
        let bytes = attempt.shot.bytes();
        let parsed = parse(&Frame::whole(Link::Raw, &bytes)).ok()?;
        parsed.inner.map(|inner| Packet {
            saddr: inner.saddr,
            daddr: inner.daddr,
            proto: inner.proto,
            fields: inner.fields,
            ..packet.clone()
        })
    }

    /// Where an address leads a packet. What the machine sends to itself goes by `lo`.
    fn towards(&self, way: Way, addr: IpAddr, table: u32) -> Place {
        match (way, self.net.place(addr, table)) {
            (Way::Out(..), Place::Host) => Place::Iface("lo".into()),
            (_, place) => place,
        }
    }

    /// Where steer sends a packet of no flow.
    pub(crate) fn detour(&self, attempt: &Attempt, packet: &Packet, guarded: bool) -> Place {
        if !self.detours {
            return packet.egress.clone();
        }
        let mut before = self.state.without_flows();
        let decision = if guarded {
            judge_behind_guard(self.ir, packet, &mut before, self.now)
        } else {
            judge(self.ir, packet, &mut before, self.now)
        };
        let addr = attempt.shot.dest.addr;
        match decision.steered {
            Some(Steered::Dnat { addr, .. }) => self.towards(attempt.way, addr, MAIN),
            Some(Steered::Route { table }) => self.towards(attempt.way, addr, table),
            _ => packet.egress.clone(),
        }
    }

    /// What is to be seen. `port` is as for [`Oracle::judge`]: it is right where a packet that leaves as it came
    /// could be mistaken for another flow's, or its source has got that port before.
    pub(crate) fn fate(
        &self,
        attempt: &Attempt,
        verdict: &Judged,
        port: Option<u16>,
        table: &Table,
    ) -> Fate {
        let shot = &attempt.shot;
        match verdict.decision.outcome {
            Outcome::Deny => return Fate::Gone,
            Outcome::Reject(answer) => {
                let packet = self.packet(attempt);
                return Fate::Refused(refusal(&packet, answer));
            }
            Outcome::Allow => {}
        }
        let exit = self.exit(attempt, verdict, table);
        let expected = match &attempt.part {
            Some(of) => of.expected.clone(),
            None if verdict.opened => self.opened(attempt, verdict, exit, port, table),
            None => shot.clone(),
        };
        Fate::Passed(exit, expected)
    }

    /// Where a packet that passes is seen.
    fn exit(&self, attempt: &Attempt, verdict: &Judged, table: &Table) -> Exit {
        let decision = &verdict.decision;
        let shot = &attempt.shot;
        let there = |place: &Place| match place {
            Place::Iface(name) if &**name != "lo" => {
                let mut all = self.net.interfaces.iter();
                let at = all.position(|i| i.name == *name);
                at.map_or(Exit::Here, Exit::Left)
            }
            _ => Exit::Here,
        };
        match &attempt.part {
            Some(of) if of.kind == Kind::Error(true) => {
                // Where the flow's packets go, but that no proxy takes it.
                let flow = table.get(of.flow).filter(|flow| !flow.captured);
                return flow.map_or_else(|| there(&verdict.detour), |flow| flow.exit);
            }
            Some(of) if of.kind != Kind::Forth => return there(&verdict.detour),
            _ => {}
        }
        match decision.steered {
            Some(Steered::Redirect { .. } | Steered::Proxy(_)) => Exit::Here,
            Some(Steered::Dnat { .. } | Steered::Route { .. }) => there(&verdict.detour),
            Some(Steered::Direct) | None => there(&self.towards(attempt.way, shot.dest.addr, MAIN)),
        }
    }

    /// What the first packet of a flow is to be.
    fn opened(
        &self,
        attempt: &Attempt,
        verdict: &Judged,
        exit: Exit,
        port: Option<u16>,
        table: &Table,
    ) -> Shot {
        let shot = &attempt.shot;
        let decision = &verdict.decision;
        let (mut source, mut dest) = (shot.source, self.steered(attempt, decision));
        match (decision.sourced, exit) {
            (Some(Sourced::Snat(addr)), Exit::Left(_)) => source.addr = addr,
            (Some(Sourced::Masquerade), Exit::Left(at)) => {
                source.addr = self.net.address(at, source.addr);
            }
            _ => {}
        }
        if let Some(port) = port
            && (table.has_left(shot.between(source, dest).pair())
                || table.has_got(shot, End { port, ..source }))
        {
            source.port = port;
            if shot.is_icmp() {
                dest.port = port;
            }
        }
        shot.between(source, dest)
    }

    /// The flow that a packet has opened.
    pub(crate) fn flow(
        &self,
        attempt: &Attempt,
        judged: &Judged,
        (exit, expected): (Exit, &Shot),
    ) -> Flow {
        let shot = &attempt.shot;
        let (ends, now) = ((attempt.way, exit), self.now);
        let mut flow = Flow::new(shot.clone(), ends, judged.detour.clone(), now);
        flow.inner = (shot.source, self.steered(attempt, &judged.decision));
        flow.outer = (expected.source, expected.dest);
        flow.captured = matches!(judged.decision.steered, Some(Steered::Proxy(_)));
        flow
    }

    /// Its destination once it is steered.
    pub(crate) fn steered(&self, attempt: &Attempt, decision: &Decision) -> End {
        let mut dest = attempt.shot.dest;
        match decision.steered {
            Some(Steered::Dnat { addr, port }) => {
                dest.addr = addr;
                dest.port = port.unwrap_or(dest.port);
            }
            Some(Steered::Redirect { port }) => {
                dest.addr = match (attempt.way, dest.addr) {
                    (Way::In(at), addr) => self.net.address(at, addr),
                    (_, IpAddr::V4(_)) => std::net::Ipv4Addr::LOCALHOST.into(),
                    (_, IpAddr::V6(_)) => std::net::Ipv6Addr::LOCALHOST.into(),
                };
                dest.port = port.unwrap_or(dest.port);
            }
            _ => {}
        }
        dest
    }
}

/// Whether the kernel answers a refused packet: no reset and no error is answered.
pub(crate) fn is_answered(shot: &Shot) -> bool {
    let reset = shot.proto == TCP && shot.flags & RST != 0;
    let question = [8, 13, 15, 17, 128, 139];
    !reset && (!shot.is_icmp() || question.contains(&shot.kind[0]))
}

/// Whether some packets are judged one by one.
pub(crate) fn is_flowless(ir: &Ir) -> bool {
    let mut rules = ir.rules();
    is_stateless(ir) || rules.any(|(_, rule)| rule.verdict == Some(Verdict::Notrack))
}

/// Whether filter has sections that judge packets one by one.
pub(crate) fn is_stateless(ir: &Ir) -> bool {
    let mut blocks = ir.blocks.iter();
    blocks.any(|b| b.stateless && b.stage == Stage::Filter)
}
