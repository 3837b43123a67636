//! The packets that an edit touches.
//!
//! A packet that no rule means which only one of two policies has meets the same rules in both, in
//! the same order, and has the same fate. So a comparison can be restricted to the others. Filter and
//! egress see a packet as steer has left it: what a rule of theirs means is followed back through
//! every rule of steer that moves packets.

use std::collections::BTreeMap;

use super::script::{Pair, Sight, Views};
use crate::analyse::model::{Memory, Model, Moved, Phase, View};
use crate::field::{CT_DIRECTION, CT_MARK, CT_STATE, Field};
use crate::interpret::RuleId;
use crate::ir::{Rule, Stage, Verdict};
use crate::packet::Region;
use crate::packet::cover::{Budget, OutOfBudget, subtract};

/// Past so many regions, edits are everywhere.
const MOST: usize = 4000;

/// The packets that an edit touches, by phase; `None` when they are too many to tell apart.
pub(super) fn edits(pair: &Pair) -> Result<Option<BTreeMap<Phase, Vec<Region>>>, OutOfBudget> {
    let mut out: BTreeMap<Phase, Vec<Region>> = BTreeMap::new();
    let moves = moves(pair)?;
    let mut count = 0;
    let [a, b] = pair.models;
    if a.ir.strict_tcp != b.ir.strict_tcp {
        // What steer admits is asked for its SYN once more behind steer, wherever it goes.
        let strict = if a.ir.strict_tcp { a } else { b };
        out.insert(Phase::Filter, strict.no_syn());
    }
    for phase in Phase::ALL {
        let edits = out.entry(phase).or_default();
        for untracked in [false, true] {
            let plain = View {
                stage: phase.stage().unwrap_or(Stage::Steer),
                moved: Moved::No,
                untracked,
            };
            if phase != Phase::Guard && untracked && !asks_tracking(pair, phase) {
                continue;
            }
            lone(pair, phase, plain, None, edits)?;
            if !matches!(phase, Phase::Filter | Phase::Egress) {
                continue;
            }
            for (moved, regions) in &moves {
                let view = View {
                    moved: *moved,
                    ..plain
                };
                lone(pair, phase, view, Some(regions), edits)?;
            }
        }
        count += edits.len();
        if count > MOST {
            return Ok(None);
        }
    }
    Ok(Some(out))
}

/// Pieces that do not overlap and have every packet of `entering` that an edit touches; `entering`
/// itself when that is too hard.
pub(super) fn roots(
    entering: &[Region],
    edits: Option<&BTreeMap<Phase, Vec<Region>>>,
) -> Vec<Region> {
    let Some(edits) = edits else {
        return entering.to_vec();
    };
    let mut budget = Budget::new(100_000);
    let all: Vec<&Region> = edits.values().flatten().collect();
    let mut out = Vec::new();
    for (at, edit) in all.iter().enumerate() {
        let before = all.get(..at).unwrap_or_default();
        for way in entering {
            let Some(part) = edit.intersection(way) else {
                continue;
            };
            match subtract(&part, before, &mut budget) {
                Ok(parts) => out.extend(parts),
                Err(OutOfBudget) => return entering.to_vec(),
            }
        }
    }
    out
}

/// Adds what the lines mean that not both policies have; with `moved`, only packets of these.
fn lone(
    pair: &Pair,
    phase: Phase,
    view: View,
    moved: Option<&Vec<Region>>,
    out: &mut Vec<Region>,
) -> Result<(), OutOfBudget> {
    let [a, _] = pair.models;
    for family in [crate::analyse::model::V4, crate::analyse::model::V6] {
        let hull = a.space.all(family);
        let sight = Sight {
            view,
            memory: Memory::ANY,
        };
        let views: Views = [Some(sight), Some(sight)];
        for line in pair.lone_lines(phase, views, &hull)? {
            for region in line.regions.iter() {
                match moved {
                    None => out.push(region.clone()),
                    Some(moved) => out.extend(moved.iter().filter_map(|m| m.intersection(region))),
                }
                if out.len() > MOST {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Every way in which steer moves packets, and the packets that it moves so.
fn moves(pair: &Pair) -> Result<Vec<(Moved, Vec<Region>)>, OutOfBudget> {
    let mut out: Vec<(Moved, Vec<Region>)> = Vec::new();
    for model in pair.models {
        for (index, rule) in model.ir.steer.iter().enumerate() {
            let regions = steered(model, index, rule)?;
            for moved in destinations(rule) {
                match out.iter_mut().find(|(m, _)| *m == moved) {
                    Some((_, known)) => known.extend(regions.iter().cloned()),
                    None => out.push((moved, regions.clone())),
                }
            }
        }
    }
    for (_, regions) in &mut out {
        regions.sort_unstable();
        regions.dedup();
    }
    Ok(out)
}

fn destinations(rule: &Rule) -> Vec<Moved> {
    match &rule.verdict {
        Some(Verdict::Dnat(nat)) => nat
            .v4
            .iter()
            .chain(&nat.v6)
            .map(|t| Moved::To(*t))
            .collect(),
        Some(Verdict::Route { .. }) => vec![Moved::Routed],
        Some(Verdict::Proxy(_)) => vec![Moved::Here],
        _ => vec![],
    }
}

fn steered(model: &Model, index: usize, rule: &Rule) -> Result<Vec<Region>, OutOfBudget> {
    if destinations(rule).is_empty() {
        return Ok(Vec::new());
    }
    let view = View::of(Stage::Steer);
    let id = RuleId {
        stage: Stage::Steer,
        index,
    };
    let mut out = model.rule_at_most(id, view)?;
    if rule
        .cubes
        .iter()
        .any(|c| c.fields.keys().copied().any(is_tracking))
    {
        let untracked = View {
            untracked: true,
            ..view
        };
        out.extend(model.rule_at_most(id, untracked)?);
    }
    Ok(out)
}

fn is_tracking(field: Field) -> bool {
    [CT_STATE, CT_MARK, CT_DIRECTION].contains(&field)
}

/// Whether a stage sees untracked packets as others than new ones.
fn asks_tracking(pair: &Pair, phase: Phase) -> bool {
    let Some(stage) = phase.stage() else {
        return false;
    };
    pair.models.iter().any(|model| {
        let cubes = model.ir.stage(stage).iter().flat_map(|r| &r.cubes);
        cubes
            .flat_map(|c| c.fields.keys())
            .copied()
            .any(is_tracking)
    })
}
