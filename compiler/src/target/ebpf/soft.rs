//! Rules that do more than to decide by the packet alone: they ask for rates, or do something.

use polc_bpf::asm::{Assembler, Label};
use polc_bpf::insn::AluOp;
use polc_bpf::insn::Cond::Eq;
use polc_bpf::insn::Reg::{R0, R1, R6, R7, R10};
use polc_bpf::insn::Width::{DW, W};

use super::choice::Choice;
use super::limit::Limit;
use super::list::Places;
use super::rate::Meter;
use super::record::Item;
use super::state::State;
use super::table::{self, Table};
use super::{act, dynamic, log};
use crate::field::META_LENGTH;
use crate::ir::{BucketId, Mark, Rule, Sense, Verdict};

/// What the plan of a soft rule answers for its packets.
pub(super) const HOLDS: u32 = 1;

/// What it answers for those whose key the set begins with that the rule adds to.
pub(super) const KNOWN: u32 = 2;

/// A bucket, as packets of a family ask it.
#[derive(Clone, Debug)]
enum Bucket {
    Tokens(Meter),
    Flows(Limit),
}

impl Bucket {
    /// `None` for one that programs cannot ask.
    fn new(state: &mut State, id: BucketId, v6: bool) -> Option<Self> {
        let limit = state.limit(id, v6).map(Self::Flows);
        limit.or_else(|| state.bucket(id, v6).map(Self::Tokens))
    }

    fn meter(&self) -> Option<&Meter> {
        match self {
            Self::Tokens(meter) => Some(meter),
            Self::Flows(_) => None,
        }
    }

    fn limit(&self) -> Option<&Limit> {
        match self {
            Self::Tokens(_) => None,
            Self::Flows(limit) => Some(limit),
        }
    }
}

/// What a rule asks and does besides asking for fields of the packet.
#[derive(Clone, Debug)]
pub(super) struct Soft {
    limits: Vec<(Bucket, Sense)>,
    log: Option<log::Entry>,
    add: Option<Table>,
    /// Whether the set that it adds to begins with anything.
    may_know: bool,
    mark: Option<Mark>,
    /// Among what it chooses a target.
    choice: Option<Choice>,
    counter: Option<u32>,
    /// Its answer; `None` when it does not decide.
    answer: Option<u32>,
}

impl Soft {
    /// Of a rule, with its counter and its answer.
    pub(super) fn new(
        rule: &Rule,
        state: &mut State,
        (v6, own): (bool, bool),
        (counter, answer): (Option<u32>, Option<u32>),
    ) -> Self {
        let limits = rule.limits.iter();
        let limits = limits.filter_map(|l| Some((Bucket::new(state, l.bucket, v6)?, l.sense)));
        let limits = limits.collect();
        let effects = &rule.effects;
        let log = effects.log.as_ref().map(|entry| log::Entry {
            id: state.log(&rule.name),
            verdict: log::verdict(rule.verdict.as_ref()),
            at: entry.at.and_then(|bucket| state.bucket(bucket, v6)),
        });
        let members = effects.add.and_then(|set| state.set(set, v6));
        Self {
            limits,
            log,
            may_know: members.as_ref().is_some_and(|m| !m.initial.is_empty()),
            add: members.and_then(|members| members.table),
            mark: effects.mark,
            choice: state.choice(rule, v6, own),
            counter,
            answer,
        }
    }

    /// The same, for packets whose key the set begins with that it adds to.
    pub(super) fn without_add(self) -> Self {
        Self { add: None, ..self }
    }

    /// Whether it asks for the plan's answer again, if it stands alone.
    pub(super) fn remembers(&self) -> bool {
        self.may_know && self.add.is_some()
    }

    /// Whether a rule is one.
    pub(super) fn is_needed(rule: &Rule) -> bool {
        let effects = &rule.effects;
        rule.verdict.is_none()
            || !rule.limits.is_empty()
            || effects.log.is_some()
            || effects.add.is_some()
            || effects.mark.is_some()
            || matches!(
                rule.verdict,
                Some(Verdict::Redirect { .. } | Verdict::Dnat(_) | Verdict::Snat(_))
            )
    }

    fn meters(&self) -> impl Iterator<Item = &Meter> {
        let limits = self.limits.iter().filter_map(|(bucket, _)| bucket.meter());
        limits.chain(self.log.iter().filter_map(|entry| entry.at.as_ref()))
    }

    /// The limits of live flows that it asks for.
    pub(super) fn limits(&self) -> impl Iterator<Item = &Limit> {
        let limits = self.limits.iter();
        limits.filter_map(|(bucket, _)| bucket.limit())
    }

    /// The tables of keys that it uses.
    pub(super) fn tables(&self) -> impl Iterator<Item = &Table> {
        self.meters().filter_map(Meter::table).chain(&self.add)
    }

    /// What it asks of packets besides what its cubes ask.
    pub(super) fn items(&self) -> impl Iterator<Item = Item> {
        let keys = self.tables().flat_map(|t| table::key_items(t.key.kind));
        let keys = keys.chain(self.limits().flat_map(Limit::key_items));
        let bytes = self.meters().any(Meter::counts_bytes) || self.counter.is_some();
        let length = bytes.then_some(Item::Field(META_LENGTH));
        let logged = self.log.iter().flat_map(|_| log::ASKED);
        let by_source = self.choice.iter().flat_map(Choice::items);
        keys.copied().chain(length).chain(logged).chain(by_source)
    }

    /// Asks for rates, in order; the first that does not hold ends it, at `next`. Then does what the rule
    /// does. If it stands alone, what the plan has answered is in `R0`.
    pub(super) fn write(
        &self,
        asm: &mut Assembler,
        places: &Places,
        (v6, alone): (bool, bool),
        next: Label,
    ) {
        let with = places.asking();
        let remembers = alone && self.remembers();
        if remembers {
            asm.store(DW, R10, places.answer, R0);
        }
        for (bucket, sense) in &self.limits {
            match (bucket, places.live) {
                (Bucket::Tokens(meter), _) => meter.ask(asm, &with, *sense, next),
                (Bucket::Flows(limit), Some(live)) => limit.ask(asm, live, *sense, next),
                // Guard has no flows, and no rule of it can ask for them.
                (Bucket::Flows(_), None) => asm.jump(next),
            }
        }
        if let Some(entry) = &self.log {
            entry.write(asm, &with, places.hook, v6);
        }
        if let Some(table) = &self.add {
            let known = asm.label("known");
            if remembers {
                asm.load(DW, R0, R10, places.answer);
                asm.jump_if(Eq, R0, i32::try_from(KNOWN).unwrap_or(-1), known);
            }
            dynamic::add(asm, &with, table);
            asm.bind(known);
        }
        if let Some(mark) = self.mark {
            set_mark(asm, places, mark);
        }
        if let (Some(choice), Some(place)) = (&self.choice, places.choice) {
            choice.write(asm, places.record, (v6, places.key), place);
        }
        match (self.answer, self.counter) {
            (Some(answer), _) => {
                asm.load_wide(R0, u64::from(answer));
                asm.jump(places.decided);
            }
            (None, Some(counter)) => {
                asm.load_wide(R7, u64::from(counter));
                act::count(asm, places.record, places.key);
            }
            (None, None) => {}
        }
    }
}

/// Sets the bits of a mark that its mask has, where packets have one, and in their flow's.
fn set_mark(asm: &mut Assembler, places: &Places, mark: Mark) {
    let packet = places.hook.mark().map(|at| (R6, at));
    let flow = places.flow_mark.map(|at| (R10, at));
    for (base, at) in packet.into_iter().chain(flow) {
        asm.load(W, R1, base, at);
        asm.alu32(AluOp::And, R1, (!mark.mask).cast_signed());
        asm.alu32(AluOp::Or, R1, (mark.value & mark.mask).cast_signed());
        asm.store(W, base, at, R1);
    }
}
