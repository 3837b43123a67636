//! Filter: whether a flow to, through or from this host may be.

use std::ops::ControlFlow;

use super::decide::Passage;
use super::decision::{Fact, Outcome};
use crate::ir::{Stage, Verdict};

impl Passage<'_> {
    /// Filter sees the destination as steer has left it, and the source as it was before egress.
    /// It is not asked about flows that steer has admitted, nor about directions that the policy
    /// does not govern.
    pub(super) fn filter(&mut self) -> ControlFlow<Outcome> {
        if self.admitted {
            self.fact(Fact::Admitted);
            return ControlFlow::Continue(());
        }
        if !self.is_governed() {
            self.fact(Fact::NotGoverned);
            return ControlFlow::Continue(());
        }
        self.enter(Stage::Filter);
        let Some((id, verdict, _)) = self.first_match(Stage::Filter) else {
            if self.view.loopback {
                self.fact(Fact::Loopback);
                return ControlFlow::Continue(());
            }
            // A policy that compiles ends in a default.
            return ControlFlow::Break(Outcome::Deny);
        };
        self.decision.by = Some(id);
        match verdict {
            Verdict::Deny => ControlFlow::Break(Outcome::Deny),
            Verdict::Reject(reject) => ControlFlow::Break(Outcome::Reject(*reject)),
            _ => ControlFlow::Continue(()),
        }
    }
}
