//! A stage as its rules see it, in every way in which a packet can come to it.

use rayon::prelude::*;

use super::judge::Around;
use super::rows::{Line, Rows};
use super::{Redundant, RuleReach, Status, Taken};
use crate::analyse::model::{Model, Moved, View};
use crate::field::{CT_DIRECTION, CT_MARK, CT_STATE};
use crate::interpret::RuleId;
use crate::ir::{Cube, NatTarget, Stage, Verdict};
use crate::packet::cover::OutOfBudget;

/// What is known of the rules of a stage.
pub(super) fn stage(
    model: &Model,
    stage: Stage,
    conflicts: &mut Vec<(RuleId, RuleId)>,
    more: &mut bool,
) -> Vec<RuleReach> {
    let mut out: Option<Vec<RuleReach>> = None;
    for view in views(model, stage) {
        let Ok(found) = one(model, view, conflicts, more) else {
            return unknown(model, stage);
        };
        out = Some(match out {
            None => found,
            Some(before) => before
                .into_iter()
                .zip(found)
                .map(|(a, b)| either(a, b))
                .collect(),
        });
    }
    out.unwrap_or_default()
}

fn one(
    model: &Model,
    view: View,
    conflicts: &mut Vec<(RuleId, RuleId)>,
    more: &mut bool,
) -> Result<Vec<RuleReach>, OutOfBudget> {
    let rows = Rows::of(model, view)?;
    let duplicates = rows.duplicates();
    for line in rows.lines.iter().filter(|line| line.id().is_some()) {
        if !*more {
            *more = !rows.conflicts(line, conflicts);
        }
    }
    let lines = rows.lines.par_iter().zip(duplicates);
    let judged = lines.filter_map(|(line, duplicate_of)| {
        let around = around(&rows, line);
        Some(RuleReach {
            duplicate_of,
            ..rows.judge(line, line.id()?, &around)
        })
    });
    Ok(judged.collect())
}

fn around(rows: &Rows, line: &Line) -> Around {
    let before = rows
        .regions(line)
        .map(|region| rows.deciding_before(region, line.rows.start));
    Around {
        before: before.collect(),
    }
}

/// The ways in which packets can come to a stage, as far as its rules can tell them apart. What
/// steer does shows only to rules that ask for the destination before it: for the others, a packet
/// that has been moved is like one that went there by itself.
fn views(model: &Model, stage: Stage) -> Vec<View> {
    let cubes = || model.ir.stage(stage).iter().flat_map(|rule| &rule.cubes);
    let mut moves = vec![Moved::No];
    if stage == Stage::Filter && cubes().any(|cube: &Cube| !cube.original.is_full()) {
        for rule in &model.ir.steer {
            match &rule.verdict {
                Some(Verdict::Route { .. }) => moves.push(Moved::Routed),
                Some(Verdict::Dnat(nat)) => {
                    let targets = nat.v4.iter().chain(&nat.v6);
                    moves.extend(targets.copied().map(|target: NatTarget| Moved::To(target)));
                }
                _ => {}
            }
        }
    }
    let mut distinct: Vec<Moved> = Vec::new();
    for moved in moves {
        if !distinct.contains(&moved) {
            distinct.push(moved);
        }
    }
    // Multicast listener discovery is never tracked, so there is always something that is not. It
    // passes egress unasked.
    let asks = |cube: &Cube| {
        let mut fields = [CT_STATE, CT_MARK, CT_DIRECTION].into_iter();
        fields.any(|field| cube.field(field).is_some())
    };
    let both = stage != Stage::Egress && cubes().any(asks);
    let tracked: &[bool] = if both { &[false, true] } else { &[false] };
    let views = distinct.into_iter().flat_map(|moved| {
        tracked.iter().map(move |untracked| View {
            stage,
            moved,
            untracked: *untracked,
        })
    });
    views.collect()
}

/// What is known of a rule to which packets come in two ways.
fn either(a: RuleReach, b: RuleReach) -> RuleReach {
    let rank = |status| match status {
        Status::Reached => 4,
        Status::Unknown => 3,
        Status::Unreachable | Status::Closed => 2,
        Status::Unmatchable => 1,
    };
    let redundant = match (a.redundant, b.redundant) {
        (Redundant::Yes, _) if b.status != Status::Reached => Redundant::Yes,
        (_, Redundant::Yes) if a.status != Status::Reached => Redundant::Yes,
        (Redundant::Yes, Redundant::Yes) => Redundant::Yes,
        (Redundant::Unknown, _) | (_, Redundant::Unknown) => Redundant::Unknown,
        _ => Redundant::No,
    };
    let taken = if a.taken == b.taken {
        a.taken
    } else {
        Taken::Unknown
    };
    let duplicate_of = a.duplicate_of.filter(|of| b.duplicate_of == Some(*of));
    let (mut best, rest) = if rank(a.status) >= rank(b.status) {
        (a, b)
    } else {
        (b, a)
    };
    if best.status != Status::Reached {
        for blocker in rest.blockers {
            if !best.blockers.contains(&blocker) {
                best.blockers.push(blocker);
            }
        }
    }
    RuleReach {
        redundant,
        taken,
        duplicate_of,
        opposite: best.opposite.or(rest.opposite),
        ..best
    }
}

/// Nothing is known of the rules of a stage.
fn unknown(model: &Model, stage: Stage) -> Vec<RuleReach> {
    let ids = (0..model.ir.stage(stage).len()).map(|index| RuleId { stage, index });
    ids.map(|id| RuleReach {
        id,
        status: Status::Unknown,
        blockers: Vec::new(),
        opposite: None,
        taken: Taken::Unknown,
        redundant: Redundant::Unknown,
        duplicate_of: None,
        sample: None,
    })
    .collect()
}
