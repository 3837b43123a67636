//! How a list of rules decides, and a packet's passage through the stages.

use std::ops::ControlFlow;

use super::bucket::Ask;
use super::cube::{Failed, check, check_here, misses};
use super::decision::{
    Answer, Decision, Fact, Mismatch, Outcome, RuleId, Sourced, Steered, Step, Trace,
};
use super::flow::{Flow, FlowId, Tuple};
use super::packet::Packet;
use super::state::State;
use super::view::{Track, View};
use super::{facts, target::Subject};
use crate::ir::{BucketId, Cube, Ir, Limit, Mark, ProxyId, Rule, Sense, Stage, Verdict};

/// A packet on its way through the pipeline.
pub(super) struct Passage<'a> {
    pub(super) ir: &'a Ir,
    pub(super) packet: &'a Packet,
    /// The packet that an ICMP error is about.
    pub(super) quoted: Option<&'a Packet>,
    pub(super) state: &'a mut State,
    pub(super) view: View<'a>,
    pub(super) decision: Decision,
    /// The flow that it belongs to.
    pub(super) flow: Option<FlowId>,
    /// Whether steer and egress have nothing to decide any more.
    pub(super) settled: bool,
    /// Whether it opens one if it is admitted.
    pub(super) opens: bool,
    /// Whether steer has admitted it.
    pub(super) admitted: bool,
    /// The proxy that takes it.
    pub(super) proxy: Option<ProxyId>,
    /// Its flow's mark, as rules have left it.
    flow_mark: u32,
    /// Limits of live flows that were asked, and what the packet was then.
    asked: Vec<(BucketId, View<'a>)>,
}

impl<'a> Passage<'a> {
    pub(super) fn new(
        ir: &'a Ir,
        packet: &'a Packet,
        quoted: Option<&'a Packet>,
        state: &'a mut State,
        now: u64,
    ) -> Self {
        state.begin(ir, now);
        Self {
            ir,
            packet,
            quoted,
            state,
            view: View::new(packet, Stage::Guard, now),
            decision: Decision {
                outcome: Outcome::Allow,
                steered: None,
                sourced: None,
                mark: packet.mark(),
                flow_mark: 0,
                notrack: false,
                held: Vec::new(),
                logged: Vec::new(),
                added: Vec::new(),
                by: None,
                steered_by: None,
                sourced_by: None,
                trace: Trace::default(),
            },
            flow: None,
            settled: false,
            opens: false,
            admitted: false,
            proxy: None,
            flow_mark: 0,
            asked: Vec::new(),
        }
    }

    /// The whole pipeline. A stage that does not end the packet's way hands it on.
    pub(super) fn run(mut self) -> Decision {
        match self.guard() {
            ControlFlow::Continue(()) => self.run_behind_guard(),
            ControlFlow::Break(outcome) => self.ended(outcome),
        }
    }

    /// Guard alone.
    pub(super) fn run_guard(mut self) -> Decision {
        match self.guard() {
            ControlFlow::Continue(()) => self.decision,
            ControlFlow::Break(outcome) => self.ended(outcome),
        }
    }

    /// Guard has decided.
    fn ended(mut self, outcome: Outcome) -> Decision {
        self.decision.outcome = outcome;
        self.decision
    }

    /// The pipeline from the flow lookup on.
    pub(super) fn run_behind_guard(mut self) -> Decision {
        self.decision.outcome = match self.behind_guard() {
            ControlFlow::Break(outcome) => outcome,
            ControlFlow::Continue(()) => Outcome::Allow,
        };
        if self.decision.outcome == Outcome::Allow {
            self.remember();
        }
        if matches!(self.view.track, Track::Flow { .. }) {
            self.decision.flow_mark = self.flow_mark;
        }
        self.decision
    }

    fn behind_guard(&mut self) -> ControlFlow<Outcome> {
        self.look_up()?;
        self.steer()?;
        self.filter()?;
        self.egress();
        ControlFlow::Continue(())
    }

    /// The packet enters a stage: it sees the marks as they are now.
    pub(super) fn enter(&mut self, stage: Stage) {
        self.view.stage = stage;
        self.view.mark = self.decision.mark;
        if let Track::Flow { mark, .. } = &mut self.view.track {
            *mark = self.flow_mark;
        }
        self.note(|| Step::Stage(stage));
    }

    /// The first rule of a stage that holds and decides. Those that hold before it have their
    /// effects.
    pub(super) fn first_match(&mut self, stage: Stage) -> Option<(RuleId, &'a Verdict, &'a Rule)> {
        let ir = self.ir;
        let sieve = self.state.sieve.clone().filter(|_| !self.state.trace);
        for (index, rule) in ir.stage(stage).iter().enumerate() {
            if let Some(sieve) = &sieve
                && !sieve.admits(stage, index, &self.view)
            {
                continue;
            }
            let id = RuleId { stage, index };
            if !self.holds(id, rule) {
                continue;
            }
            self.decision.held.push(id);
            self.effects(id, rule);
            let answer = match &rule.verdict {
                Some(_) => Answer::Decides,
                None => Answer::Effects,
            };
            self.note(|| Step::Rule { rule: id, answer });
            if let Some(verdict) = &rule.verdict {
                return Some((id, verdict, rule));
            }
        }
        None
    }

    /// Whether a rule holds: one of its cubes, and then its rates, in order. The first rate that
    /// does not hold ends it: those behind it are not asked and keep their tokens.
    fn holds(&mut self, id: RuleId, rule: &'a Rule) -> bool {
        if let Err(failed) = self.some_cube(rule) {
            if self.state.trace {
                let mismatch = failed.map_or_else(
                    || Mismatch {
                        what: "conditions".to_owned(),
                        got: String::new(),
                        wanted: "none can hold".to_owned(),
                    },
                    |f| f.describe(&self.view, self.state),
                );
                self.no(id, mismatch);
            }
            return false;
        }
        for (nth, limit) in rule.limits.iter().enumerate() {
            if !self.within(*limit, Ask { rule: id, nth }) {
                if self.state.trace {
                    let mismatch = self.limited(*limit);
                    self.no(id, mismatch);
                }
                return false;
            }
        }
        true
    }

    fn no(&mut self, rule: RuleId, mismatch: Mismatch) {
        let answer = Answer::No(mismatch);
        self.note(|| Step::Rule { rule, answer });
    }

    /// Whether one of the rule's cubes holds; else what failed in the one that came furthest.
    fn some_cube(&self, rule: &'a Rule) -> Result<(), Option<Failed<'a>>> {
        let mut furthest: Option<Failed> = None;
        let mut failed = |f: Failed<'a>| {
            if furthest.is_none_or(|old| old.rank() < f.rank()) {
                furthest = Some(f);
            }
        };
        // Where nobody wants to know why, the quickest questions come first.
        let hasty = !self.state.trace;
        for cube in &rule.cubes {
            if hasty && misses(cube, &self.view) {
                continue;
            }
            match check_here(cube, &self.view, self.state) {
                Err(f) => failed(f),
                Ok(()) => match self.capturable(rule, cube) {
                    Ok(()) => return Ok(()),
                    Err(f) => failed(f),
                },
            }
        }
        Err(furthest)
    }

    /// A proxy never captures the senders that it lets bypass, nor what is not for another machine,
    /// unless the rule says `to host`.
    fn capturable(&self, rule: &'a Rule, cube: &'a Cube) -> Result<(), Failed<'a>> {
        let Some(Verdict::Proxy(id)) = rule.verdict else {
            return Ok(());
        };
        if !cube.egress.host || !cube.egress.ifaces.is_empty() {
            self.goes_away()?;
        }
        let bypass = self.ir.proxies.get(id).map_or(&[][..], |p| &p.bypass);
        let is_sender = |c: &Cube| check(c, &self.view, self.state).is_ok();
        if !self.packet.arrives() && bypass.iter().any(is_sender) {
            return Err(Failed::Bypass);
        }
        Ok(())
    }

    fn goes_away(&self) -> Result<(), Failed<'a>> {
        let local = matches!(self.packet.egress, super::Place::Host)
            || self.packet.egress.is_loopback()
            || facts::is_group(self.view.daddr);
        if local { Err(Failed::Away) } else { Ok(()) }
    }

    /// Asks a bucket.
    fn within(&mut self, limit: Limit, at: Ask) -> bool {
        let Some(bucket) = self.state.buckets.get_mut(limit.bucket) else {
            return false;
        };
        let within = bucket.ask(at, &self.view, self.flow);
        if bucket.counts_flows() {
            self.asked.push((limit.bucket, self.view.clone()));
        }
        within == (limit.sense == Sense::Within)
    }

    fn limited(&self, limit: Limit) -> Mismatch {
        let word = |within| if within { "within" } else { "over" };
        let wanted = limit.sense == Sense::Within;
        let bucket = self.state.buckets.get(limit.bucket);
        Mismatch {
            what: bucket.map_or_else(|| "rate".to_owned(), |b| b.name.to_string()),
            got: word(!wanted).to_owned(),
            wanted: word(wanted).to_owned(),
        }
    }

    /// What a rule does besides deciding.
    fn effects(&mut self, id: RuleId, rule: &Rule) {
        if let Some(log) = &rule.effects.log {
            let entry = |bucket| {
                let limit = Limit {
                    sense: Sense::Within,
                    bucket,
                };
                let nth = rule.limits.len();
                self.within(limit, Ask { rule: id, nth })
            };
            if log.at.is_none_or(entry) {
                self.decision.logged.push(id);
            }
        }
        if let Some(set) = rule.effects.add {
            if let Some(members) = self.state.sets.get_mut(set) {
                members.add(&self.view);
            }
            self.decision.added.push(set);
        }
        if let Some(mark) = rule.effects.mark {
            self.mark(mark, id.stage != Stage::Guard);
        }
    }

    /// Sets bits of the packet's mark, and of its flow's. Guard knows no flow: it marks packets.
    pub(super) fn mark(&mut self, mark: Mark, flow: bool) {
        self.decision.mark = with_bits(self.decision.mark, mark);
        if flow {
            self.flow_mark = with_bits(self.flow_mark, mark);
        }
    }

    /// The packet's flow has a mark. Its packets get the parts of it again that rules set, but for
    /// loopback traffic.
    pub(super) fn restore(&mut self, mark: u32, reply: bool) {
        self.flow_mark = mark;
        if self.packet.is_loopback() {
            return;
        }
        for restored in &self.state.restored {
            let Mark { value, mask } = restored.mark;
            if mark & mask == value & mask && !(restored.original && reply) {
                self.decision.mark = with_bits(self.decision.mark, restored.mark);
            }
        }
        self.view.mark = self.decision.mark;
    }

    /// A subject for a choice among targets.
    pub(super) fn subject(&self, rule: RuleId, addr: std::net::IpAddr) -> Subject {
        Subject {
            rule,
            saddr: self.view.saddr,
            addr,
            arrives: self.packet.arrives(),
        }
    }

    /// Notes a step, if anyone wants to know.
    pub(super) fn note(&mut self, step: impl FnOnce() -> Step) {
        if self.state.trace {
            self.decision.trace.steps.push(step());
        }
    }

    pub(super) fn fact(&mut self, fact: Fact) {
        self.note(|| Step::Fact(fact));
    }

    /// A packet was admitted: its flow is known from now on, and counts where it was asked for.
    fn remember(&mut self) {
        let Some(flows) = &mut self.state.flows else {
            return;
        };
        if let Some(flow) = self.flow.and_then(|id| flows.get_mut(id)) {
            flow.mark = self.flow_mark;
        }
        if !self.opens {
            return;
        }
        let original = Tuple::of(self.packet);
        let steered = Tuple {
            daddr: self.view.daddr,
            dport: self.view.dport.unwrap_or(original.dport),
            ..original
        };
        let source = match self.decision.sourced {
            Some(Sourced::Snat(addr)) => Some(addr),
            Some(Sourced::Masquerade) => match self.view.egress {
                super::Towards::Iface(name) => self.state.address(name, self.packet.saddr),
                _ => None,
            },
            _ => None,
        };
        let leaving = Tuple {
            saddr: source.unwrap_or(original.saddr),
            sport: match self.state.port {
                Some(port) if source.is_some() && original.sport != 0 => port,
                _ => original.sport,
            },
            ..steered
        };
        let flow = Flow {
            original,
            reply: leaving.inverted(),
            mark: self.flow_mark,
            steered: self.decision.steered,
            sourced: self.decision.sourced,
            admitted: self.admitted,
            proxy: self.proxy,
            replied: false,
        };
        let id = self.state.flows.as_mut().map(|flows| flows.insert(flow));
        for (bucket, view) in self.asked.drain(..) {
            if let (Some(bucket), Some(id)) = (self.state.buckets.get_mut(bucket), id) {
                bucket.join(&view, id);
            }
        }
    }

    /// Where steer sent the flow, once it is decided.
    pub(super) fn steered(&mut self, steered: Steered, by: Option<RuleId>) {
        self.decision.steered = Some(steered);
        self.decision.steered_by = by;
    }
}

/// `old` with the bits of `mark` set to its value.
fn with_bits(old: u32, mark: Mark) -> u32 {
    old & !mark.mask | mark.value & mark.mask
}
