//! eBPF: programs and map data that are made here, without a compiler on the user's machine.
//!
//! A program parses a packet, classifies it, and acts, in three parts that can be told apart in its
//! listing: `parse` writes what the rules ask for into a `record`, [`classify`] makes tables and the
//! plan of reading them, which `lookup` turns into instructions, and `act` does what the answer says.
//!
//! Programs are specialised: what no rule asks for is not read, and there is a program for each
//! class of interfaces that rules tell apart.

mod act;
mod bundle;
pub mod classify;
mod dynamic;
mod guard;
mod hook;
mod iface;
mod list;
mod log;
mod lookup;
mod needs;
mod parse;
mod rate;
mod record;
mod refuse;
mod rows;
mod soft;
mod state;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use polc_bpf::asm::SourceLine;
use polc_bpf::map::{Map, MapType, Shape};
use polc_bpf::object::Object;
use polc_bundle::Bundle;

pub use self::hook::Hook;
use self::iface::Classes;
pub use self::needs::{Need, Needs};
use self::state::State;
use super::{Capability, Options, Target};
use crate::diagnostic::{Code, Diagnostic, sort};
use crate::ir::{Ir, Rule};
use crate::packet::Pattern;
use crate::source::{SourceMap, Span};

/// The target `ebpf`.
#[derive(Clone, Copy, Debug)]
pub struct Ebpf;

impl Target for Ebpf {
    fn name(&self) -> &'static str {
        "ebpf"
    }

    fn has(&self, _: Capability) -> bool {
        // A driver may take the VLAN tag out of the frame before a program sees it.
        false
    }

    fn emit(
        &self,
        ir: &Ir,
        sources: &SourceMap,
        options: &Options,
    ) -> Result<Bundle, Vec<Diagnostic>> {
        let mut refused = refuse::policy(ir);
        if !refused.is_empty() {
            sort(&mut refused);
            return Err(refused);
        }
        let mut counting = ir.clone();
        for rule in &mut counting.guard {
            rule.effects.count |= options.count_all;
        }
        let guard = guard(&counting, sources, Hook::Xdp, options)?;
        bundle::bundle(&counting, sources, guard).map_err(|error| vec![failed(&error, ir)])
    }
}

/// The programs of a guard.
#[derive(Clone, Debug)]
pub struct Guard {
    /// An ELF object with the programs, their maps and their tables.
    pub object: Vec<u8>,
    /// The programs, and which interfaces they are for, in the order in which patterns are to be
    /// tried.
    pub programs: Vec<Attached>,
    /// The places of the rules that count, in the order of their counters.
    pub counted: Vec<usize>,
    /// The programs as text.
    pub listing: String,
    /// The maps of the object that outlive an apply, by name.
    pub state: Vec<String>,
    /// The numbers in the log of the rules that log, by name.
    pub log_ids: BTreeMap<Arc<str>, u32>,
    /// What the programs use that not every kernel with the hook has.
    pub needs: Needs,
}

/// A program, and where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Its name in the object; none for interfaces that no rule speaks of.
    pub name: Option<String>,
    /// The interfaces: those that the pattern means and no earlier one does.
    pub pattern: Pattern,
}

/// The guard of a policy as programs for a hook, or one error for each thing that these cannot do.
pub fn guard(
    ir: &Ir,
    sources: &SourceMap,
    hook: Hook,
    options: &Options,
) -> Result<Guard, Vec<Diagnostic>> {
    let refused = refuse::guard(ir, hook);
    if !refused.is_empty() {
        return Err(refused);
    }
    let counted: Vec<usize> = (0..ir.guard.len())
        .filter(|at| ir.guard.get(*at).is_some_and(|rule| rule.effects.count))
        .collect();
    let counter_of = |rule: usize| {
        let place = counted.binary_search(&rule).ok()?;
        u32::try_from(place).ok()
    };
    let mut object = Object::new();
    let mut state = State::new(ir, options);
    let (mut programs, mut listing) = (Vec::new(), String::new());
    let mut needs = Needs::default();
    let classes = Classes::of(&ir.guard, &[|cube| &cube.ingress]);
    for (number, (_, pattern, iface)) in classes.iter().enumerate() {
        let rules = iface.map_or_else(Vec::new, |iface| guard::rules(ir, iface));
        let pattern = pattern.clone();
        let Some((_, first)) = rules.first() else {
            let name = None;
            programs.push(Attached { name, pattern });
            continue;
        };
        let name = format!("guard_{number}");
        let frame = guard::Frame {
            name: &name,
            hook,
            line: block_line(ir, first, sources),
            line_of: &|rule| line(rule.span, sources),
        };
        let made = guard::program(&mut state, &classes, &rules, &frame, &counter_of);
        let made = made.map_err(|error| vec![failed(&error, ir)])?;
        listing.push_str(&made.program.to_string());
        needs.note(&made.program);
        for (name, bytes) in made.data {
            object.data(name, bytes);
        }
        object.program(hook.section(), made.program);
        let name = Some(name);
        programs.push(Attached { name, pattern });
    }
    if let Ok(entries @ 1..) = u32::try_from(counted.len()) {
        let shape = Shape::new(MapType::PercpuArray, 4, 16, entries);
        object.map(Map::new(act::COUNTERS, shape));
    }
    let state = state.write(&mut object);
    let object = object.write().map_err(|error| vec![failed(&error, ir)])?;
    Ok(Guard {
        object,
        programs,
        counted,
        listing,
        state,
        log_ids: log::ids(ir),
        needs,
    })
}

/// The line on which the block of a rule begins.
fn block_line(ir: &Ir, rule: &Rule, sources: &SourceMap) -> Option<SourceLine> {
    line(
        ir.blocks.get(rule.block).map_or(rule.span, |b| b.span),
        sources,
    )
}

fn line(span: Span, sources: &SourceMap) -> Option<SourceLine> {
    let place = sources.describe_from_home(span);
    let (file, _) = place.rsplit_once(':')?;
    let (line, column) = sources.position(span);
    let text = sources.get(span.file)?.text.lines().nth(line - 1)?;
    Some(SourceLine {
        file: Arc::from(file),
        line: u32::try_from(line).ok()?,
        column: u32::try_from(column).ok()?,
        text: Arc::from(text.trim_end()),
    })
}

/// A program that cannot be made.
fn failed(error: &dyn std::error::Error, ir: &Ir) -> Diagnostic {
    let span = ir.guard.first().map_or_else(Span::default, |r| r.span);
    let title = format!("there is no program for these rules: {error}");
    Diagnostic::error(Code::Unsupported, title, span)
        .help("build for `nftables`, or write fewer rules")
}
