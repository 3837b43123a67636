//! Rules that let flows pass, and what stands in the way of flows.

use super::{Context, Opening, Origin, Question};
use crate::interpret::RuleId;
use crate::ir::{Cube, Rule, Stage, Verdict};
use crate::packet::cover::OutOfBudget;
use crate::packet::{Families, Region};

impl<'a> Context<'a> {
    /// The rules of filter that allow, and those of steer that admit without asking filter.
    pub fn admitting(&self) -> impl Iterator<Item = (RuleId, &'a Rule)> {
        let ir = self.ir;
        let admits = |stage: Stage, rule: &Rule| match (stage, &rule.verdict) {
            (Stage::Filter, verdict) => *verdict == Some(Verdict::Allow),
            (Stage::Steer, Some(Verdict::Redirect { .. } | Verdict::Proxy(_))) => true,
            (Stage::Steer, _) => rule.admit,
            _ => false,
        };
        let stages = [Stage::Steer, Stage::Filter].into_iter();
        stages.flat_map(move |stage| {
            let rules = ir.stage(stage).iter().enumerate();
            rules
                .filter(move |(_, rule)| admits(stage, rule))
                .map(move |(index, rule)| (RuleId { stage, index }, rule))
        })
    }

    /// Those of them behind which a flow still has its port: it is not for a proxy, nor
    /// redirected to another one.
    pub fn opening_ports(&self) -> impl Iterator<Item = (RuleId, &'a Rule)> {
        self.admitting().filter(|(_, rule)| {
            let verdict = rule.verdict.as_ref();
            !verdict.is_some_and(|v| {
                matches!(v, Verdict::Proxy(_) | Verdict::Redirect { port: Some(_) })
            })
        })
    }

    /// The packets of some cubes, as they arrive.
    pub fn regions(&self, stage: Stage, cubes: &[Cube]) -> Vec<Region> {
        let view = crate::analyse::model::View::of(stage);
        self.model().regions(cubes, view)
    }

    /// The first rule of filter with a verdict of some kind that flows among `asked` come to.
    pub fn first_with(
        &self,
        asked: &[Cube],
        is: impl Fn(&Verdict) -> bool,
    ) -> Result<Option<(RuleId, Opening)>, OutOfBudget> {
        let question = Question {
            origin: Origin::Anywhere,
            asked,
            empty: false,
        };
        for id in self.speaking(Stage::Filter, &self.regions(Stage::Filter, asked)) {
            let verdict = id.of(self.ir).and_then(|rule| rule.verdict.as_ref());
            if verdict.is_some_and(&is)
                && let Some(opening) = self.decided(id, question)?
            {
                return Ok(Some((id, opening)));
            }
        }
        Ok(None)
    }

    /// The first rule of guard, from an index on, with a verdict of some kind that packets among
    /// `asked` come to.
    pub fn first_of_guard(
        &self,
        asked: &[Region],
        from: usize,
        is: impl Fn(&Verdict) -> bool,
    ) -> Result<Option<(RuleId, Opening)>, OutOfBudget> {
        let speaking = self.speaking(Stage::Guard, asked).into_iter();
        for id in speaking.filter(|id| id.index >= from) {
            let verdict = id.of(self.ir).and_then(|rule| rule.verdict.as_ref());
            if verdict.is_some_and(&is)
                && let Some(opening) = self.decided_by_guard(id.index, asked)?
            {
                return Ok(Some((id, opening)));
            }
        }
        Ok(None)
    }

    /// The rule that refuses packets, when nothing lets any of them pass; `None` when something
    /// does, or nothing is known. Buckets have tokens for them.
    pub fn refusal(&self, asked: &[Cube]) -> Option<(RuleId, Opening)> {
        let arriving = self.regions(Stage::Guard, asked);
        if let Some(found) = self.first_of_guard(&arriving, 0, is_refusal).ok()?
            && self.first_of_guard(&arriving, 0, is_pass).ok()?.is_none()
        {
            return Some(found);
        }
        let passes = self.first_with(asked, is_pass).ok()?;
        if passes.is_some() {
            return None;
        }
        self.first_with(asked, is_refusal).ok()?
    }
}

/// Whether a verdict lets a packet pass.
pub(super) fn is_pass(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Allow | Verdict::Notrack)
}

/// Whether a verdict stops a packet.
pub(super) fn is_refusal(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Deny | Verdict::Reject(_))
}

/// What a rule that is limited to one family by nothing but `only`, or by all addresses of the
/// family, would mean for the other one; `None` when it is not, or has no counterpart there.
pub(super) fn mirror(rule: &Rule, from: Families) -> Option<Vec<Cube>> {
    use crate::field::{ICMP, ICMP_TYPE, ICMPV6};
    let all = |set: &crate::packet::AddrSet| {
        set.is_full()
            || if from.v4 {
                set.v4.is_full()
            } else {
                set.v6.is_full()
            }
    };
    let full = crate::packet::AddrSet::full;
    let mirrored = rule.cubes.iter().map(|cube| {
        let one_family = cube.families == from
            && [&cube.saddr, &cube.daddr, &cube.original]
                .into_iter()
                .all(all)
            && cube.field(ICMP_TYPE).is_none()
            && ![Some(ICMP), Some(ICMPV6)].contains(&cube.proto.single());
        one_family.then(|| Cube {
            families: Families::BOTH.minus(from),
            saddr: full(),
            daddr: full(),
            original: full(),
            ..cube.clone()
        })
    });
    mirrored.collect()
}
