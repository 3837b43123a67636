//! Egress: from which address a new flow leaves.

use super::decide::Passage;
use super::decision::{Fact, Sourced, Steered};
use super::packet::LOOPBACK;
use super::view::{Towards, Track};
use crate::ir::{Stage, Verdict};

impl<'a> Passage<'a> {
    /// Each new flow that leaves is asked about, forwarded or own. What no rule takes keeps its
    /// source. Packets that are not tracked have no flow whose source could be rewritten.
    pub(super) fn egress(&mut self) {
        let tracked = matches!(self.view.track, Track::Flow { .. });
        if self.settled || !tracked || self.view.egress == Towards::Host || self.proxy.is_some() {
            return;
        }
        self.decision.sourced = Some(Sourced::Own);
        if self.ir.egress.is_empty() {
            return;
        }
        self.enter(Stage::Egress);
        // Where a detour of this host's own leads is known by now.
        self.view.egress = self.leaves_by();
        self.view.loopback = self.view.egress == Towards::Iface(LOOPBACK);
        let Some((id, verdict, _)) = self.first_match(Stage::Egress) else {
            self.fact(if self.view.loopback {
                Fact::Loopback
            } else {
                Fact::Implied
            });
            return;
        };
        self.decision.sourced_by = Some(id);
        self.decision.sourced = Some(match verdict {
            Verdict::Masquerade => Sourced::Masquerade,
            Verdict::Snat(nat) => {
                let subject = self.subject(id, self.view.saddr);
                let record = self.state.flows.is_some();
                let chosen = self.state.turns.choose(nat, subject, record);
                chosen.map_or(Sourced::Own, |(addr, _)| Sourced::Snat(addr))
            }
            _ => Sourced::Own,
        });
    }

    /// The interface behind everything that steer did.
    fn leaves_by(&self) -> Towards<'a> {
        Towards::from(match self.decision.steered {
            Some(Steered::Dnat { .. } | Steered::Route { .. }) => &self.packet.detour,
            _ => &self.packet.egress,
        })
    }
}
