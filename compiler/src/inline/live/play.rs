//! From steps to plays, and from what was seen to what is wrong.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use polc_grammar::ast::{Flow, Qualifier, Spanned, TestStep, Verb};

use super::super::flow::with_source_port;
use super::super::judge::{detoured, ports};
use super::super::{Bench, NOON};
use super::sight::{Sight, counted, seen};
use super::{
    JITTER, LONGEST, MOST_FLOWS, MOST_PLAYS, Play, Report, Route, Sender, Shot, Unplayable, Volley,
    unplayable, wire,
};
use crate::field::{DPORT, GID, SPORT, UID};
use crate::inline::expect::Expectation;
use crate::interpret::{Decision, Outcome, Packet, Place, State, Steered, judge};

/// A packet that has been judged, and the memory after it.
struct Judged {
    shot: Shot,
    state: State,
}

impl Bench<'_> {
    /// The address that stands for this machine.
    pub fn home(&self, v6: bool) -> IpAddr {
        self.host.addr(v6)
    }

    /// The ways in which a step can come about, with real packets at the time `now`, in
    /// milliseconds since 1970.
    pub fn plays(&self, step: &TestStep, now: u64) -> Result<Vec<Play>, Unplayable> {
        let plays = match step {
            TestStep::Expect {
                outcome,
                flow,
                qualifiers,
            } => {
                let expectation = Expectation::of(outcome.node, qualifiers)
                    .map_err(|problem| Unplayable(problem.message))?;
                if expectation.outcome == Verb::Notrack {
                    return Err(Unplayable::because("no packet shows whether it is tracked"));
                }
                let rule = expectation.rule().map(Arc::from);
                self.single(flow, qualifiers, now, rule.as_ref())?
            }
            TestStep::Send {
                count,
                within,
                flow,
                qualifiers,
                ..
            } => self.many((*count, *within), flow, qualifiers, now)?,
        };
        if plays.is_empty() {
            return Err(Unplayable::because("no packet stands for it"));
        }
        if plays.len() > MOST_PLAYS {
            let number = plays.len();
            return Err(Unplayable::because(format!(
                "it can come about in {number} ways: say `in …` and `out …`"
            )));
        }
        Ok(plays)
    }

    fn single(
        &self,
        flow: &Flow,
        qualifiers: &[Spanned<Qualifier>],
        now: u64,
        rule: Option<&Arc<str>>,
    ) -> Result<Vec<Play>, Unplayable> {
        let cases = self.cases(flow, qualifiers);
        let mut plays = Vec::new();
        for case in cases.map_err(|problem| Unplayable(problem.message))? {
            let firsts = match &case.opening {
                Some(opening) => {
                    unplayable::answer(&case.packet)?;
                    self.judged(opening, &self.empty, now)?
                }
                None => self.judged(&case.packet, &self.empty, now)?,
            };
            for first in firsts {
                let opened = first.shot.decision.outcome == Outcome::Allow;
                if case.opening.is_none() || !opened {
                    plays.push(self.play(vec![first.shot], rule)?);
                    continue;
                }
                unplayable::translated(&first.shot.decision)?;
                for then in self.judged(&case.packet, &first.state, now)? {
                    plays.push(self.play(vec![first.shot.clone(), then.shot], rule)?);
                }
            }
        }
        Ok(plays)
    }

    fn many(
        &self,
        (count, within): (u64, u64),
        flow: &Flow,
        qualifiers: &[Spanned<Qualifier>],
        now: u64,
    ) -> Result<Vec<Play>, Unplayable> {
        if within > LONGEST {
            return Err(Unplayable::because(format!(
                "it takes {} s, and at most {} s are waited",
                within / 1000,
                LONGEST / 1000
            )));
        }
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > MOST_FLOWS {
            return Err(Unplayable::because(format!(
                "it opens more than {MOST_FLOWS} flows"
            )));
        }
        let cases = self.cases(flow, qualifiers);
        let mut plays = Vec::new();
        for case in cases.map_err(|problem| Unplayable(problem.message))? {
            if case.opening.is_some() || case.packet.field(SPORT).is_none() {
                return Err(Unplayable::because("it opens no flows"));
            }
            let ways = self.detours(&case.packet, &self.empty, NOON);
            let last = u64::try_from(count)
                .unwrap_or(u64::MAX)
                .saturating_sub(1)
                .max(1);
            for way in ways {
                let mut state = self.empty.clone();
                let mut shots = Vec::new();
                for (number, port) in (0..).zip(ports()).take(count) {
                    let packet = with_source_port(&case.packet, port);
                    let after = u64::saturating_mul(number, within) / last;
                    let (packet, _) = detoured(packet, Some(way.clone()));
                    if number == 0 {
                        let fresh = |at| judge(self.ir, &packet, &mut self.empty.clone(), at);
                        unplayable::timely(&fresh(NOON), &fresh(now))?;
                    }
                    let decision = judge(self.ir, &packet, &mut state, NOON + after);
                    shots.push(self.shot(packet, decision, after, &mut state)?);
                }
                let mut play = self.play(shots, None)?;
                let shots = play.volleys.drain(..).flat_map(|v| v.shots).collect();
                play.volleys.push(Volley {
                    shots,
                    counted: true,
                });
                plays.push(play);
            }
        }
        Ok(plays)
    }

    /// What becomes of a packet, for each way in which steer's decision can lead.
    fn judged(&self, packet: &Packet, before: &State, now: u64) -> Result<Vec<Judged>, Unplayable> {
        let mut all = Vec::new();
        for way in self.detours(packet, before, NOON) {
            let (packet, _) = detoured(packet.clone(), Some(way));
            let mut state = before.clone();
            let decision = judge(self.ir, &packet, &mut state, NOON);
            unplayable::timely(
                &decision,
                &judge(self.ir, &packet, &mut before.clone(), now),
            )?;
            let shot = self.shot(packet, decision, 0, &mut state)?;
            all.push(Judged { shot, state });
        }
        Ok(all)
    }

    fn shot(
        &self,
        packet: Packet,
        decision: Decision,
        after: u64,
        state: &mut State,
    ) -> Result<Shot, Unplayable> {
        let home = self.host.addr(packet.daddr.is_ipv6());
        let mut predicted = Sight::predicted(self.ir, &packet, &decision, home);
        let loops = packet.egress == Place::Iface("lo".into());
        if loops && predicted.passes() && matches!(decision.steered, None | Some(Steered::Direct)) {
            // It comes in where it has left.
            let back = Packet {
                ingress: packet.egress.clone(),
                egress: Place::Host,
                detour: Place::Host,
                ..packet.clone()
            };
            let decision = judge(self.ir, &back, state, NOON + after);
            predicted = Sight::predicted(self.ir, &back, &decision, home);
        }
        unplayable::packet(&packet, &predicted)?;
        let sender = match &packet.ingress {
            Place::Iface(name) => Sender::Iface(Arc::clone(name)),
            Place::Host => Sender::Host {
                uid: packet.field(UID).and_then(|n| u32::try_from(n).ok()),
                gid: packet.field(GID).and_then(|n| u32::try_from(n).ok()),
            },
        };
        let bytes = wire::bytes(&packet).ok_or_else(|| {
            Unplayable::because(format!("no packets of protocol {} are made", packet.proto))
        })?;
        Ok(Shot {
            after,
            sender,
            bytes,
            packet,
            decision,
            predicted,
        })
    }

    /// Shots one after the other.
    fn play(&self, shots: Vec<Shot>, rule: Option<&Arc<str>>) -> Result<Play, Unplayable> {
        let mut play = Play {
            volleys: Vec::new(),
            routes: BTreeSet::new(),
            ports: BTreeSet::new(),
            rule: rule.cloned(),
        };
        for shot in &shots {
            play.routes.extend(routes(shot));
            play.ports.extend(local_ports(shot));
        }
        unplayable::routes(&play.routes, [self.home(false), self.home(true)])?;
        let volley = |shot| Volley {
            shots: vec![shot],
            counted: false,
        };
        play.volleys = shots.into_iter().map(volley).collect();
        Ok(play)
    }

    /// What is wrong with what was seen of a volley: `None` when the kernel did what the
    /// interpreter says.
    pub fn disagreement(&self, volley: &Volley, report: &Report) -> Option<String> {
        if volley.counted {
            return self.miscounted(volley, report);
        }
        let shot = volley.shots.first()?;
        let found = seen(&shot.packet, report);
        let says = &shot.predicted;
        let right = match (says, found.as_slice()) {
            (Sight::Gone, []) => true,
            (_, [one]) => one.is_like(says),
            _ => false,
        };
        (!right).then(|| {
            let was = match found.as_slice() {
                [] => Sight::Gone.to_string(),
                some => {
                    let some: Vec<String> = some.iter().map(ToString::to_string).collect();
                    some.join(", and ")
                }
            };
            let path = path(&shot.packet);
            format!("the packet{path} was {was}; the interpreter has it {says}")
        })
    }

    /// The same of a volley that is only counted: how many passed, were dropped and were refused,
    /// as far as clocks can tell.
    fn miscounted(&self, volley: &Volley, report: &Report) -> Option<String> {
        let first = volley.shots.first()?;
        let all = volley.shots.len();
        let [passed, refused] = counted(&volley.shots, report);
        let got = [passed, all.saturating_sub(passed + refused), refused];
        // A packet meets its rule a moment after it was sent.
        let moved = [0, JITTER].map(|by| {
            let times = report.sent.iter().enumerate();
            let late = |(n, t): (usize, &u64)| if n == 0 { 0 } else { t.saturating_sub(by) };
            let early = times.clone().map(late).collect::<Vec<u64>>();
            let late = times.map(|(n, t)| if n == 0 { 0 } else { t + by });
            [
                self.replay(volley, &early),
                self.replay(volley, &late.collect::<Vec<u64>>()),
            ]
        });
        let says: Vec<[usize; 3]> = moved.into_iter().flatten().collect();
        let right = (0..3).all(|kind| {
            let of = |counts: &[usize; 3]| counts.get(kind).copied().unwrap_or(0);
            let number = of(&got);
            let least = says.iter().map(of).min().unwrap_or(0);
            let most = says.iter().map(of).max().unwrap_or(0);
            (least..=most).contains(&number)
        });
        let text = |[passed, dropped, refused]: &[usize; 3]| {
            format!("{passed} passed, {dropped} dropped, {refused} refused")
        };
        let says = says.first().map(text).unwrap_or_default();
        (!right).then(|| {
            let path = path(&first.packet);
            format!(
                "of the flows{path} {}; the interpreter has {says}",
                text(&got)
            )
        })
    }

    /// How many of a volley pass, are dropped and are refused when its packets come at these times.
    fn replay(&self, volley: &Volley, times: &[u64]) -> [usize; 3] {
        let mut state = self.empty.clone();
        state.trace = false;
        let mut counts = [0; 3];
        for (shot, time) in volley.shots.iter().zip(times) {
            let decision = judge(self.ir, &shot.packet, &mut state, NOON + time);
            let [passed, dropped, refused] = &mut counts;
            match decision.outcome {
                Outcome::Allow => *passed += 1,
                Outcome::Deny => *dropped += 1,
                Outcome::Reject(_) => *refused += 1,
            }
        }
        counts
    }
}

/// By which interfaces a packet comes and would leave.
fn path(packet: &Packet) -> String {
    let mut text = String::new();
    let ends = [
        (" in", &packet.ingress),
        (" out", &packet.egress),
        (" steered out", &packet.detour),
    ];
    for (word, place) in ends {
        let known = word == " steered out" && packet.detour == packet.egress;
        if let Place::Iface(name) = place
            && !known
        {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "{word} {name}");
        }
    }
    text
}

/// The ways of a packet and of answers to it.
fn routes(shot: &Shot) -> Vec<Route> {
    let mut out = Vec::new();
    let mut add = |place: &Place, dest: IpAddr, table| {
        if let Place::Iface(iface) = place
            && &**iface != "lo"
            && !is_for_many(dest)
            && !dest.is_unspecified()
            && !dest.is_loopback()
        {
            out.push(Route {
                table,
                dest,
                iface: Arc::clone(iface),
            });
        }
    };
    let packet = &shot.packet;
    add(&packet.ingress, packet.saddr, None);
    add(&packet.egress, packet.daddr, None);
    match shot.decision.steered {
        Some(Steered::Dnat { addr, .. }) => add(&packet.detour, addr, None),
        Some(Steered::Route { table }) => add(&packet.detour, packet.daddr, Some(table)),
        _ => {}
    }
    out
}

/// The ports of this machine that a packet, or answers to it, can get to.
fn local_ports(shot: &Shot) -> Vec<u16> {
    let mut ports = Vec::new();
    let own = |field| shot.packet.field(field).and_then(|p| u16::try_from(p).ok());
    let is_home = |place: &Place| match place {
        Place::Host => true,
        Place::Iface(name) => &**name == "lo",
    };
    if is_home(&shot.packet.egress) {
        ports.extend(own(DPORT));
    }
    if is_home(&shot.packet.ingress) {
        ports.extend(own(SPORT));
    }
    if let Sight::Here {
        dport: Some(port),
        proxy: None,
        ..
    } = shot.predicted
    {
        ports.push(port);
    }
    ports
}

/// Whether an address means more than one machine.
pub(super) fn is_for_many(addr: IpAddr) -> bool {
    addr.is_multicast() || matches!(addr, IpAddr::V4(a) if a.is_broadcast())
}
