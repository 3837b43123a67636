//! The program of a guard: one for each class of interfaces that its rules tell apart.

use polc_bpf::asm::{AsmError, Assembler, Isa, Label, Program, SourceLine};
use polc_bpf::insn::Cond::Eq;
use polc_bpf::insn::Reg::{R0, R7};

use super::act::{self, Actions};
use super::classify::{self, Limits, Plan, Problem, Row, Unbuildable};
use super::hook::Hook;
use super::lookup::{self, Lookup};
use super::parse::{self, Exits};
use super::record::{Item, Record};
use super::{rate, rows};
use crate::field::{ICMP, ICMP_CODE, ICMP_TYPE, ICMPV6, META_LENGTH};
use crate::ir::{Cube, Ir, Limit, Rule, Verdict};
use crate::packet::{Families, IntervalSet};

/// A program, and the data that it reads.
pub(super) struct Guard {
    pub(super) program: Program,
    pub(super) data: Vec<(String, Vec<u8>)>,
}

/// Why there is no program.
#[derive(Debug, thiserror::Error)]
pub(super) enum GuardError {
    /// The rules are too many.
    #[error(transparent)]
    Rules(#[from] Unbuildable),
    /// Fields and rows do not fit together.
    #[error(transparent)]
    Problem(#[from] classify::ProblemError),
    /// The program is wrong.
    #[error(transparent)]
    Assembler(#[from] AsmError),
}

/// A family's part of a program.
struct Part {
    v6: bool,
    items: Vec<Item>,
    segments: Vec<Segment>,
}

/// A part of a list of rules.
struct Segment {
    /// Which of its rules is the first that holds: the answer; or 0.
    plan: Plan,
    data: String,
    /// What else the one rule asks and does, when it is one that tables cannot tell.
    soft: Option<Soft>,
}

/// A rule that does more than to decide by the packet alone.
struct Soft {
    limits: Vec<Limit>,
    counter: Option<u32>,
    /// Its answer; `None` when it does not decide.
    answer: Option<u32>,
}

/// Where the kernel meets a program, and what it is called.
pub(super) struct Frame<'f> {
    pub(super) name: &'f str,
    pub(super) hook: Hook,
    /// The line of the policy that its instructions are said to come from.
    pub(super) line: Option<SourceLine>,
}

/// The program of these rules. `counter` gives a rule's counter.
///
/// It is one that kernels before 6.6 load, unless it is too long for that.
pub(super) fn program(
    ir: &Ir,
    rules: &[(usize, Rule)],
    frame: &Frame,
    counter: &dyn Fn(usize) -> Option<u32>,
) -> Result<Guard, GuardError> {
    let mut maker = Maker {
        ir,
        name: frame.name,
        counter,
        actions: Actions::default(),
    };
    let made = Made {
        ir,
        parts: [maker.part(rules, false)?, maker.part(rules, true)?],
        actions: maker.actions,
        measured: asks_length(ir, rules, counter),
    };
    let program = match made.write(frame).finish(Isa::V3) {
        Err(AsmError::TooFar { .. }) => made.write(frame).finish(Isa::V4)?,
        other => other?,
    };
    let segments = made.parts.into_iter().flat_map(|part| part.segments);
    let data = segments
        .filter(|segment| !segment.plan.blob.is_empty())
        .map(|segment| (segment.data, lookup::data(&segment.plan)))
        .collect();
    Ok(Guard { program, data })
}

/// What a program is written from.
struct Made<'m> {
    ir: &'m Ir,
    parts: [Part; 2],
    actions: Actions,
    /// Whether somebody has to know how long packets are.
    measured: bool,
}

impl Made<'_> {
    fn write(&self, frame: &Frame) -> Assembler {
        let hook = frame.hook;
        let parts = self.parts.iter();
        let mut wanted: Vec<Item> = parts.flat_map(|part| part.items.clone()).collect();
        wanted.extend(self.measured.then_some(Item::Field(META_LENGTH)));
        let mut record = Record::of(wanted);
        let mut asm = Assembler::new(frame.name);
        if let Some(line) = &frame.line {
            asm.at(line);
        }
        let [v4, v6, other, malformed, decided] =
            ["v4", "v6", "other", "malformed", "decided"].map(|name| asm.label(name));
        let exits = Exits {
            v4,
            v6,
            other,
            malformed,
        };
        parse::ethernet(&mut asm, hook, &mut record, exits);
        let plans = self.parts.iter().flat_map(|part| &part.segments);
        let most = plans.map(|segment| segment.plan.slots).max().unwrap_or(0);
        let slots = record.reserve(8 * i16::from(most));
        let key = record.reserve(8);
        let places = Places {
            record: &record,
            slots,
            key,
            decided,
        };
        asm.part("classify");
        for (part, label) in self.parts.iter().zip([v4, v6]) {
            asm.bind(label);
            places.write(&mut asm, self.ir, part);
            asm.load_wide(R0, u64::from(act::PASS));
            asm.jump(decided);
        }
        asm.part("act");
        asm.bind(decided);
        self.actions.write(&mut asm, hook, &record, key);
        for (label, verdict) in [(other, hook.pass()), (malformed, hook.drop())] {
            asm.bind(label);
            asm.mov(R0, verdict);
            asm.exit();
        }
        asm
    }
}

/// Whether somebody has to know how long packets are.
fn asks_length(ir: &Ir, rules: &[(usize, Rule)], counter: &dyn Fn(usize) -> Option<u32>) -> bool {
    rules.iter().any(|(index, rule)| {
        let buckets = rule.limits.iter().filter_map(|l| ir.buckets.get(l.bucket));
        counter(*index).is_some() || buckets.into_iter().any(rate::counts_bytes)
    })
}

/// Where a program has what its rules need.
struct Places<'p> {
    record: &'p Record,
    slots: i16,
    key: i16,
    decided: Label,
}

impl Places<'_> {
    /// Goes to `decided` with the answer of the first rule that holds and decides, or on.
    fn write(&self, asm: &mut Assembler, ir: &Ir, part: &Part) {
        for segment in &part.segments {
            let family = if part.v6 { "ipv6" } else { "ipv4" };
            asm.note(&format!("{family}: {}", segment.plan.strategy));
            let [looked, next] = ["looked_up", "next_rules"].map(|name| asm.label(name));
            let lookup = Lookup {
                plan: &segment.plan,
                items: &part.items,
                record: self.record,
                v6: part.v6,
                data: &segment.data,
                slots: self.slots,
                decided: looked,
            };
            lookup::write(asm, &lookup);
            asm.bind(looked);
            asm.jump_if(Eq, R0, 0, next);
            match &segment.soft {
                None => asm.jump(self.decided),
                Some(soft) => self.soft(asm, ir, soft, next),
            }
            asm.bind(next);
        }
    }

    /// Asks for rates, in order; the first that does not hold ends it.
    fn soft(&self, asm: &mut Assembler, ir: &Ir, soft: &Soft, next: Label) {
        for limit in &soft.limits {
            let number = u32::try_from(limit.bucket).unwrap_or(u32::MAX);
            if let Some(bucket) = ir.buckets.get(limit.bucket) {
                let asked = (number, bucket);
                rate::ask(asm, self.record, self.key, asked, limit.sense, next);
            }
        }
        match (soft.answer, soft.counter) {
            (Some(answer), _) => {
                asm.load_wide(R0, u64::from(answer));
                asm.jump(self.decided);
            }
            (None, Some(counter)) => {
                asm.load_wide(R7, u64::from(counter));
                act::count(asm, self.record, self.key);
            }
            (None, None) => {}
        }
    }
}

/// The rules that can hold for packets that come in by an interface, with their places; each
/// with the cubes that can.
pub(super) fn rules(ir: &Ir, iface: &str) -> Vec<(usize, Rule)> {
    let numbered = ir.guard.iter().enumerate();
    let of = |(index, rule): (usize, &Rule)| {
        let mut rule = rule.clone();
        rule.cubes
            .retain(|cube| cube.ingress.ifaces.contains(iface));
        (!rule.cubes.is_empty()).then_some((index, rule))
    };
    numbered.filter_map(of).collect()
}

/// What the parts of a program are made from.
struct Maker<'m> {
    ir: &'m Ir,
    name: &'m str,
    counter: &'m dyn Fn(usize) -> Option<u32>,
    actions: Actions,
}

impl Maker<'_> {
    fn part(&mut self, rules: &[(usize, Rule)], v6: bool) -> Result<Part, GuardError> {
        let unasked = (!self.ir.strict_icmp).then(unconditional);
        let mut items = rows::items(rules.iter().map(|(_, rule)| rule), v6);
        if unasked.is_some() {
            items.extend([Item::Protocol, Item::Field(ICMP_TYPE)]);
            items.extend((!v6).then_some(Item::Field(ICMP_CODE)));
            items.sort_unstable();
            items.dedup();
        }
        let mut part = Part {
            v6,
            items,
            segments: Vec::new(),
        };
        let unasked = unasked.iter().flatten();
        let mut open: Vec<Row> = unasked
            .filter_map(|cube| rows::row(cube, &part.items, v6, act::PASS))
            .collect();
        for (index, rule) in rules {
            let counter = (self.counter)(*index);
            let passes = !matches!(rule.verdict, Some(Verdict::Deny));
            let decides = rule.verdict.is_some();
            let answer = decides.then(|| self.actions.answer(passes, counter));
            if let Some(answer) = answer.filter(|_| rule.limits.is_empty()) {
                open.extend(rows::all(rule, &part.items, v6, answer));
                continue;
            }
            self.close(&mut part, &mut open, None)?;
            open.extend(rows::all(rule, &part.items, v6, 1));
            let soft = Soft {
                limits: rule.limits.clone(),
                counter,
                answer,
            };
            self.close(&mut part, &mut open, Some(soft))?;
        }
        self.close(&mut part, &mut open, None)?;
        Ok(part)
    }

    /// Makes a segment of some rows, if there are any.
    fn close(
        &self,
        part: &mut Part,
        open: &mut Vec<Row>,
        soft: Option<Soft>,
    ) -> Result<(), GuardError> {
        if open.is_empty() {
            return Ok(());
        }
        let fields = rows::fields(&part.items, part.v6);
        let problem = Problem::new(fields, std::mem::take(open), 0)?;
        let plan = classify::choose(&problem, &Limits::default())?;
        let (name, family) = (self.name, if part.v6 { 6 } else { 4 });
        part.segments.push(Segment {
            plan,
            data: format!("{name}_{family}_{}", part.segments.len()),
            soft,
        });
        Ok(())
    }
}

/// Neighbour discovery, packet-too-big and fragmentation-needed, which pass unasked.
fn unconditional() -> [Cube; 2] {
    let of = |families, protocol, types: &[(u64, u64)]| {
        let any = Cube::any().with_families(families);
        let cube = any.with_proto(&IntervalSet::one(protocol));
        cube.with_field(ICMP_TYPE, &types.iter().copied().collect())
    };
    let needed = of(Families::V4, ICMP, &[(3, 3)]);
    [
        needed.with_field(ICMP_CODE, &IntervalSet::one(4)),
        of(Families::V6, ICMPV6, &[(2, 2), (133, 136)]),
    ]
}
