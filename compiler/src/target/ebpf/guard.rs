//! The program of a guard: one for each class of interfaces that its rules tell apart.

use polc_bpf::asm::{AsmError, Assembler, Isa, Program};

use super::act::Actions;
use super::classify::{self, Limits, Plan, Problem, Unbuildable};
use super::hook::Hook;
use super::lookup::{self, Lookup};
use super::parse::{self, Exits};
use super::record::{Item, Record};
use super::rows;
use crate::field::{ICMP, ICMP_CODE, ICMP_TYPE, ICMPV6, META_LENGTH};
use crate::ir::{Cube, Ir, Rule, Verdict};
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
    plan: Plan,
    data: String,
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
    let mut actions = Actions::default();
    let [v4, v6] = [false, true].map(|v6| part(ir, &rules, v6, name, counter, &mut actions));
    let parts = [v4?, v6?];
    let mut wanted: Vec<Item> = parts.iter().flat_map(|part| part.items.clone()).collect();
    if actions.count() {
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
    let most = parts.iter().map(|part| part.plan.slots).max().unwrap_or(0);
    let slots = record.reserve(8 * i16::from(most));
    asm.part("classify");
    for (part, label) in parts.iter().zip([v4, v6]) {
        asm.bind(label);
        let family = if part.v6 { "ipv6" } else { "ipv4" };
        asm.note(&format!("{family}: {}", part.plan.strategy));
        lookup::write(
            &mut asm,
            &Lookup {
                plan: &part.plan,
                items: &part.items,
                record: &record,
                v6: part.v6,
                data: &part.data,
                slots,
                decided,
            },
        );
    }
    asm.part("act");
    asm.bind(decided);
    actions.write(&mut asm, hook, &mut record);
    for (label, verdict) in [(other, hook.pass()), (malformed, hook.drop())] {
        asm.bind(label);
        asm.mov(polc_bpf::insn::Reg::R0, verdict);
        asm.exit();
    }
    let program = asm.finish(Isa::V4)?;
    let data = parts
        .into_iter()
        .filter(|part| !part.plan.blob.is_empty())
        .map(|part| (part.data, lookup::data(&part.plan)))
        .collect();
    Ok(Guard { program, data })
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

fn part(
    ir: &Ir,
    rules: &[(usize, Rule)],
    v6: bool,
    name: &str,
    counter: &dyn Fn(usize) -> Option<u32>,
    actions: &mut Actions,
) -> Result<Part, GuardError> {
    let unasked = (!ir.strict_icmp).then(unconditional);
    let mut items = rows::items(rules.iter().map(|(_, rule)| rule), v6);
    if unasked.is_some() {
        items.extend([Item::Protocol, Item::Field(ICMP_TYPE)]);
        items.extend((!v6).then_some(Item::Field(ICMP_CODE)));
        items.sort_unstable();
        items.dedup();
    }
    let pass = actions.answer(true, None);
    let unasked = unasked.iter().flatten();
    let mut list: Vec<_> = unasked
        .filter_map(|cube| rows::row(cube, &items, v6, pass))
        .collect();
    for (index, rule) in rules {
        let passes = !matches!(rule.verdict, Some(Verdict::Deny));
        let answer = actions.answer(passes, counter(*index));
        let cubes = rule.cubes.iter();
        list.extend(cubes.filter_map(|cube| rows::row(cube, &items, v6, answer)));
    }
    let problem = Problem::new(rows::fields(&items, v6), list, pass)?;
    let plan = classify::choose(&problem, &Limits::default())?;
    let family = if v6 { "6" } else { "4" };
    Ok(Part {
        v6,
        items,
        plan,
        data: format!("{name}_{family}"),
    })
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
