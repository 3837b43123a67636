//! Which rules no test reaches.

use std::collections::BTreeSet;

use super::TestResult;
use crate::interpret::{Answer, Decision, RuleId, Step};
use crate::ir::{Ir, Stage};

/// The rules that tests reach, and those that none does. A rule is reached when it decides
/// something of a test's packet, or does what it does besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Rules that a test reaches, without defaults.
    pub reached: Vec<RuleId>,
    /// Rules that no test reaches, without defaults.
    pub missed: Vec<RuleId>,
    /// Defaults that a test reaches.
    pub reached_defaults: Vec<RuleId>,
    /// Defaults that no test reaches.
    pub missed_defaults: Vec<RuleId>,
}

/// What the tests with these results reach.
pub fn coverage(ir: &Ir, results: &[TestResult]) -> Coverage {
    let steps = results.iter().flat_map(|t| &t.steps);
    let reached: BTreeSet<RuleId> = steps.flat_map(|s| s.reached.iter().copied()).collect();
    let mut coverage = Coverage::default();
    for stage in Stage::ALL {
        for (index, rule) in ir.stage(stage).iter().enumerate() {
            let id = RuleId { stage, index };
            let list = match (reached.contains(&id), rule.is_default) {
                (true, false) => &mut coverage.reached,
                (false, false) => &mut coverage.missed,
                (true, true) => &mut coverage.reached_defaults,
                (false, true) => &mut coverage.missed_defaults,
            };
            list.push(id);
        }
    }
    coverage
}

/// The rules that took effect or decided something.
pub(super) fn reached<'d>(decisions: impl Iterator<Item = &'d Decision>) -> BTreeSet<RuleId> {
    let steps = decisions.flat_map(|d| &d.trace.steps);
    steps
        .filter_map(|step| match step {
            Step::Rule {
                rule,
                answer: Answer::Effects | Answer::Decides,
            } => Some(*rule),
            _ => None,
        })
        .collect()
}
