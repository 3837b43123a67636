//! What two rules have to do with each other.

use rustc_hash::FxHashMap;

use super::rows::{Action, Line, Rows};
use crate::interpret::RuleId;
use crate::packet::Region;

/// The most conflicts that are listed.
const MOST_CONFLICTS: usize = 1000;

impl<'m> Rows<'m> {
    /// For each line, the first line before it with the same packets and the same action.
    pub(super) fn duplicates(&self) -> Vec<Option<RuleId>> {
        let mut seen: FxHashMap<Vec<&Region>, Vec<&Line>> = FxHashMap::default();
        let each = self.lines.iter().map(|line| {
            let rule = line.rule?;
            let mut regions: Vec<&Region> = self.regions(line).collect();
            regions.sort_unstable();
            regions.dedup();
            if regions.is_empty() {
                return None;
            }
            let known = seen.entry(regions).or_default();
            let first = known.iter().find(|other| {
                other.rule.is_some_and(|other| {
                    (&other.verdict, &other.limits, &other.effects, other.admit)
                        == (&rule.verdict, &rule.limits, &rule.effects, rule.admit)
                })
            });
            let first = first.and_then(|first| first.id());
            known.push(line);
            first
        });
        each.collect()
    }

    /// Adds the later lines with another action of which neither contains the other. `false` when
    /// there are too many.
    pub(super) fn conflicts(&self, line: &Line<'m>, out: &mut Vec<(RuleId, RuleId)>) -> bool {
        let own = line.action();
        let Some(id) = line.id() else { return true };
        if line.is_default() || own == Action::Nothing {
            return true;
        }
        let mut last = None;
        let behind = self
            .regions(line)
            .flat_map(|r| self.behind(r, line.rows.end));
        for row in behind {
            let Some(other) = self.line_of(row) else {
                continue;
            };
            let action = other.action();
            let (Some(other_id), false) = (other.id(), other.is_default()) else {
                continue;
            };
            if action == own || action == Action::Nothing || last == Some(other_id) {
                continue;
            }
            last = Some(other_id);
            let pair = (id, other_id);
            if out.contains(&pair) || self.inside(line, other) || self.inside(other, line) {
                continue;
            }
            if out.len() >= MOST_CONFLICTS {
                return false;
            }
            out.push(pair);
        }
        true
    }

    /// Whether all that a line means is meant by another one.
    fn inside(&self, line: &Line, other: &Line) -> bool {
        self.regions(line).all(|region| {
            let rows: Vec<usize> = other.rows.clone().collect();
            matches!(self.leaves(region, &rows), Ok(false))
        })
    }
}
