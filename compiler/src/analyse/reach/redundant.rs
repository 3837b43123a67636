//! Rules that can be removed.

use super::Redundant;
use super::judge::Around;
use super::rows::{Line, Rows};
use crate::ir::Rule;
use crate::packet::Region;
use crate::packet::cover::OutOfBudget;

impl Rows<'_> {
    /// Whether the packets of a line that is reached all come to lines that do the same, once it
    /// is removed.
    pub(super) fn redundant(&self, line: &Line, around: &Around) -> Redundant {
        let Some(rule) = line.rule else {
            return Redundant::No;
        };
        // A rate takes tokens that others may want; a default is there to be the last word.
        if rule.is_default || rule.verdict.is_none() || !rule.limits.is_empty() {
            return Redundant::No;
        }
        let mut unknown = false;
        for (region, before) in self.regions(line).zip(&around.before) {
            match self.changes(rule, region, before, line.rows.end) {
                Ok(false) => {}
                Ok(true) => return Redundant::No,
                Err(OutOfBudget) => unknown = true,
            }
        }
        if unknown {
            Redundant::Unknown
        } else {
            Redundant::Yes
        }
    }

    /// Whether some packets of a region of a rule come to something else without the rule, in the
    /// rows from `end` on. Packets that other regions of the rule have, too, are among them.
    fn changes(
        &self,
        rule: &Rule,
        region: &Region,
        before: &[usize],
        end: usize,
    ) -> Result<bool, OutOfBudget> {
        let mut deciding = before.to_vec();
        let mut unknown = false;
        for row in self.behind(region, end) {
            let Some((line, other)) = self.line_of(row).zip(self.region(row)) else {
                continue;
            };
            if !line.rule.is_some_and(|later| self.same(rule, later))
                && let Some(both) = region.intersection(other)
            {
                if self.shows(&both, &deciding) {
                    return Ok(true);
                }
                let earlier = deciding.iter().copied().filter(|o| self.meets(*o, &both));
                match self.leaves(&both, &earlier.collect::<Vec<_>>()) {
                    Ok(true) => return Ok(true),
                    Ok(false) => {}
                    Err(OutOfBudget) => unknown = true,
                }
            }
            if self.decides(row) {
                deciding.push(row);
            }
        }
        if unknown {
            return Err(OutOfBudget);
        }
        self.leaves(region, &deciding)
    }

    /// Whether two rules do the same with a packet. What is written under a rule's own name is
    /// something else for every rule.
    fn same(&self, a: &Rule, b: &Rule) -> bool {
        let named = |rule: &Rule| {
            let log = rule.effects.log.as_ref();
            rule.effects.count || log.is_some_and(|log| log.text.is_none())
        };
        let stateless = |rule: &Rule| {
            let block = self.model.ir.blocks.get(rule.block);
            block.is_some_and(|block| block.stateless)
        };
        a.verdict == b.verdict
            && a.admit == b.admit
            && a.effects == b.effects
            && !(named(a) || named(b))
            && b.limits.is_empty()
            && stateless(a) == stateless(b)
    }
}
