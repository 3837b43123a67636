//! The program of a guard: one for each class of interfaces that its rules tell apart.

use polc_bpf::asm::{AsmError, Assembler, Isa, Label, Program};
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

/// The program for interfaces like the one of this name. `counter` gives a rule's counter.
pub(super) fn program(
    ir: &Ir,
    name: &str,
    iface: &str,
    hook: Hook,
    counter: &dyn Fn(usize) -> Option<u32>,
) -> Result<Guard, GuardError> {
    let rules = rules(ir, iface);
    let mut maker = Maker {
        ir,
        name,
        counter,
        actions: Actions::default(),
    };
    let parts = [maker.part(&rules, false)?, maker.part(&rules, true)?];
    let actions = maker.actions;
    let mut wanted: Vec<Item> = parts.iter().flat_map(|part| part.items.clone()).collect();
    if asks_length(ir, &rules, counter) {
        wanted.push(Item::Field(META_LENGTH));
    }
    let mut record = Record::of(wanted);
    let mut asm = Assembler::new(name);
    let [v4, v6, other, malformed, decided] =
        ["v4", "v6", "other", "malformed", "decided"].map(|name| asm.label(name));
    let exits = Exits {
        v4,
        v6,
        other,
        malformed,
    };
    parse::ethernet(&mut asm, hook, &mut record, exits);
    let plans = parts.iter().flat_map(|part| &part.segments);
    let most = plans.map(|segment| segment.plan.slots).max().unwrap_or(0);
    let slots = record.reserve(8 * i16::from(most));
    let key = record.reserve(8);
    asm.part("classify");
    for (part, label) in parts.iter().zip([v4, v6]) {
        asm.bind(label);
        asm.note(if part.v6 { "ipv6" } else { "ipv4" });
        let places = Places {
            record: &record,
            slots,
            key,
            decided,
        };
        places.write(&mut asm, ir, part);
        asm.load_wide(R0, u64::from(act::PASS));
        asm.jump(decided);
    }
    asm.part("act");
    asm.bind(decided);
    actions.write(&mut asm, hook, &record, key);
    for (label, verdict) in [(other, hook.pass()), (malformed, hook.drop())] {
        asm.bind(label);
        asm.mov(R0, verdict);
        asm.exit();
    }
    let program = asm.finish(Isa::V4)?;
    let segments = parts.into_iter().flat_map(|part| part.segments);
    let data = segments
        .filter(|segment| !segment.plan.blob.is_empty())
        .map(|segment| (segment.data, segment.plan.blob))
        .collect();
    Ok(Guard { program, data })
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
fn rules(ir: &Ir, iface: &str) -> Vec<(usize, Rule)> {
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
