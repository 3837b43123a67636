//! Which directions filter decides, and whether it decides all of their traffic.
//!
//! A policy governs the directions that a section or the top-level default speaks of. What it
//! governs must end in a default: nothing is allowed or denied by not being mentioned. Guard
//! decides about the interfaces of its blocks, and needs a default for each.

use std::collections::BTreeSet;

use crate::diagnostic::{Code, Diagnostic};
use crate::ir::{Block, Cube, Governs, Ir, Rule, Side, Stage};
use crate::packet::{IfaceSet, Pattern};

/// Fills in [`Ir::governs`] and reports traffic that can reach the end of a stage undecided.
pub fn check(ir: &mut Ir, diagnostics: &mut Vec<Diagnostic>) {
    let filters: Vec<&Block> = ir
        .blocks
        .iter()
        .filter(|b| b.stage == Stage::Filter)
        .collect();
    let scope = || filters.iter().flat_map(|b| &b.scope);
    let speaks_of = |direction: &Cube| scope().any(|c| meets(c, direction));
    // A rule that names `lo` has to stand in some chain, too.
    let whole = directions(&IfaceSet::full()).map(|(_, cube)| cube);
    let [input, forward, output] = whole.each_ref().map(&speaks_of);
    let wire = directions(&IfaceSet::not_loopback());
    for ((word, cube), whole) in wire.iter().zip(&whole) {
        let governed = speaks_of(whole);
        if governed && let Some(rest) = undecided(&ir.filter, cube.clone()) {
            let block = filters
                .iter()
                .copied()
                .rev()
                .find(|b| b.scope.iter().any(|c| meets(c, whole)));
            let help = "end the block with `default deny` or `default allow`, or the file with a \
                        top-level default";
            report(block, &describe(word, &rest), help, diagnostics);
        }
    }
    ir.governs = Governs {
        input,
        forward,
        output,
    };
    for block in ir.blocks.iter().filter(|b| b.stage == Stage::Guard) {
        for cube in &block.scope {
            if let Some(rest) = undecided(&ir.guard, cube.clone()) {
                let what = describe("what arrives", &rest);
                let help = "end the block with `default allow`, which hands on to the later \
                            stages, or `default deny`; a top-level default is not for guard";
                report(Some(block), &what, help, diagnostics);
            }
        }
    }
}

/// The directions of traffic on some interfaces, and every packet of each.
fn directions(ifaces: &IfaceSet) -> [(&'static str, Cube); 3] {
    let wire = Side::ifaces(ifaces.clone());
    let of = |ingress: Side, egress: Side| Cube {
        ingress,
        egress,
        ..Cube::any()
    };
    [
        ("traffic to this host", of(wire.clone(), Side::host())),
        ("forwarded traffic", of(wire.clone(), wire.clone())),
        ("traffic from this host", of(Side::host(), wire)),
    ]
}

fn meets(a: &Cube, b: &Cube) -> bool {
    a.intersection(b).is_some()
}

/// A part of `all` that no unconditional rule decides. Only rules that ask for nothing but sides
/// and families count: a default is one, and so is a closing `allow` of a group.
fn undecided(rules: &[Rule], all: Cube) -> Option<Cube> {
    let mut rest = vec![all];
    for rule in rules
        .iter()
        .filter(|r| r.verdict.is_some() && r.limits.is_empty())
    {
        for cube in rule.cubes.iter().filter(|c| asks_only_sides(c)) {
            rest = rest.iter().flat_map(|r| r.difference(cube)).collect();
        }
    }
    rest.into_iter().next()
}

fn asks_only_sides(cube: &Cube) -> bool {
    cube.saddr.is_full()
        && cube.daddr.is_full()
        && cube.original.is_full()
        && cube.fields.is_empty()
        && cube.atoms.is_empty()
        && cube.proto == crate::ir::cube::protocols()
}

fn describe(word: &str, rest: &Cube) -> String {
    let mut text = word.to_owned();
    if !rest.ingress.host && rest.ingress.ifaces != IfaceSet::not_loopback() {
        text = format!("{text} from {}", name(&rest.ingress.ifaces));
    }
    if !rest.egress.host && rest.egress.ifaces != IfaceSet::not_loopback() {
        text = format!("{text} to {}", name(&rest.egress.ifaces));
    }
    text
}

/// `eth0`, or "interfaces other than `eth0`".
fn name(ifaces: &IfaceSet) -> String {
    let list = |patterns: &BTreeSet<Pattern>| {
        let wire = patterns.iter().map(Pattern::to_string);
        let wire: Vec<String> = wire.filter(|p| p != "lo").collect();
        format!("`{}`", wire.join("`, `"))
    };
    match ifaces.include() {
        Some(include) => list(include),
        None => format!("interfaces other than {}", list(ifaces.exclude())),
    }
}

fn report(block: Option<&Block>, what: &str, help: &str, diagnostics: &mut Vec<Diagnostic>) {
    let Some(block) = block else { return };
    let title = format!("{what} can reach the end undecided");
    let diagnostic = Diagnostic::error(Code::MissingDefault, title, block.span);
    diagnostics.push(diagnostic.help(help));
}
