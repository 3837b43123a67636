//! Whether two policies mean the same: what the comparison says, what the interpreter does, and
//! which targets take them.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use polc_compiler::analyse::diff::{self, Diff, Limits, Unknown};
use polc_compiler::analyse::model::{Model, Witness};
use polc_compiler::diagnostic::Diagnostic;
use polc_compiler::interpret::{Decision, Outcome, Packet, RuleId, Sourced, State, Steered, judge};
use polc_compiler::ir::{Ir, Mark};
use polc_compiler::target;

use super::points::Points;
use super::trial::Compiled;

/// How many packets are judged one by one.
const SINGLE: usize = 400;
/// How many packets machines meet one after the other, that remember.
const RUN: usize = 200;
/// Of so many pairs of policies, one is made into programs.
const PROGRAMS: usize = 25;

/// What was found.
pub(crate) struct Judgement {
    /// How many changes the comparison sees; why it is blind.
    pub(crate) changes: Result<usize, Unknown>,
    /// How many packets the interpreter has judged.
    pub(crate) packets: usize,
    /// The first packet that the interpreter judges otherwise.
    pub(crate) packet: Option<String>,
    /// The targets that take one of the policies and not the other, and why.
    pub(crate) targets: Vec<(&'static str, Diagnostic)>,
}

impl Judgement {
    /// What speaks against the two being the same.
    pub(crate) fn objection(&self) -> Option<String> {
        let changes = self.changes.ok().filter(|n| *n > 0);
        let changes = changes.map(|n| format!("the comparison sees {n} changes"));
        let targets = self
            .targets
            .first()
            .map(|(name, why)| format!("{name}: {}", why.title));
        self.packet.clone().or(changes).or(targets)
    }
}

/// Asks both judges and all targets.
pub(crate) fn compare(a: &Compiled, b: &Compiled, rng: &mut Rng) -> Judgement {
    let (from, to) = ((&a.out.policy, a.ir()), (&b.out.policy, b.ir()));
    let diff = diff::diff(from, to, Limits::default());
    assert!(diff.defects.is_empty(), "{}", diff.defects[0].title);
    let models = <[Model; 2]>::from(Model::pair_in(&diff.space, from, to));
    let points = Points::new(&models[0], &models[1], &diff);
    let mut packets = Vec::new();
    let single = singles(&models, &diff, &points, rng, &mut packets);
    let run = || run(&models, &packets, rng);
    let packet = single.or_else(run);
    Judgement {
        changes: diff.unknown.map_or(Ok(diff.changes.len()), Err),
        packets: packets.len(),
        packet,
        targets: targets(a, b, rng),
    }
}

/// Packets one by one: what buckets and sets have for them is part of the question.
fn singles(
    [left, right]: &[Model; 2],
    diff: &Diff,
    points: &Points,
    rng: &mut Rng,
    packets: &mut Vec<Packet>,
) -> Option<String> {
    let none = BTreeMap::new();
    for n in 0..SINGLE {
        let target = rng.usize(..4);
        let inside = || points.inside(diff, target, &mut Rng::with_seed(n as u64));
        let point = (n % 4 == 0).then(inside).flatten();
        let Some(point) = point.or_else(|| points.any(target, rng)) else {
            continue;
        };
        let witness: Witness = left.witness(&point);
        let (was, old) = diff::observe(left, &witness, Some(target), &none);
        let (is, new) = diff::observe(right, &right.witness(&point), Some(target), &diff.names);
        if let Some(kind) = diff::compare(&old, &new) {
            let by = |d: &Decision, ir| d.by.and_then(|id| name(id, ir));
            return Some(format!(
                "{kind:?}: {witness:?}\n{old:?} by {:?}\n{new:?} by {:?}",
                by(&was, left.ir),
                by(&is, right.ir)
            ));
        }
        packets.push(witness.packet);
    }
    None
}

fn name(id: RuleId, ir: &Ir) -> Option<String> {
    id.of(ir).map(|rule| rule.name.to_string())
}

/// Packets that come one after the other to two machines, some of them again, some as answers.
fn run([left, right]: &[Model; 2], packets: &[Packet], rng: &mut Rng) -> Option<String> {
    if packets.is_empty() {
        return None;
    }
    let (mut a, mut b) = (State::new(left.ir), State::new(right.ir));
    let mut now = 0;
    // Few of them, so that buckets are emptied and flows met again.
    let some = &packets[..packets.len().min(RUN / 3)];
    for _ in 0..RUN {
        let mut packet = some[rng.usize(..some.len())].clone();
        if rng.u8(..5) == 0 {
            packet = answer(&packet);
        }
        now += rng.u64(..200);
        let old = Met::of(left.ir, &judge(left.ir, &packet, &mut a, now));
        let new = Met::of(right.ir, &judge(right.ir, &packet, &mut b, now));
        if old != new {
            return Some(format!("at {now} ms: {packet:?}\n{old:?}\n{new:?}"));
        }
    }
    None
}

/// Whether two policies that have the same tables do the same, packet by packet: what the second one
/// makes of the image of a packet is the image of what the first one makes of it. Packets without an
/// image are left out.
pub(crate) fn in_step(
    a: &Compiled,
    b: &Compiled,
    image: impl Fn(&Packet) -> Option<(Packet, Packet)>,
    seen: impl Fn(&Met) -> Met,
    rng: &mut Rng,
) -> Judgement {
    let own = (&a.out.policy, a.ir());
    let diff = diff::diff(own, own, Limits::default());
    let model = Model::new(own.0, own.1);
    let points = Points::new(&model, &model, &diff);
    let (mut left, mut right) = (State::new(a.ir()), State::new(b.ir()));
    let mut out = Judgement {
        changes: Ok(0),
        packets: 0,
        packet: None,
        targets: Vec::new(),
    };
    for n in 0..SINGLE + RUN {
        let target = rng.usize(..4);
        let Some(point) = points.any(target, rng) else {
            continue;
        };
        let witness = model.witness(&point);
        let Some((packet, image)) = image(&witness.packet) else {
            continue;
        };
        // The first are told what buckets and sets have for them; the others come to machines that
        // remember.
        if n < SINGLE {
            let told = || State::oracle(witness.within.clone(), witness.members.clone());
            (left, right) = (told(), told());
        } else if n == SINGLE {
            (left, right) = (State::new(a.ir()), State::new(b.ir()));
        }
        left.choose_target(Some(target));
        right.choose_target(Some(target));
        let now = 50 * n as u64;
        let old = Met::of(a.ir(), &judge(a.ir(), &packet, &mut left, now));
        let new = Met::of(b.ir(), &judge(b.ir(), &image, &mut right, now));
        out.packets += 1;
        if seen(&old) != new {
            out.packet = Some(format!("{packet:?}\n{image:?}\n{old:?}\n{new:?}"));
            break;
        }
    }
    out
}

/// A packet the other way.
fn answer(packet: &Packet) -> Packet {
    use polc_compiler::field::{DPORT, SPORT};
    let mut out = packet.clone();
    (out.saddr, out.daddr) = (packet.daddr, packet.saddr);
    (out.ingress, out.egress) = (packet.egress.clone(), packet.ingress.clone());
    out.detour = out.egress.clone();
    for (to, from) in [(SPORT, DPORT), (DPORT, SPORT)] {
        match packet.field(from) {
            Some(port) => out.fields.insert(to, port),
            None => out.fields.remove(&to),
        };
    }
    out
}

/// What a machine made of a packet, without the names and places of what did so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Met {
    pub(crate) outcome: Outcome,
    pub(crate) steered: Option<Steered>,
    pub(crate) proxy: Option<(Mark, u32)>,
    pub(crate) sourced: Option<Sourced>,
    mark: u32,
    flow_mark: u32,
    notrack: bool,
    logged: usize,
    added: usize,
}

impl Met {
    pub(crate) fn of(ir: &Ir, decision: &Decision) -> Self {
        let (steered, proxy) = match decision.steered {
            Some(Steered::Proxy(id)) => (None, Some((ir.proxies[id].mark, ir.proxies[id].table))),
            other => (other, None),
        };
        // Two rules may put the same key into a set.
        let added: BTreeSet<_> = decision.added.iter().collect();
        Self {
            outcome: decision.outcome,
            steered,
            proxy,
            sourced: decision.sourced,
            mark: decision.mark,
            flow_mark: decision.flow_mark,
            notrack: decision.notrack,
            logged: decision.logged.len(),
            added: added.len(),
        }
    }
}

/// The targets that take one of two policies and not the other. Programs take so long to write that
/// they are asked for one pair in many.
fn targets(a: &Compiled, b: &Compiled, rng: &mut Rng) -> Vec<(&'static str, Diagnostic)> {
    let options = target::Options::default();
    let mut out = Vec::new();
    let programs = rng.usize(..PROGRAMS) == 0;
    for target in target::all() {
        if target.name() == "ebpf" && !programs {
            continue;
        }
        let emit = |of: &Compiled| target.emit(of.ir(), &of.out.sources, &options).err();
        if let (None, Some(why)) | (Some(why), None) = (emit(a), emit(b)) {
            out.extend(why.into_iter().take(1).map(|why| (target.name(), why)));
        }
    }
    out
}
