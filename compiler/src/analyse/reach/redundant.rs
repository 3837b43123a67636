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
    pub(super) fn redundant(&self, at: usize, line: &Line, around: &Around) -> Redundant {
        let Some(rule) = line.rule else {
            return Redundant::No;
        };
        // A rate takes tokens that others may want; a default is there to be the last word.
        if rule.is_default || rule.verdict.is_none() || !rule.limits.is_empty() {
            return Redundant::No;
        }
        let mut unknown = false;
        for ((region, before), after) in self.regions(line).zip(&around.before).zip(&around.after) {
            match self.changes(at, rule, region, before, after) {
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

    /// Whether some packets of a region of a rule come to something else without the rule.
    fn changes(
        &self,
        at: usize,
        rule: &Rule,
        region: &Region,
        before: &[usize],
        after: &[usize],
    ) -> Result<bool, OutOfBudget> {
        // What the rule's other rows mean is asked of them, and falls here to what they fall to.
        let others = after
            .iter()
            .copied()
            .filter(|row| self.rows.get(*row).is_some_and(|r| r.line != at));
        let others: Vec<usize> = others.collect();
        let mut unknown = false;
        for row in &others {
            let Some((line, other)) = self.line_of(*row).zip(self.region(*row)) else {
                continue;
            };
            if line.rule.is_some_and(|later| self.same(rule, later)) {
                continue;
            }
            let Some(both) = region.intersection(other) else {
                continue;
            };
            let earlier = before.iter().chain(others.iter().take_while(|o| *o < row));
            let decides = earlier.filter(|o| {
                self.line_of(**o).is_some_and(Line::decides)
                    && self.region(**o).is_some_and(|r| r.intersects(&both))
            });
            let earlier: Vec<usize> = decides.copied().collect();
            match self.leaves(&both, &earlier) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(OutOfBudget) => unknown = true,
            }
        }
        if unknown {
            return Err(OutOfBudget);
        }
        let deciding = before.iter().chain(&others).copied().collect();
        self.leaves(region, &self.deciding(deciding))
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
