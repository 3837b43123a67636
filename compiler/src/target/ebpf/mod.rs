//! eBPF: programs and map data that are made here, without a compiler on the user's machine.
//!
//! A program parses a packet, classifies it, and acts, in three parts that can be told apart in its
//! listing: `parse` writes what the rules ask for into a `record`, [`classify`] makes tables and the
//! plan of reading them, which `lookup` turns into instructions, and `act` does what the answer says.
//!
//! Programs are specialised: what no rule asks for is not read, and there is a program for each
//! class of interfaces that rules tell apart.

mod act;
pub mod classify;
mod guard;
mod hook;
mod lookup;
mod parse;
mod rate;
mod record;
mod refuse;
mod rows;

use std::collections::BTreeSet;

use polc_bpf::map::{Map, MapType, Shape};
use polc_bpf::object::Object;

pub use self::hook::Hook;
use crate::diagnostic::{Code, Diagnostic};
use crate::ir::Ir;
use crate::packet::Pattern;
use crate::source::Span;

/// The programs of a guard.
#[derive(Clone, Debug)]
pub struct Guard {
    /// An ELF object with the programs, their maps and their tables.
    pub object: Vec<u8>,
    /// The programs, and which interfaces they are for.
    pub programs: Vec<Attached>,
    /// The places of the rules that count, in the order of their counters.
    pub counted: Vec<usize>,
    /// The programs as text.
    pub listing: String,
}

/// A program, and where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Its name in the object.
    pub name: String,
    /// The interfaces: those that the pattern means and no narrower one of another program does.
    pub pattern: Pattern,
}

/// The guard of a policy as programs for a hook, or one error for each thing that these cannot do.
pub fn guard(ir: &Ir, hook: Hook) -> Result<Guard, Vec<Diagnostic>> {
    let refused = refuse::guard(ir);
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
    let (mut programs, mut listing) = (Vec::new(), String::new());
    for (number, pattern) in patterns(ir).into_iter().enumerate() {
        let name = format!("guard_{number}");
        let iface = representative(&pattern, ir);
        let made = guard::program(ir, &name, &iface, hook, &counter_of);
        let made = made.map_err(|error| vec![failed(&error, ir)])?;
        listing.push_str(&made.program.to_string());
        for (name, bytes) in made.data {
            object.data(name, bytes);
        }
        object.program(hook.section(), made.program);
        programs.push(Attached { name, pattern });
    }
    if let Ok(entries @ 1..) = u32::try_from(counted.len()) {
        let shape = Shape::new(MapType::PercpuArray, 4, 16, entries);
        object.map(Map::new(act::COUNTERS, shape));
    }
    let asked = ir.guard.iter().any(|rule| !rule.limits.is_empty());
    if let Ok(entries @ 1..) = u32::try_from(ir.buckets.len())
        && asked
    {
        let shape = Shape::new(MapType::Array, 4, 8, entries);
        object.map(Map::new(rate::BUCKETS, shape));
    }
    let object = object.write().map_err(|error| vec![failed(&error, ir)])?;
    Ok(Guard {
        object,
        programs,
        counted,
        listing,
    })
}

/// The patterns of interface names that guard tells apart, narrow ones first.
fn patterns(ir: &Ir) -> Vec<Pattern> {
    let mut patterns = BTreeSet::from([Pattern::Prefix(String::new())]);
    for cube in ir.guard.iter().flat_map(|rule| &rule.cubes) {
        let ifaces = &cube.ingress.ifaces;
        patterns.extend(ifaces.include().into_iter().flatten().cloned());
        patterns.extend(ifaces.exclude().iter().cloned());
    }
    let mut patterns: Vec<Pattern> = patterns.into_iter().collect();
    patterns.sort_by_key(|pattern| match pattern {
        Pattern::Name(_) => 0,
        Pattern::Prefix(prefix) => usize::MAX - prefix.len(),
    });
    patterns
}

/// A name that a pattern means and no narrower one of the policy does.
fn representative(pattern: &Pattern, ir: &Ir) -> String {
    let stem = match pattern {
        Pattern::Name(name) => return name.clone(),
        Pattern::Prefix(prefix) => prefix,
    };
    let all = patterns(ir);
    let narrower = |name: &str| {
        let mut others = all.iter().filter(|p| *p != pattern && pattern.covers(p));
        others.any(|p| p.matches(name))
    };
    let mut names = (0..=all.len()).map(|number| format!("{stem}~{number}"));
    names
        .find(|name| !narrower(name))
        .unwrap_or_else(|| stem.clone())
}

/// A program that cannot be made.
fn failed(error: &dyn std::error::Error, ir: &Ir) -> Diagnostic {
    let span = ir.guard.first().map_or_else(Span::default, |r| r.span);
    let title = format!("there is no program for these rules: {error}");
    Diagnostic::error(Code::Unsupported, title, span)
        .help("build for `nftables`, or write fewer rules")
}
