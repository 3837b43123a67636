//! A list of rules as instructions: what is asked in which order.
//!
//! Rules that decide are asked together: tables tell the first of them that holds, and what it does
//! besides deciding is done then. A rule that asks for a rate, or decides nothing, stands alone between them.
//! Each such part of the list is a [`Segment`].

use std::borrow::Cow;
use std::collections::BTreeSet;

use polc_bpf::asm::{AsmError, Assembler, Label, SourceLine};
use polc_bpf::insn::Cond::{Eq, Ge};
use polc_bpf::insn::Reg::R0;

use super::act::{self, Actions, Outcome};
use super::classify::{self, Limits, Plan, Problem, Row, Unbuildable};
use super::dynamic;
use super::hook::Hook;
use super::iface::Classes;
use super::limit::{self, Limit};
use super::look::Look;
use super::lookup::{self, Lookup, Tables};
use super::rate::Asking;
use super::record::{Item, Record};
use super::rows::{self, Rows};
use super::soft::{self, Soft};
use super::state::State;
use super::table::{Makers, Table};
use crate::field::META_LENGTH;
use crate::ir::{Cube, DynamicId, Rule};

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
    /// What has to be looked up before.
    looks: Vec<Look>,
    /// The line of its first rule.
    line: Option<SourceLine>,
    /// The lines of the steps of the plan, where each is about one rule.
    lines: Vec<Option<SourceLine>>,
    /// What else is asked and done.
    also: Also,
}

/// What else a segment's rules ask and do.
enum Also {
    /// Its rules decide, and some do something before: those that answers number ([`act::more`]).
    Before(Vec<Soft>),
    /// It is of one rule, which may not hold in the end, or not decide.
    Alone(Box<Soft>),
}

impl Also {
    fn iter(&self) -> impl Iterator<Item = &Soft> {
        match self {
            Self::Before(all) => all.iter(),
            Self::Alone(one) => std::slice::from_ref(&**one).iter(),
        }
    }
}

/// What lists are made from.
pub(super) struct Maker<'m, 's> {
    /// What the names of tables begin with.
    pub(super) name: String,
    /// Whether they are about what this host sends: that has turns of its own among targets.
    pub(super) own: bool,
    /// The classes of interfaces, by whose numbers cubes are asked for the way in.
    pub(super) classes: &'m Classes,
    /// Whether the flows of packets can have been opened to another destination than theirs.
    pub(super) opened: bool,
    /// A rule's counter.
    pub(super) counter: &'m dyn Fn(usize) -> Option<u32>,
    pub(super) actions: Actions,
    /// A rule's line.
    pub(super) line: &'m dyn Fn(&Rule) -> Option<SourceLine>,
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
        let cubes: Vec<Cow<[Cube]>> = rules.iter().map(|(_, rule)| self.cubes(rule, v6)).collect();
        let known = rules.iter().zip(&cubes);
        let known: Vec<Vec<Cube>> = known
            .map(|((_, r), cubes)| self.known(r, cubes, v6))
            .collect();
        let all = || {
            let all = cubes.iter().flat_map(|cubes| cubes.iter());
            all.chain(known.iter().flatten()).chain(unasked)
        };
        let sets = self.state.large_sets(all(), v6);
        let senders = self.state.senders(all());
        let items = rows::items(all(), v6, &sets, &senders, self.opened);
        let mut draft = Draft {
            rows: Rows {
                items: &items,
                v6,
                classes: self.classes,
                opened: self.opened,
                sets: &sets,
                senders: &senders,
            },
            open: Vec::new(),
            from: Vec::new(),
            before: Vec::new(),
            known: BTreeSet::new(),
            segments: Vec::new(),
        };
        let mut also = BTreeSet::new();
        let unasked = unasked.iter();
        let unasked: Vec<Row> = unasked
            .filter_map(|cube| draft.rows.row(cube, act::PASS))
            .collect();
        draft.take(None, unasked);
        for (((index, rule), cubes), known_cubes) in rules.iter().zip(&cubes).zip(&known) {
            let counter = (self.counter)(*index);
            let outcome = Outcome::of(rule);
            let answer = outcome.map(|outcome| self.actions.answer(outcome, counter));
            if let Some(answer) = answer.filter(|_| !Soft::is_needed(rule)) {
                also.extend(counter.map(|_| Item::Field(META_LENGTH)));
                let rows: Vec<Row> = draft.rows.all(cubes, answer).collect();
                draft.take(Some(rule), rows);
                continue;
            }
            let alone = answer.is_none() || !rule.limits.is_empty();
            let [known, holds] = if alone {
                [soft::KNOWN, soft::HOLDS]
            } else {
                [1, 0].map(|more| draft.number(more))
            };
            let mut rows: Vec<Row> = draft.rows.all(known_cubes, known).collect();
            rows.extend(draft.rows.all(cubes, holds));
            if rows.is_empty() {
                continue;
            }
            let soft = Soft::new(rule, self.state, (v6, self.own), (counter, answer));
            also.extend(soft.items());
            if alone {
                self.close(&mut draft, None)?;
                draft.take(Some(rule), rows);
                self.close(&mut draft, Some(soft))?;
                if let Some(set) = rule.effects.add {
                    draft.forget(set);
                }
            } else {
                draft.take(Some(rule), rows);
                let known = soft.remembers().then(|| soft.clone().without_add());
                draft.before.push(soft);
                draft.before.extend(known);
            }
        }
        self.close(&mut draft, None)?;
        let segments = draft.segments;
        Ok(List {
            v6,
            items,
            also,
            segments,
        })
    }

    /// The cubes of a rule, without what dynamic sets begin with.
    fn cubes<'r>(&mut self, rule: &'r Rule, v6: bool) -> Cow<'r, [Cube]> {
        if rule.cubes.iter().all(|cube| cube.atoms.is_empty()) {
            return Cow::Borrowed(&rule.cubes);
        }
        let cubes = rule.cubes.iter().filter(|cube| rows::is_of(cube, v6));
        let spelt = cubes.flat_map(|cube| dynamic::spell_out(cube, self.state, v6));
        Cow::Owned(spelt.collect())
    }

    /// The packets of a rule whose key the set begins with that the rule adds to.
    fn known(&mut self, rule: &Rule, cubes: &[Cube], v6: bool) -> Vec<Cube> {
        let added = rule.effects.add;
        let Some(members) = added.and_then(|set| self.state.set(set, v6)) else {
            return Vec::new();
        };
        let cubes = cubes.iter().filter(|cube| rows::is_of(cube, v6));
        cubes.filter_map(|cube| members.known(cube)).collect()
    }

    /// Makes a segment of the open rows, if there are any; `alone` is the one rule that they are of, if
    /// it stands alone.
    fn close(&mut self, draft: &mut Draft, alone: Option<Soft>) -> Result<(), ListError> {
        if draft.open.is_empty() {
            return Ok(());
        }
        let looks = draft.looks(self.state);
        let rows = std::mem::take(&mut draft.open);
        let from = std::mem::take(&mut draft.from);
        let line = from.iter().flatten().next().and_then(|r| (self.line)(r));
        let problem = Problem::new(draft.rows.fields(), rows, 0)?;
        let limits = Limits::default();
        let plan = classify::choose(&problem, &limits)?;
        let rules = classify::strategy::rows_of_steps(&problem, &plan, &limits);
        let line_of = |row: Option<usize>| (self.line)((*from.get(row?)?)?);
        let lines = rules.into_iter().map(line_of).collect();
        let before = std::mem::take(&mut draft.before);
        let also = alone.map_or(Also::Before(before), |one| Also::Alone(Box::new(one)));
        let (name, family) = (&self.name, if draft.rows.v6 { 6 } else { 4 });
        let data = format!("{name}_{family}_{}", draft.segments.len());
        draft.segments.push(Segment {
            plan,
            data,
            looks,
            line,
            lines,
            also,
        });
        Ok(())
    }
}

/// A list that is being made.
struct Draft<'d> {
    rows: Rows<'d>,
    /// The rows of the next segment, and the rule that each comes from.
    open: Vec<Row>,
    from: Vec<Option<&'d Rule>>,
    /// What their rules do before they decide.
    before: Vec<Soft>,
    /// What was looked up and still is as it was.
    known: BTreeSet<Item>,
    segments: Vec<Segment>,
}

impl<'d> Draft<'d> {
    /// Opens rows of a rule.
    fn take(&mut self, rule: Option<&'d Rule>, rows: Vec<Row>) {
        self.from.extend(rows.iter().map(|_| rule));
        self.open.extend(rows);
    }

    /// The answer that means the next of the rules that do something before they decide, or the one
    /// behind it.
    fn number(&self, more: usize) -> u32 {
        let place = u32::try_from(self.before.len() + more).unwrap_or(u32::MAX);
        act::more(place)
    }

    /// A set has changed.
    fn forget(&mut self, changed: DynamicId) {
        self.known
            .retain(|item| !matches!(item, Item::Member { set, .. } if *set == changed));
    }

    /// What the open rows ask that has to be looked up.
    fn looks(&mut self, state: &mut State) -> Vec<Look> {
        let mut looks = Vec::new();
        let numbered = self.rows.items.iter().enumerate();
        for (at, item) in numbered.filter(|(_, item)| Look::is_for(**item)) {
            let every = rows::every(*item, self.rows.v6);
            let mut asked = self.open.iter().filter_map(|row| row.region.dim(at));
            if asked.any(|values| *values != every) && self.known.insert(*item) {
                let known = (self.rows.sets, self.rows.senders);
                looks.extend(Look::new(*item, state, known, self.rows.v6));
            }
        }
        looks
    }
}

impl List {
    /// What a record has to have.
    pub(super) fn wanted(&self) -> impl Iterator<Item = Item> {
        let looks = self.segments.iter().flat_map(|segment| &segment.looks);
        let looked = looks.flat_map(Look::items);
        let items = self.items.iter().chain(&self.also);
        items.copied().chain(looked.copied())
    }

    /// The tables of keys that its instructions read.
    fn tables(&self) -> impl Iterator<Item = &Table> {
        self.segments.iter().flat_map(|segment| {
            let soft = segment.also.iter().flat_map(Soft::tables);
            soft.chain(segment.looks.iter().filter_map(Look::table))
        })
    }

    /// The tables that it makes entries of.
    pub(super) fn filled(&self) -> impl Iterator<Item = &Table> {
        self.soft().flat_map(Soft::tables)
    }

    /// The limits of live flows that it asks for.
    pub(super) fn limits(&self) -> impl Iterator<Item = &Limit> {
        self.soft().flat_map(Soft::limits)
    }

    /// Whether it has to remember an answer.
    pub(super) fn remembers(&self) -> bool {
        self.segments
            .iter()
            .any(|segment| matches!(&segment.also, Also::Alone(soft) if soft.remembers()))
    }

    fn soft(&self) -> impl Iterator<Item = &Soft> {
        self.segments.iter().flat_map(|segment| segment.also.iter())
    }

    /// How many bytes of the stack keys of maps take.
    pub(super) fn key_size(&self) -> i16 {
        let sizes = self.tables().map(Table::key_size);
        sizes.max().unwrap_or(0).max(8)
    }

    /// How many slots its plans need at most.
    pub(super) fn slots(&self) -> u8 {
        let slots = |segment: &Segment| {
            let looks = segment.looks.iter().map(Look::slots).max();
            segment.plan.slots.max(looks.unwrap_or(0))
        };
        self.segments.iter().map(slots).max().unwrap_or(0)
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
    pub(super) hook: Hook,
    pub(super) record: &'p Record,
    /// Where on the stack the slots of plans begin.
    pub(super) slots: i16,
    /// A place on the stack for the key of a map.
    pub(super) key: i16,
    /// A place on the stack for an answer, if a list has to remember one.
    pub(super) answer: i16,
    /// Where on the stack the mark of the packet's flow is, if it has one.
    pub(super) flow_mark: Option<i16>,
    /// Where on the stack the number of a chosen target goes, 4 bytes, if rules can choose one.
    pub(super) choice: Option<i16>,
    /// The functions that make entries of tables.
    pub(super) makers: &'p Makers,
    /// What asks for live flows, where there are any.
    pub(super) live: Option<limit::Asking<'p>>,
    /// Where to go with the answer of the rule that decides in `R0`.
    pub(super) decided: Label,
    /// Where to go when there is nothing to decide by.
    pub(super) closed: Label,
}

impl Places<'_> {
    /// Goes to `decided` with the answer of the first rule that holds and decides, or on.
    pub(super) fn write(&self, asm: &mut Assembler, list: &List) {
        for segment in &list.segments {
            let family = if list.v6 { "ipv6" } else { "ipv4" };
            asm.note(&format!("{family}: {}", segment.plan.strategy));
            if let Some(line) = &segment.line {
                asm.at(line);
            }
            for look in &segment.looks {
                look.write(asm, self, list.v6);
            }
            let [looked, next] = ["looked_up", "next_rules"].map(|name| asm.label(name));
            let lookup = Lookup {
                plan: &segment.plan,
                items: &list.items,
                record: self.record,
                v6: list.v6,
                tables: Tables::Data(&segment.data),
                slots: self.slots,
                lines: &segment.lines,
                decided: looked,
            };
            lookup::write(asm, &lookup);
            asm.bind(looked);
            asm.jump_if(Eq, R0, 0, next);
            match &segment.also {
                Also::Alone(soft) => soft.write(asm, self, (list.v6, true), next),
                Also::Before(all) if all.is_empty() => asm.jump(self.decided),
                Also::Before(all) => {
                    act::jump_unless_more(asm, self.decided);
                    let places: Vec<Label> = all.iter().map(|_| asm.label("before")).collect();
                    choose(asm, &places, 0);
                    for (soft, place) in all.iter().zip(places) {
                        asm.bind(place);
                        soft.write(asm, self, (list.v6, false), next);
                    }
                }
            }
            asm.bind(next);
        }
    }

    pub(super) fn asking(&self) -> Asking<'_> {
        Asking {
            record: self.record,
            key: self.key,
            makers: self.makers,
        }
    }
}

/// Goes to the place whose number, from `first` on, is in `R0`.
fn choose(asm: &mut Assembler, places: &[Label], first: i32) {
    let (left, right) = places.split_at(places.len() / 2);
    match (left, right) {
        ([], [one]) => asm.jump(*one),
        ([], _) => {}
        _ => {
            let later = asm.label("later");
            let middle = first + i32::try_from(left.len()).unwrap_or(i32::MAX);
            asm.jump_if(Ge, R0, middle, later);
            choose(asm, left, first);
            asm.bind(later);
            choose(asm, right, middle);
        }
    }
}
