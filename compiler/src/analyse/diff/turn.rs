//! What a rule's verdict makes of a piece of the packet space.

use super::fate::{Decider, Fate, Goes, Source, socket};
use crate::analyse::model::{Dim, Model, Moved, V4};
use crate::field::IP_FRAGMENT;
use crate::interpret::{Fact, Outcome, RuleId};
use crate::ir::{Nat, NatTarget, Rule, Stage, Verdict};
use crate::packet::{Region, Values};

/// A rule decides about a piece.
pub(super) struct Turn<'t, 'a> {
    pub(super) model: &'t Model<'a>,
    pub(super) id: RuleId,
    pub(super) rule: &'t Rule,
}

impl Turn<'_, '_> {
    /// What becomes of the piece, in parts.
    pub(super) fn verdict(
        &self,
        verdict: &Verdict,
        region: Region,
        mut fate: Fate,
    ) -> Vec<(Region, Fate)> {
        let by = Decider::Rule(self.id);
        match self.id.stage {
            Stage::Guard => match verdict {
                Verdict::Deny => self.refuse(region, fate, Outcome::Deny),
                Verdict::Notrack => self.notrack(&region, fate),
                _ => vec![(region, fate)],
            },
            Stage::Steer => {
                fate.steered_by = by;
                self.steer(verdict, region, fate)
            }
            Stage::Filter => match verdict {
                Verdict::Deny => self.refuse(region, fate, Outcome::Deny),
                Verdict::Reject(kind) => self.refuse(region, fate, Outcome::Reject(*kind)),
                _ => {
                    fate.by = by;
                    vec![(region, fate)]
                }
            },
            Stage::Egress => {
                fate.sourced_by = by;
                self.source(verdict, region, fate)
            }
        }
    }

    fn refuse(&self, region: Region, mut fate: Fate, outcome: Outcome) -> Vec<(Region, Fate)> {
        fate.end = Some(outcome);
        fate.by = Decider::Rule(self.id);
        vec![(region, fate)]
    }

    /// Fragments stay tracked.
    fn notrack(&self, region: &Region, fate: Fate) -> Vec<(Region, Fate)> {
        let untracked = Fate {
            notrack: true,
            untracked: true,
            ..fate.clone()
        };
        let part = |value| {
            self.model
                .field_part(region, IP_FRAGMENT, &Values::one(value))
        };
        let parts = [(part(1), fate), (part(0), untracked)];
        parts
            .into_iter()
            .filter_map(|(region, fate)| Some((region?, fate)))
            .collect()
    }

    fn steer(&self, verdict: &Verdict, region: Region, mut fate: Fate) -> Vec<(Region, Fate)> {
        let space = &self.model.space;
        let tracked = !fate.untracked;
        match verdict {
            Verdict::Deny => return self.refuse(region, fate, Outcome::Deny),
            Verdict::Redirect { port } if tracked => {
                fate.goes = Goes::Redirect(*port);
                fate.admitted = true;
            }
            Verdict::Dnat(nat) if tracked => {
                let parts = self.targets(nat, region, fate);
                let goes = |(region, mut fate, target): (Region, Fate, NatTarget)| {
                    fate.goes = Goes::Dnat(target);
                    fate.moved = Moved::To(target);
                    fate.admitted = self.rule.admit;
                    self.admit(region, fate)
                };
                return parts.into_iter().flat_map(goes).collect();
            }
            Verdict::Proxy(id) => {
                if let Some(proxy) = self.model.ir.proxies.get(*id) {
                    fate.set_mark(proxy.mark, self.id.stage);
                    fate.goes = Goes::Proxy {
                        socket: socket(space.family(&region), proxy.v4, proxy.v6),
                        mark: proxy.mark,
                        table: proxy.table,
                        down: proxy.down,
                    };
                    fate.moved = Moved::Here;
                    fate.admitted = tracked;
                }
            }
            Verdict::Route { table } => {
                fate.goes = Goes::Route(*table);
                fate.moved = Moved::Routed;
                fate.admitted = self.rule.admit && tracked;
            }
            _ => fate.admitted = self.rule.admit && tracked,
        }
        self.admit(region, fate)
    }

    /// What steer admits must open a flow all the same.
    fn admit(&self, region: Region, mut fate: Fate) -> Vec<(Region, Fate)> {
        if !fate.admitted {
            return vec![(region, fate)];
        }
        fate.by = Decider::Rule(self.id);
        if !self.model.ir.strict_tcp {
            return vec![(region, fate)];
        }
        let mut out = Vec::new();
        let mut rest = vec![region];
        for not_syn in self.model.no_syn() {
            let mut left = Vec::new();
            for region in rest {
                left.extend(region.difference(&not_syn));
                if let Some(inside) = region.intersection(&not_syn) {
                    let mut fate = fate.clone();
                    fate.end = Some(Outcome::Deny);
                    fate.by = Decider::Fact(Fact::NotSyn);
                    out.push((inside, fate));
                }
            }
            rest = left;
        }
        out.extend(rest.into_iter().map(|region| (region, fate.clone())));
        out
    }

    fn source(&self, verdict: &Verdict, region: Region, mut fate: Fate) -> Vec<(Region, Fate)> {
        match verdict {
            Verdict::Masquerade => fate.source = Source::Masquerade,
            Verdict::Snat(nat) => {
                let parts = self.targets(nat, region, fate);
                let leaves = |(region, mut fate, target): (Region, Fate, NatTarget)| {
                    fate.source = Source::Snat(target);
                    (region, fate)
                };
                return parts.into_iter().map(leaves).collect();
            }
            _ => {}
        }
        vec![(region, fate)]
    }

    /// The piece by the targets that its packets can get. A family without a target keeps its
    /// address, and nothing is said of it: compiled policies have one for each family.
    fn targets(&self, nat: &Nat, region: Region, fate: Fate) -> Vec<(Region, Fate, NatTarget)> {
        let space = &self.model.space;
        let v4 = space.family(&region) == V4;
        let targets = if v4 { &nat.v4 } else { &nat.v6 };
        if let [target] = targets.as_slice() {
            return vec![(region, fate, *target)];
        }
        let Some(choice) = space.choices.iter().position(|c| c == targets) else {
            return Vec::new();
        };
        let part = |(index, target): (usize, &NatTarget)| {
            let chosen = Values::one(index as u128);
            let region = space.narrowed(&region, &Dim::Choice(choice), &chosen)?;
            let mut fate = fate.clone();
            fate.choices.push(choice);
            Some((region, fate, *target))
        };
        targets.iter().enumerate().filter_map(part).collect()
    }
}
