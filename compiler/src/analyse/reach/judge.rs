//! What is found out about one rule.

use std::collections::{BTreeMap, BTreeSet};

use super::cover::Left;
use super::rows::{Action, Line, Rows};
use super::{MOSTLY, Redundant, RuleReach, Status, Taken, WHOLE};
use crate::analyse::model::Source;
use crate::interpret::RuleId;
use crate::packet::Region;
use crate::packet::cover::OutOfBudget;

/// A line, and about how much of another one it means: the sum of what its regions do.
type Share = (usize, f64);

/// What a rule's rows meet.
pub(super) struct Around {
    /// For each of its rows, the earlier rows that decide and meet it.
    pub(super) before: Vec<Vec<usize>>,
}

impl<'m> Rows<'m> {
    /// What is known of the rule of a line.
    pub(super) fn judge(&self, line: &Line<'m>, id: RuleId, around: &Around) -> RuleReach {
        let mut out = RuleReach {
            id,
            status: Status::Unmatchable,
            blockers: Vec::new(),
            opposite: None,
            taken: Taken::Exactly(0),
            redundant: Redundant::No,
            duplicate_of: None,
            sample: self.regions(line).next().map(|region| self.whole(region)),
        };
        if line.rows.is_empty() {
            return out;
        }
        match self.hidden(line, around) {
            Err(OutOfBudget) => {
                out.status = Status::Unknown;
                out.taken = Taken::Unknown;
                out.redundant = Redundant::Unknown;
                out.sample = None;
            }
            Ok(Some(sample)) => {
                out.status = Status::Reached;
                out.sample = Some(self.whole(&sample));
                out.taken = self.taken(line, around);
                out.redundant = self.redundant(line, around);
                if matches!(out.taken, Taken::Exactly(share) if share >= MOSTLY) {
                    out.opposite = self.opposite(line, around, &self.shares(line, around));
                }
            }
            Ok(None) => {
                out.taken = Taken::Exactly(WHOLE);
                out.status = if line.is_default() {
                    Status::Closed
                } else {
                    Status::Unreachable
                };
                let shares = self.shares(line, around);
                out.blockers = self.blockers(line, around, &shares);
                out.opposite = self.opposite(line, around, &shares);
            }
        }
        out
    }

    /// Packets that come to the line; `None` when there are none.
    fn hidden(&self, line: &Line, around: &Around) -> Result<Option<Region>, OutOfBudget> {
        let mut unsure = false;
        for (region, before) in self.regions(line).zip(&around.before) {
            match self.left(region, before) {
                Ok(Left::Some(hole)) => return Ok(Some(hole)),
                Ok(Left::Nothing(_)) => {}
                Err(OutOfBudget) => unsure = true,
            }
        }
        if unsure { Err(OutOfBudget) } else { Ok(None) }
    }

    /// The earlier lines that are needed to hide a line, which is hidden.
    fn blockers(&self, line: &Line, around: &Around, shares: &[Share]) -> Vec<Source> {
        let ranks = shares.iter().enumerate();
        let ranks: BTreeMap<usize, usize> = ranks.map(|(rank, (line, _))| (*line, rank)).collect();
        let mut used = BTreeSet::new();
        for (region, before) in self.regions(line).zip(&around.before) {
            // The search takes the first of those that serve equally well.
            let mut before = before.clone();
            before.sort_by_cached_key(|row| {
                let line = self.all.get(*row).map(|row| row.line);
                line.and_then(|line| ranks.get(&line).copied())
            });
            if let Ok(Left::Nothing(proof)) = self.left(region, &before) {
                let rows = proof.used().into_iter().filter_map(|at| before.get(at));
                let rows = rows.filter_map(|row| self.all.get(*row));
                used.extend(rows.map(|row| row.line));
            }
        }
        let mut needed: Vec<usize> = shares.iter().map(|(line, _)| *line).collect();
        needed.retain(|line| used.contains(line));
        // The smallest are the first to be tried without.
        for candidate in needed.clone().into_iter().rev().filter(|_| used.len() > 1) {
            let rest: Vec<usize> = needed.iter().copied().filter(|n| *n != candidate).collect();
            if self.hides(&rest, line, around) {
                needed = rest;
            }
        }
        let sources = needed.into_iter().filter_map(|at| self.line(at));
        sources.map(|line| line.source).collect()
    }

    /// Whether some lines are enough to hide a line.
    fn hides(&self, lines: &[usize], line: &Line, around: &Around) -> bool {
        self.regions(line)
            .zip(&around.before)
            .all(|(region, before)| {
                let of = |row: &usize| self.all.get(*row).is_some_and(|r| lines.contains(&r.line));
                let some: Vec<usize> = before.iter().copied().filter(of).collect();
                matches!(self.leaves(region, &some), Ok(false))
            })
    }

    /// The earlier lines that meet a line, with how much of it they mean, the largest first.
    fn shares(&self, line: &Line, around: &Around) -> Vec<Share> {
        let mut shares: Vec<Share> = Vec::new();
        for (region, before) in self.regions(line).zip(&around.before) {
            let rows = before.iter().filter_map(|row| self.all.get(*row));
            shares.extend(rows.map(|row| (row.line, region.share(&row.region))));
        }
        shares.sort_by_key(|(line, _)| *line);
        shares.dedup_by(|next, sum| {
            let same = next.0 == sum.0;
            if same {
                sum.1 += next.1;
            }
            same
        });
        shares.sort_by(|a, b| b.1.total_cmp(&a.1));
        shares
    }

    /// The earlier line with another action that decides some of the line's packets: of several,
    /// the one that means most of them.
    fn opposite(&self, line: &Line<'m>, around: &Around, shares: &[Share]) -> Option<Source> {
        let own = line.action();
        if own == Action::Nothing {
            return None;
        }
        let different = |at: usize| self.line(at).is_some_and(|l| l.action() != own);
        let mut lines = shares.iter().map(|(at, _)| *at);
        lines
            .find(|at| different(*at) && self.decides_some(*at, line, around))
            .and_then(|at| self.line(at))
            .map(|line| line.source)
    }

    /// Whether the earlier line at `at` decides some of the line's packets.
    fn decides_some(&self, at: usize, line: &Line, around: &Around) -> bool {
        let place = |row: &usize| self.all.get(*row).map_or(usize::MAX, |r| r.line);
        self.regions(line)
            .zip(&around.before)
            .any(|(region, before)| {
                let (first, end) = (
                    before.partition_point(|row| place(row) < at),
                    before.partition_point(|row| place(row) <= at),
                );
                let earlier = before.get(..first).unwrap_or_default();
                let own = before.get(first..end).unwrap_or_default().iter();
                let mut shared = own.filter_map(|row| region.intersection(self.region(*row)?));
                shared.any(|both| {
                    let meeting = || earlier.iter().copied().filter(|e| self.meets(*e, &both));
                    self.shows(&both, earlier)
                        || matches!(self.leaves(&both, &meeting().collect::<Vec<_>>()), Ok(true))
                })
            })
    }
}
