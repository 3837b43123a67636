//! Exactly the packets whose fate changes from one policy to another.
//!
//! Both policies live in one [`Space`]. A packet that no rule means which only one of them has meets
//! the same rules in both and has the same fate; the packets that are left (`edits`) go through both
//! pipelines at once, cut along the rules that decide them (`walk`), and where two fates differ
//! (`fate`), boxes are left over. They are grouped by what changes and by the rules that decide, and
//! each group is shown with packets that the interpreter has judged (`observe`).
//!
//! A fate is what somebody could notice: whether the packet passes, and if it does, where it goes,
//! from which source, with which mark and whether it is tracked; how it is refused if it is; what
//! is logged, and into which dynamic sets its key goes. Names, metadata, counters and tokens that
//! are taken from buckets are no part of it.

mod align;
mod count;
mod edits;
mod effects;
mod fate;
mod observe;
mod rates;
mod script;
mod sight;
mod turn;
mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;

use num_bigint::BigUint;
use rayon::prelude::*;

use self::align::Alignment;
pub use self::fate::{Decider, Entry, Fate, Goes, Kind, Source};
pub use self::observe::{Observed, Seen, compare, observe};
use self::script::Pair;
use self::walk::{Found, Walk};
use super::model::{Asked, Model, Space, Witness};
use crate::diagnostic::{Code, Diagnostic};
use crate::interpret::{Decision, RuleId};
use crate::ir::{Ir, Stage};
use crate::packet::{Region, merge};
use crate::policy::Policy;

/// Past so many rules of both policies, a change is shown with one packet.
const LONG: usize = 4000;

/// How many regions are walked through before it is asked whether it was too much.
const AT_A_TIME: usize = 16;

/// How much may be done before the rest is left unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Comparisons of a piece with a rule, in eights.
    pub steps: u64,
    /// The most example packets of a change.
    pub witnesses: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps: 20_000_000,
            witnesses: 3,
        }
    }
}

/// What changes from one policy to another.
pub struct Diff {
    /// What the packets can differ in.
    pub space: Arc<Space>,
    /// The changes, the weightiest first.
    pub changes: Vec<Change>,
    /// Why there may be others; `None` when there are none.
    pub unknown: Option<Unknown>,
    /// Rules that only got another name: the old one and the new one.
    pub renamed: Vec<(Arc<str>, Arc<str>)>,
    /// The names of rules of which only owner, ticket, note or `count` changed.
    pub annotated: Vec<Arc<str>>,
    /// Places where the analysis and the interpreter disagree: defects of polc.
    pub defects: Vec<Diagnostic>,
    /// The names by which the second policy's rules are known, where the first has others.
    pub names: BTreeMap<RuleId, String>,
}

impl Diff {
    /// Whether it is proven that no packet's fate changes.
    pub fn is_equal(&self) -> bool {
        self.changes.is_empty() && self.unknown.is_none() && self.defects.is_empty()
    }

    /// How many packets change in this way; `None` when that is too hard to tell.
    pub fn count(&self, kind: Kind) -> Option<BigUint> {
        let changes = self.changes.iter().filter(|c| c.kind == kind);
        count::count(&self.space, changes.flat_map(|c| &c.boxes))
    }
}

/// Why not everything is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The model cannot follow one of the policies.
    Blind(&'static str),
    /// It would have taken too long.
    Budget,
}

impl Unknown {
    /// In words.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Blind(reason) => reason,
            Self::Budget => "the change is too large to look at all of it",
        }
    }
}

/// Packets whose fate changes in the same way, for the same reason.
pub struct Change {
    /// In which way.
    pub kind: Kind,
    /// Who decides, in the first and the second policy.
    pub rules: [Vec<Decider>; 2],
    /// What becomes of them.
    pub fates: [Fate; 2],
    /// The packets: boxes that do not overlap.
    pub boxes: Vec<Region>,
    /// How many there are, as [`Diff::count`] counts; `None` when that is too hard to tell.
    pub count: Option<BigUint>,
    /// Some of them.
    pub witnesses: Vec<Example>,
}

/// A packet whose fate changes, judged by the interpreter.
pub struct Example {
    /// Where it is.
    pub point: Vec<u128>,
    /// The packet, with the answers for each policy.
    pub witnesses: [Witness; 2],
    /// What the interpreter says.
    pub decisions: [Decision; 2],
}

/// What changes from policy `a` to policy `b`.
pub fn diff(a: (&Policy, &Ir), b: (&Policy, &Ir), limits: Limits) -> Diff {
    let asked = || rayon::join(|| Asked::of(a.0, a.1), || Asked::of(b.0, b.1));
    let (alignment, asked) = rayon::join(|| Alignment::of(a.1, b.1), asked);
    let (left, right) = Model::pair_with_alike(a, b, &asked.into(), &alignment.alike);
    let pair = Pair::new([&left, &right], &alignment);
    let names = names(&alignment);
    let (found, unknown) = search(&pair, &names, limits);
    let mut out = Diff {
        space: Arc::clone(&left.space),
        changes: Vec::new(),
        unknown: left.lost().or(right.lost()).map(Unknown::Blind).or(unknown),
        renamed: Vec::new(),
        annotated: Vec::new(),
        defects: Vec::new(),
        names,
    };
    for (_, old, new) in alignment.common_rules() {
        if old.name != new.name && (old.named || new.named) {
            out.renamed
                .push((Arc::clone(&old.name), Arc::clone(&new.name)));
        }
        let alike = (&old.owner, &old.ticket, &old.note) == (&new.owner, &new.ticket, &new.note);
        if !alike || old.effects.count != new.effects.count {
            out.annotated.push(Arc::clone(&new.name));
        }
    }
    out.changes = changes(&left.space, found);
    illustrate(&pair, limits, &mut out);
    out
}

/// The names that the first policy has for rules of the second, where they are others.
fn names(alignment: &Alignment) -> BTreeMap<RuleId, String> {
    let mut out = BTreeMap::new();
    for stage in Stage::ALL {
        let common = alignment.common_at(stage);
        for (index, old, new) in common {
            if old.name != new.name {
                out.insert(RuleId { stage, index }, old.name.to_string());
            }
        }
    }
    out
}

fn search(
    pair: &Pair,
    names: &BTreeMap<RuleId, String>,
    limits: Limits,
) -> (Vec<Found>, Option<Unknown>) {
    let Ok(edits) = edits::edits(pair) else {
        return (Vec::new(), Some(Unknown::Budget));
    };
    let [a, _] = pair.models;
    let roots = edits::roots(&a.entering(), edits.as_ref());
    let mut found = Vec::new();
    let mut steps = limits.steps;
    // What is found must not depend on how many walk at a time: each gets what all before have left.
    for some in roots.chunks(AT_A_TIME) {
        let walked = some.par_iter().map(|root| {
            let mut walk = Walk::new(pair, edits.as_ref(), names, steps);
            let ended = walk.run(root);
            (walk.found, steps - walk.budget, ended)
        });
        for (more, spent, ended) in walked.collect::<Vec<_>>() {
            found.extend(more);
            match steps.checked_sub(spent) {
                Some(left) if ended.is_ok() => steps = left,
                _ => return (found, Some(Unknown::Budget)),
            }
        }
    }
    (found, None)
}

/// Groups what was found.
fn changes(space: &Space, found: Vec<Found>) -> Vec<Change> {
    let mut out: Vec<Change> = Vec::new();
    let mut known: BTreeMap<(Kind, [Vec<Decider>; 2]), Vec<usize>> = BTreeMap::new();
    for Found {
        kind,
        region,
        fates,
    } in found
    {
        let rules = rules(kind, &fates);
        let group = known.entry((kind, rules.clone())).or_default();
        let alike = |at: &&usize| {
            let change = out.get(**at);
            change.is_some_and(|c| alike(&c.fates[0], &fates[0]) && alike(&c.fates[1], &fates[1]))
        };
        let known = group.iter().find(alike).copied();
        if let Some(change) = known.and_then(|at| out.get_mut(at)) {
            change.boxes.push(region);
        } else {
            group.push(out.len());
            out.push(Change {
                kind,
                rules,
                fates,
                boxes: vec![region],
                count: None,
                witnesses: Vec::new(),
            });
        }
    }
    out.par_iter_mut().for_each(|change| {
        change.boxes = merge(std::mem::take(&mut change.boxes));
        change.count = count::count(space, &change.boxes);
    });
    out.sort_by(|x, y| {
        (x.kind, y.count.as_ref(), &x.rules).cmp(&(y.kind, x.count.as_ref(), &y.rules))
    });
    out
}

/// Whether two fates are told in the same words.
fn alike(a: &Fate, b: &Fate) -> bool {
    (a.end, a.goes, a.source, a.mark) == (b.end, b.goes, b.source, b.mark)
        && (a.notrack, &a.logged, &a.added) == (b.notrack, &b.logged, &b.added)
        && a.choices == b.choices
}

/// Who decides about what changes.
fn rules(kind: Kind, fates: &[Fate; 2]) -> [Vec<Decider>; 2] {
    let [a, b] = fates;
    let of = |fate: &Fate| {
        let mut list = match kind {
            Kind::Allowed | Kind::Denied | Kind::Refused => vec![fate.by],
            Kind::Retargeted => {
                let mut list = Vec::new();
                if a.goes != b.goes {
                    list.push(fate.steered_by);
                }
                if a.source != b.source {
                    list.push(fate.sourced_by);
                }
                list
            }
            Kind::Marked | Kind::Effects => fate
                .effects_by
                .iter()
                .map(|id| Decider::Rule(*id))
                .collect(),
        };
        list.dedup();
        if list.is_empty() {
            list.push(fate.by);
        }
        list
    };
    [of(a), of(b)]
}

/// Gives each change its examples, and has the interpreter judge them.
fn illustrate(pair: &Pair, limits: Limits, out: &mut Diff) {
    let [a, b] = pair.models;
    // The interpreter asks rule by rule: of long lists it judges fewer packets.
    let long = a.ir.rules().count() + b.ir.rules().count() > LONG;
    let most = if long { 1 } else { limits.witnesses };
    let changes = out.changes.par_iter();
    let judged = changes.map(|change| examples(pair, change, most, &out.names));
    let judged: Vec<_> = judged.collect();
    for (change, (examples, defects)) in out.changes.iter_mut().zip(judged) {
        change.witnesses = examples;
        if out.unknown.is_none() {
            out.defects.extend(defects);
        }
    }
}

/// At most so many examples of a change, and where the interpreter says something else of them.
fn examples(
    pair: &Pair,
    change: &Change,
    most: usize,
    names: &BTreeMap<RuleId, String>,
) -> (Vec<Example>, Vec<Diagnostic>) {
    let [a, b] = pair.models;
    let none = BTreeMap::new();
    let (mut examples, mut defects) = (Vec::new(), Vec::new());
    let stride = change.boxes.len().div_ceil(most.max(1)).max(1);
    for region in change.boxes.iter().step_by(stride).take(most) {
        let point = a.plain(region);
        let witnesses = [a.witness(&point), b.witness(&point)];
        let chosen = |side: usize| {
            let fate = change.fates.get(side)?;
            let witness = witnesses.get(side)?;
            fate.choices
                .first()
                .and_then(|at| witness.choices.get(*at))
                .copied()
        };
        let (left, was) = observe(a, &witnesses[0], chosen(0), &none);
        let (right, is) = observe(b, &witnesses[1], chosen(1), names);
        // The interpreter is told one choice only.
        let single = change.fates.iter().all(|f| f.choices.len() < 2);
        if single && compare(&was, &is) != Some(change.kind) {
            defects.push(defect(pair, change, &was, &is));
        }
        examples.push(Example {
            point,
            witnesses,
            decisions: [left, right],
        });
    }
    (examples, defects)
}

fn defect(pair: &Pair, change: &Change, was: &Observed, is: &Observed) -> Diagnostic {
    let [_, b] = pair.models;
    let rule = change.rules[1].iter().find_map(|by| match by {
        Decider::Rule(id) => id.of(b.ir),
        _ => None,
    });
    let span = rule.map_or_else(crate::source::Span::default, |r| r.span);
    let title = format!(
        "the analysis says `{}`, and the interpreter {:?} and then {:?}",
        change.kind.title(),
        was.outcome,
        is.outcome
    );
    Diagnostic::error(Code::Internal, title, span)
        .help("this is a defect of polc: please report it with both policies")
}

#[cfg(test)]
mod tests;
