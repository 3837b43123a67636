//! A policy on a backend beside the interpreter.

use std::collections::HashMap;

use fastrand::Rng;
use polc_bundle::Bundle;
use polc_compiler::interpret::frame::{Frame, Link, parse};
use polc_compiler::interpret::{Outcome, RuleId, State};
use polc_compiler::ir::{Cube, Ir, Rule, Stage};
use polc_compiler::target::Options;
use polc_runtime_loader::Stop;
use polc_runtime_loader::lab::Catch;

use crate::Error;
use crate::answer;
use crate::backend::Backend;
use crate::compare::{form, outer_port};
use crate::difference::{Difference, Mismatch};
use crate::handed::Handed;
use crate::machine::Machine;
use crate::net::Net;
use crate::pieces::{Cutter, Guarding, join};
use crate::predict::{Fate, Judged, Oracle, is_flowless};
use crate::seen::{STRAY, Seen, Volley, sort};
use crate::shot::{ICMPV6, SCTP, Shot};
use crate::table::{Exit, Table, Way};
use crate::totals::Totals;
use crate::traffic::{Attempt, Kind, Maker, Part};

/// How many packets are sent together.
const SALVO: u16 = 200;
const LARGE_SALVO: u16 = 2_000;

/// From so many packets on, more are sent together.
const MANY: u64 = 20_000;

/// So many events are kept at least, to explain what comes later.
const HISTORY: usize = 50_000;

/// One policy on one backend.
pub(crate) struct Duel<'d> {
    pub(crate) net: &'d Net,
    pub(crate) backend: Backend,
    pub(crate) oracle: Oracle<'d>,
    /// The interpreter with another clock: what both do not judge alike depends on when a packet went, and is not
    /// compared.
    pub(crate) ahead: Option<Oracle<'d>>,
    /// Whether all is over with the first packet that is not compared.
    pub(crate) ends_unclear: bool,
    /// Tells when no more packets are to be sent.
    pub(crate) stop: Option<&'d Stop>,
    machine: Machine,
    handed: Handed<'d>,
    pub(crate) table: Table,
    pub(crate) totals: Totals,
    /// For how many packets each rule held.
    held: HashMap<RuleId, u64>,
    /// What has happened, the newest last.
    history: Vec<Event>,
}

/// A packet, who decided about it, and what became of it.
#[derive(Debug)]
struct Event {
    shot: Shot,
    way: Way,
    by: Option<RuleId>,
    fate: Fate,
}

impl<'d> Duel<'d> {
    pub(crate) fn new(
        (ir, net): (&'d Ir, &'d Net),
        bundle: &Bundle,
        backend: Backend,
        (up, options): (&[bool], &Options),
    ) -> Result<Self, Error> {
        let mut state = State::with_options(ir, options);
        for (proxy, up) in up.iter().enumerate() {
            state.set_proxy(proxy, *up);
        }
        Ok(Self {
            net,
            backend,
            oracle: Oracle::new(ir, net, state, Guarding::of(ir, backend)),
            ahead: None,
            ends_unclear: false,
            stop: None,
            machine: Machine::new(bundle, (ir, net), backend, up)?,
            handed: Handed::new(ir),
            table: Table::default(),
            totals: Totals::default(),
            held: HashMap::new(),
            history: Vec::new(),
        })
    }

    /// Sends so many packets, until one is judged differently.
    pub(crate) fn run(&mut self, rng: &mut Rng, packets: u64) -> Result<Option<Mismatch>, Error> {
        let net = self.net;
        let (ir, guarding) = (self.oracle.ir, self.oracle.guarding);
        let clear = guarding.is_clear(ir);
        let mut maker = Maker {
            net,
            cutter: clear.then(|| Cutter::new(LARGE_SALVO + 1, self.backend, ir)),
        };
        let size = if packets >= MANY { LARGE_SALVO } else { SALVO };
        while self.totals.packets + self.totals.unclear < packets {
            self.oracle.now = now();
            self.table.settle(self.oracle.now);
            let attempts = maker.salvo(rng, &self.table, size);
            let volley = self.fire(&attempts)?;
            if let Err(mismatch) = self.compare_all(&attempts, &volley) {
                return Ok(Some(mismatch));
            }
        }
        Ok(None)
    }

    /// Sends packets and sees what becomes of them.
    pub(crate) fn fire(&mut self, attempts: &[Attempt]) -> Result<Volley, Error> {
        if self.stop.is_some_and(Stop::has_come) {
            return Err(Error::Stopped);
        }
        let caught = self.machine.fire(self.net, attempts)?;
        Ok(Volley {
            caught: join(caught, self.backend != Backend::Ebpf),
            taken: self.machine.taken()?,
        })
    }

    /// Compares what became of packets with what the interpreter says.
    pub(crate) fn compare_all(
        &mut self,
        attempts: &[Attempt],
        volley: &Volley,
    ) -> Result<(), Mismatch> {
        let mut seen = sort(attempts, &volley.caught);
        let before = self.totals.unclear;
        for attempt in attempts {
            let seen = seen.remove(&attempt.shot.number).unwrap_or_default();
            self.compare(attempt, &seen)?;
            if self.ends_unclear && self.totals.unclear > 0 {
                return Ok(());
            }
        }
        let strays = seen.remove(&STRAY).unwrap_or_default();
        let unclear = self.totals.unclear - before;
        let sockets = self.handed.compare(&volley.taken, unclear);
        sockets
            .and_then(|()| answer::none_astray(&strays.answers, unclear))
            .map_err(|(difference, text)| Mismatch { difference, text })
    }

    /// Compares what rules have counted; `all` says that every rule counts. Of packets that were not compared it is
    /// not known which they met, nor of answers to refused ones.
    pub(crate) fn count(&self, all: bool) -> Result<Option<Mismatch>, Error> {
        let ir = self.oracle.ir;
        let refused = self.totals.refused > 0;
        // What the kernel answers by itself belongs to no flow there.
        let flowless = is_flowless(ir);
        let meets_answers =
            |rule: &Rule| flowless && rule.cubes.iter().any(|cube| cube.ingress.host);
        let counts = self.machine.counts()?;
        let asks_answers = |stage| match stage {
            Stage::Guard => refused && self.backend == Backend::Ebpf,
            Stage::Steer | Stage::Egress => refused,
            // What answers this host's own comes in by the interface there.
            Stage::Filter => refused && flowless && self.backend == Backend::Ebpf,
        };
        let stages = Stage::ALL.into_iter().filter(|stage| !asks_answers(*stage));
        for (stage, (index, rule)) in
            stages.flat_map(|s| ir.stage(s).iter().enumerate().map(move |rule| (s, rule)))
        {
            let held = self.held.get(&RuleId { stage, index });
            let held = held.copied().unwrap_or(0);
            let unclear = self.totals.unclear;
            let counted = counts.get(&*rule.name).copied();
            let most = held + unclear + self.reports(rule);
            let may_be = held.saturating_sub(unclear)..=most;
            let is_compared = (all || rule.effects.count) && !meets_answers(rule);
            // A rule without counter may be one that no packet can match.
            if is_compared && !may_be.contains(&counted.unwrap_or(0)) {
                let text = format!(
                    "rule `{}` counted {counted:?} packets and held for {held}; {unclear} were not compared",
                    rule.name
                );
                return Ok(Some(Mismatch {
                    difference: Difference::Count,
                    text,
                }));
            }
        }
        Ok(None)
    }

    /// How many packets that nobody has sent here a rule may have counted: the kernel tells of its groups of
    /// receivers (MLD), at each interface some times in the first second.
    fn reports(&self, rule: &Rule) -> u64 {
        const TIMES: usize = 4;
        let of_host = |cube: &Cube| {
            cube.ingress.host && cube.families.v6 && cube.proto.contains(ICMPV6.into())
        };
        if !rule.cubes.iter().any(of_host) {
            return 0;
        }
        u64::try_from(TIMES * self.net.interfaces.len()).unwrap_or(u64::MAX)
    }

    /// Compares what became of a packet with what the interpreter says, or finds that it is not clear.
    fn compare(&mut self, attempt: &Attempt, seen: &Seen<'_>) -> Result<(), Mismatch> {
        let shot = &attempt.shot;
        let port = seen.passed.first().and_then(|c| outer_port(shot, c));
        let net = self.net;
        let fits = |judged: &Judged, fate: &Fate| fits(net, attempt, (judged, fate), seen);
        let others = (&self.table, self.backend);
        let known = self.oracle.follow((attempt, port), others, fits);
        let judged = self.oracle.judge(attempt, &self.table, port);
        let timely = match &mut self.ahead {
            Some(ahead) => {
                ahead.follow((attempt, port), others, fits)
                    && ahead.judge(attempt, &self.table, port).decision == judged.decision
            }
            None => true,
        };
        for rule in &judged.decision.held {
            *self.held.entry(*rule).or_default() += 1;
        }
        let table = &self.table;
        let translated = |of: &Part| of.expected != *shot || self.oracle.detours;
        let clear = match &attempt.part {
            _ if self.strays(attempt, &judged) => false,
            // What is not tracked is not translated, and goes where its own destination leads.
            Some(of) if judged.decision.notrack && translated(of) => {
                self.totals.unclear += 1;
                if self.backend != Backend::Ebpf && judged.decision.outcome != Outcome::Allow {
                    // Fragments of its flow are tracked, and Netfilter's reset ends that.
                    self.table.doubt(of.flow);
                }
                return Ok(());
            }
            Some(of) => table.get(of.flow).is_some(),
            None => table.is_free(shot.pair()),
        };
        let fate = self.oracle.fate(attempt, &judged, port, table);
        if !clear || !timely || !known || self.is_beyond_telling(attempt, &judged, &fate) {
            // A packet sent with it has put its flow in doubt, or opened one that it looks like, or it came when a
            // token may have, or it cannot be told which target it got.
            self.totals.unclear += 1;
            self.leave_out(attempt, &judged, &fate, seen);
            return Ok(());
        }
        if let Fate::Passed(exit, expected) = &fate
            && judged.opened
            && let flow = self.oracle.flow(attempt, &judged, (*exit, expected))
            && self.table.collides(&flow, self.backend)
        {
            // The first one's place is taken, or the second one has none.
            self.table.insert(flow);
            self.totals.unclear += 1;
            return Ok(());
        }
        if self.is_lost(attempt, &judged, &fate) {
            self.totals.unclear += 1;
            self.remember(attempt, &judged, &fate);
            return Ok(());
        }
        let complain = |difference, what: String| Mismatch {
            difference,
            text: self.describe(attempt, &judged, &fate, seen, &what),
        };
        let found = match (&fate, seen.passed.as_slice()) {
            (Fate::Refused(_), [])
                if seen.answers.is_empty() && self.may_lose_answer(attempt, &judged) =>
            {
                Ok(())
            }
            (Fate::Gone | Fate::Refused(_), []) => {
                answer::compare((self.net, self.backend), attempt, &fate, &seen.answers)
            }
            (Fate::Gone | Fate::Refused(_), _) => {
                Err((Difference::FalseAllow, "it passed".to_owned()))
            }
            // The kernel waits for the rest of it.
            (Fate::Passed(Exit::Here, _), []) if judged.lacks() => Ok(()),
            (Fate::Passed(..), []) => Err((Difference::FalseDeny, "it did not pass".to_owned())),
            (Fate::Passed(exit, expected), [passed]) => {
                form(self.net, (attempt, expected), *exit, &judged, passed)
                    .and_then(|()| answer::none_to(*exit, judged.decision.steered, &seen.answers))
            }
            (Fate::Passed(..), _) => Err((Difference::Form, "it passed twice".to_owned())),
        };
        if let Err((difference, what)) = found {
            return Err(complain(difference, what));
        }
        if let Fate::Passed(Exit::Left(_), expected) = &fate
            && judged.opened
            && self.table.goes_so(expected)
        {
            let what = "it took the place of another flow".to_owned();
            return Err(complain(Difference::Form, what));
        }
        self.handed.add(attempt, &judged.decision, &fate);
        self.note(attempt, &judged, &fate);
        self.remember(attempt, &judged, &fate);
        Ok(())
    }

    /// Counts it, and keeps what may explain what comes later.
    fn note(&mut self, attempt: &Attempt, judged: &Judged, fate: &Fate) {
        let shot = &attempt.shot;
        let totals = &mut self.totals;
        totals.packets += 1;
        totals.pieces += u64::from(shot.cut.is_some());
        match fate {
            Fate::Passed(_, expected) => {
                totals.passed += 1;
                totals.translated +=
                    u64::from((expected.source, expected.dest) != (shot.source, shot.dest));
            }
            Fate::Refused(_) => totals.refused += 1,
            Fate::Gone => totals.dropped += 1,
        }
        match attempt.part.as_ref().map(|part| part.kind) {
            Some(Kind::Error(_)) => totals.errors += 1,
            Some(Kind::Answer) => totals.answers += 1,
            _ => {}
        }
        totals.flows += u64::from(judged.opened);
        if self.history.len() >= 2 * HISTORY {
            self.history.drain(..HISTORY);
        }
        self.history.push(Event {
            shot: shot.clone(),
            way: attempt.way,
            by: judged.decision.by,
            fate: fate.clone(),
        });
    }

    fn remember(&mut self, attempt: &Attempt, judged: &Judged, fate: &Fate) {
        let shot = &attempt.shot;
        let Fate::Passed(exit, expected) = fate else {
            if let Some(part) = &attempt.part {
                // What becomes of the rest depends on what was refused.
                self.table.doubt(part.flow);
            } else if self.backend == Backend::Ebpf {
                // It was steered before it was refused, and may have taken a place as it was then.
                let steered = self.oracle.steered(attempt, &judged.decision);
                let inner = shot.between(shot.source, steered);
                self.table.confuse(inner.pair());
            }
            // Some backends remember what was rejected for a while, and let nobody else leave so.
            self.table.avoid(shot.pair());
            return;
        };
        if let Some(part) = &attempt.part {
            if let (Some(flow), Kind::Forth | Kind::Answer) =
                (self.table.get_mut(part.flow), part.kind)
                && !judged.decision.notrack
            {
                flow.had(shot.flags, part.kind == Kind::Answer, self.oracle.now);
                if flow.is_over() {
                    self.table.doubt(part.flow);
                }
            }
            return;
        }
        if !judged.opened {
            self.table.avoid(shot.pair());
            return;
        }
        self.table.give(shot, expected);
        let home = matches!(attempt.way, Way::Out(..)) && *exit == Exit::Here;
        // A source port that another one's was in the way of is unknown to the interpreter.
        let moved = expected.source.port != shot.source.port && judged.decision.sourced.is_none();
        if moved {
            // The interpreter takes the answers of the one for packets of the other.
            let unmoved = shot.between(shot.source, expected.dest);
            self.table.confuse(unmoved.pair());
        }
        // Netfilter asks for more of an association of SCTP than packets here have.
        if home || moved || shot.proto == SCTP {
            self.table.avoid(shot.pair());
            self.table.avoid(expected.pair());
            return;
        }
        let flow = self.oracle.flow(attempt, judged, (*exit, expected));
        self.table.insert(flow);
    }

    fn describe(
        &self,
        attempt: &Attempt,
        judged: &Judged,
        fate: &Fate,
        seen: &Seen<'_>,
        what: &str,
    ) -> String {
        let shot = &attempt.shot;
        let quoted = shot.quote.as_ref().map(|(quoted, _)| quoted.pair());
        let looks = |shot: &Shot, fate: &Fate| match fate {
            Fate::Passed(_, expected) => vec![shot.pair(), expected.pair()],
            _ => vec![shot.pair()],
        };
        let own: Vec<_> = looks(shot, fate).into_iter().chain(quoted).collect();
        let about = |event: &&Event| {
            let pairs = looks(&event.shot, &event.fate);
            pairs.iter().any(|pair| own.contains(pair))
        };
        let before = self.history.iter().rev().filter(about).take(12);
        let before: Vec<String> = before
            .map(|e| format!("{:?} {:?}\n    {:?} {:?}", e.way, e.shot, e.by, e.fate))
            .collect();
        let passed = seen.passed.iter().map(|c| {
            let Catch { by, mark, packet } = &c.caught;
            let read = parse(&Frame::whole(Link::Raw, packet));
            format!(
                "{by:?} mark {mark:#x} {packet:02x?} {:?} {read:?}",
                c.places
            )
        });
        format!(
            "{what}\n  sent {attempt:?}\n  interpreter {:?}\n  expected {fate:?}\n  seen {:?} {:?}\n  before\n    {}",
            judged.decision,
            passed.collect::<Vec<_>>(),
            seen.answers,
            before.join("\n    "),
        )
    }
}

/// Whether what was seen of a packet may be this.
fn fits(net: &Net, sent: &Attempt, (judged, fate): (&Judged, &Fate), seen: &Seen<'_>) -> bool {
    match (fate, seen.passed.as_slice()) {
        (Fate::Gone, []) => seen.answers.is_empty(),
        (Fate::Refused(_), []) => true,
        (Fate::Passed(Exit::Here, _), []) => judged.lacks(),
        (Fate::Passed(exit, expected), [passed]) => {
            form(net, (sent, expected), *exit, judged, passed).is_ok()
        }
        _ => false,
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
