//! A list of rules as instructions: what is asked in which order.
//!
//! Rules that only decide are asked together: tables tell the first of them that holds. A rule that
//! asks for a rate, or does something and decides nothing, stands alone between them. Each such part
//! of the list is a [`Segment`].

use std::collections::BTreeSet;

use polc_bpf::asm::{AsmError, Assembler, Label};
use polc_bpf::insn::Cond::Eq;
use polc_bpf::insn::Reg::{R0, R7};

use super::act::{self, Actions, Outcome};
use super::classify::{self, Limits, Plan, Problem, Row, Unbuildable};
use super::iface::Classes;
use super::lookup::{self, Lookup};
use super::rate::{Asking, Meter};
use super::record::{Item, Record};
use super::rows::{self, Rows};
use super::state::State;
use super::table::{self, Makers, Table};
use crate::field::META_LENGTH;
use crate::ir::{Cube, Rule, Sense, Verdict};

/// Why there is no program.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListError {
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

/// A list, for packets of a family.
pub(super) struct List {
    v6: bool,
    items: Vec<Item>,
    /// What else is asked of packets: what keys are made of, and lengths.
    also: BTreeSet<Item>,
    segments: Vec<Segment>,
}

/// A part of a list.
struct Segment {
    /// Which of its rules is the first that holds: the answer; or 0.
    plan: Plan,
    data: String,
    /// What else the one rule asks and does, when it is one that tables cannot tell.
    soft: Option<Soft>,
}

/// A rule that does more than to decide by the packet alone.
struct Soft {
    limits: Vec<(Meter, Sense)>,
    counter: Option<u32>,
    /// Its answer; `None` when it does not decide.
    answer: Option<u32>,
}

/// What lists are made from.
pub(super) struct Maker<'m, 's> {
    /// What the names of tables begin with.
    pub(super) name: &'m str,
    /// The classes of interfaces, by whose numbers cubes are asked for the way in.
    pub(super) classes: &'m Classes,
    /// A rule's counter.
    pub(super) counter: &'m dyn Fn(usize) -> Option<u32>,
    pub(super) actions: Actions,
    /// The maps of all programs of the object.
    pub(super) state: &'m mut State<'s>,
}

impl Maker<'_, '_> {
    /// The list of some rules, with their places in their stage; what is in one of the cubes
    /// `unasked` passes before them.
    pub(super) fn list(
        &mut self,
        rules: &[(usize, Rule)],
        unasked: &[Cube],
        v6: bool,
    ) -> Result<List, ListError> {
        let cubes = rules.iter().flat_map(|(_, rule)| &rule.cubes);
        let items = rows::items(cubes.chain(unasked), v6);
        let rows = Rows {
            items: &items,
            v6,
            classes: self.classes,
        };
        let mut segments = Vec::new();
        let mut also = BTreeSet::new();
        let unasked = unasked.iter();
        let mut open: Vec<Row> = unasked.filter_map(|c| rows.row(c, act::PASS)).collect();
        for (index, rule) in rules {
            let counter = (self.counter)(*index);
            also.extend(counter.map(|_| Item::Field(META_LENGTH)));
            let outcome = rule.verdict.as_ref().map(|verdict| match verdict {
                Verdict::Deny => Outcome::Drop,
                _ => Outcome::Pass,
            });
            let answer = outcome.map(|outcome| self.actions.answer(outcome, counter));
            if let Some(answer) = answer.filter(|_| rule.limits.is_empty()) {
                open.extend(rows.all(rule, answer));
                continue;
            }
            self.close(&mut segments, &rows, &mut open, None)?;
            open.extend(rows.all(rule, 1));
            let soft = Soft {
                limits: self.limits(rule, v6),
                counter,
                answer,
            };
            also.extend(soft.items());
            self.close(&mut segments, &rows, &mut open, Some(soft))?;
        }
        self.close(&mut segments, &rows, &mut open, None)?;
        Ok(List {
            v6,
            items,
            also,
            segments,
        })
    }

    /// The rates of a rule.
    fn limits(&mut self, rule: &Rule, v6: bool) -> Vec<(Meter, Sense)> {
        let limits = rule.limits.iter();
        let asked = limits.filter_map(|l| Some((self.state.bucket(l.bucket, v6)?, l.sense)));
        asked.collect()
    }

    /// Makes a segment of some rows, if there are any.
    fn close(
        &self,
        segments: &mut Vec<Segment>,
        rows: &Rows,
        open: &mut Vec<Row>,
        soft: Option<Soft>,
    ) -> Result<(), ListError> {
        if open.is_empty() {
            return Ok(());
        }
        let problem = Problem::new(rows.fields(), std::mem::take(open), 0)?;
        let plan = classify::choose(&problem, &Limits::default())?;
        let (name, family) = (self.name, if rows.v6 { 6 } else { 4 });
        segments.push(Segment {
            plan,
            data: format!("{name}_{family}_{}", segments.len()),
            soft,
        });
        Ok(())
    }
}

impl Soft {
    /// What it asks of packets besides what its cubes ask.
    fn items(&self) -> impl Iterator<Item = Item> {
        let meters = self.limits.iter().map(|(meter, _)| meter);
        meters.flat_map(|meter| {
            let keys = meter.table().map(|t| table::key_items(t.key.kind));
            let length = meter.counts_bytes().then_some(Item::Field(META_LENGTH));
            keys.into_iter().flatten().copied().chain(length)
        })
    }

    fn tables(&self) -> impl Iterator<Item = &Table> {
        self.limits.iter().filter_map(|(meter, _)| meter.table())
    }
}

impl List {
    /// What a record has to have.
    pub(super) fn wanted(&self) -> impl Iterator<Item = Item> {
        self.items.iter().chain(&self.also).copied()
    }

    /// The tables of keys that its instructions use.
    pub(super) fn tables(&self) -> impl Iterator<Item = &Table> {
        let soft = self.segments.iter().filter_map(|s| s.soft.as_ref());
        soft.flat_map(Soft::tables)
    }

    /// How many bytes of the stack keys of maps take.
    pub(super) fn key_size(&self) -> i16 {
        let sizes = self.tables().map(Table::key_size);
        sizes.max().unwrap_or(0).max(8)
    }

    /// How many slots its plans need at most.
    pub(super) fn slots(&self) -> u8 {
        let plans = self.segments.iter().map(|segment| segment.plan.slots);
        plans.max().unwrap_or(0)
    }

    /// The tables that its instructions read.
    pub(super) fn into_data(self) -> impl Iterator<Item = (String, Vec<u8>)> {
        let segments = self.segments.into_iter();
        segments
            .filter(|segment| !segment.plan.blob.is_empty())
            .map(|segment| (segment.data, lookup::data(&segment.plan)))
    }
}

/// Where a program has what its lists need.
pub(super) struct Places<'p> {
    pub(super) record: &'p Record,
    /// Where on the stack the slots of plans begin.
    pub(super) slots: i16,
    /// A place on the stack for the key of a map.
    pub(super) key: i16,
    /// The functions that make entries of tables.
    pub(super) makers: &'p Makers,
    /// Where to go with the answer of the rule that decides in `R0`.
    pub(super) decided: Label,
}

impl Places<'_> {
    /// Goes to `decided` with the answer of the first rule that holds and decides, or on.
    pub(super) fn write(&self, asm: &mut Assembler, list: &List) {
        for segment in &list.segments {
            let family = if list.v6 { "ipv6" } else { "ipv4" };
            asm.note(&format!("{family}: {}", segment.plan.strategy));
            let [looked, next] = ["looked_up", "next_rules"].map(|name| asm.label(name));
            let lookup = Lookup {
                plan: &segment.plan,
                items: &list.items,
                record: self.record,
                v6: list.v6,
                data: &segment.data,
                slots: self.slots,
                decided: looked,
            };
            lookup::write(asm, &lookup);
            asm.bind(looked);
            asm.jump_if(Eq, R0, 0, next);
            match &segment.soft {
                None => asm.jump(self.decided),
                Some(soft) => self.soft(asm, soft, next),
            }
            asm.bind(next);
        }
    }

    /// Asks for rates, in order; the first that does not hold ends it.
    fn soft(&self, asm: &mut Assembler, soft: &Soft, next: Label) {
        let with = Asking {
            record: self.record,
            key: self.key,
            makers: self.makers,
        };
        for (meter, sense) in &soft.limits {
            meter.ask(asm, &with, *sense, next);
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
