//! Guard: every packet that arrives by an interface, without memory of others.

use std::ops::ControlFlow;

use super::decide::Passage;
use super::decision::{Fact, Outcome};
use super::facts;
use crate::field::IP_FRAGMENT;
use crate::ir::{Stage, Verdict};

impl Passage<'_> {
    /// Guard hands on or denies. Later fragments are judged here by themselves: they have no ports,
    /// flags or ICMP types, and questions about these are false.
    pub(super) fn guard(&mut self) -> ControlFlow<Outcome> {
        if self.ir.guard.is_empty() || !self.packet.arrives() {
            return ControlFlow::Continue(());
        }
        self.enter(Stage::Guard);
        self.view.loopback = self.packet.ingress.is_loopback();
        if !self.view.loopback && !self.ir.strict_icmp && facts::is_unconditional_icmp(self.packet)
        {
            self.fact(Fact::UnconditionalIcmp);
            return ControlFlow::Continue(());
        }
        match self.first_match(Stage::Guard) {
            None if self.view.loopback => self.fact(Fact::Loopback),
            None => self.fact(Fact::NotGuarded),
            Some((id, Verdict::Deny, _)) => {
                self.decision.by = Some(id);
                return ControlFlow::Break(Outcome::Deny);
            }
            // Fragments stay tracked, since only tracking puts them together.
            Some((_, Verdict::Notrack, _)) => {
                self.decision.notrack = self.view.field(IP_FRAGMENT) != Some(1);
            }
            Some(_) => {}
        }
        ControlFlow::Continue(())
    }
}
