//! The rules of a stage as regions.

use super::Model;
use super::space::{V4, V6};
use super::view::{Tables, View};
use crate::field::{CT_MARK, Field, META_MARK};
use crate::interpret::{Ask, Fact, RuleId};
use crate::ir::{Atom, Cube, Rule, Stage, Verdict};
use crate::packet::Region;
use crate::packet::cover::{Budget, OutOfBudget, subtract};

/// What a line stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A rule.
    Rule(RuleId),
    /// A fact of the language.
    Fact(Fact),
}

/// The packets that one rule, or one fact of the language, means.
#[derive(Clone, Debug)]
pub struct Line {
    /// What means them.
    pub source: Source,
    /// The packets, as regions that may overlap.
    pub regions: Vec<Region>,
}

impl Line {
    /// The rule, when it is one.
    pub fn rule(&self) -> Option<RuleId> {
        match self.source {
            Source::Rule(id) => Some(id),
            Source::Fact(_) => None,
        }
    }
}

impl Model<'_> {
    pub(crate) fn tables(&self) -> Tables<'_> {
        Tables {
            space: &self.space,
            ir: self.ir,
        }
    }

    /// The lines of a stage in the order in which they are asked: the facts of the language that
    /// stand before the rules, and each rule, those without a verdict too.
    pub fn lines(&self, view: View) -> Result<Vec<Line>, OutOfBudget> {
        let mut lines = Vec::new();
        let mut fact = |fact, regions: Vec<Region>| {
            let source = Source::Fact(fact);
            if !regions.is_empty() {
                lines.push(Line { source, regions });
            }
        };
        if view.stage != Stage::Egress {
            fact(Fact::UnconditionalIcmp, self.unconditional_icmp(view.stage));
        }
        if view.stage == Stage::Steer {
            fact(Fact::ProxySocket, self.proxy_sockets());
        }
        let stage = view.stage;
        for index in 0..self.ir.stage(stage).len() {
            lines.push(Line {
                source: Source::Rule(RuleId { stage, index }),
                regions: self.rule(RuleId { stage, index }, view)?,
            });
        }
        Ok(lines)
    }

    /// The packets that any of the cubes means.
    pub fn regions(&self, cubes: &[Cube], view: View) -> Vec<Region> {
        let tables = self.tables();
        cubes.iter().flat_map(|c| tables.regions(c, view)).collect()
    }

    /// The packets that any of the cubes means, told apart by whether they enter the machine as
    /// fragments.
    pub fn meant(&self, cubes: &[Cube], view: View) -> Vec<Region> {
        let tables = self.tables();
        cubes.iter().flat_map(|c| tables.meant(c, view)).collect()
    }

    /// The packets that a rule means, with its rates; of two policies that are compared, without
    /// them if they depend on what the packet has taken before.
    pub fn rule(&self, rule: RuleId, view: View) -> Result<Vec<Region>, OutOfBudget> {
        let mut out = Vec::new();
        for family in FAMILIES {
            self.rule_within(rule, view, &self.space.all(family), &mut out)?;
        }
        Ok(out)
    }

    /// The packets of `hull`, which is of one family, that a rule means.
    pub(crate) fn rule_within(
        &self,
        id: RuleId,
        view: View,
        hull: &Region,
        out: &mut Vec<Region>,
    ) -> Result<(), OutOfBudget> {
        let Some(rule) = id.of(self.ir) else {
            return Ok(());
        };
        let start = out.len();
        let tables = self.tables();
        let proxy = match rule.verdict {
            Some(Verdict::Proxy(id)) => self.ir.proxies.get(id),
            _ => None,
        };
        for cube in &rule.cubes {
            let from = out.len();
            tables.within(cube, view, hull, out);
            if proxy.is_some() && !(cube.egress.host && cube.egress.ifaces.is_empty()) {
                let taken = out.split_off(from);
                out.extend(taken.iter().filter_map(|region| self.away(region)));
            }
        }
        let limits = rule.limits.iter().enumerate();
        for (nth, limit) in limits.filter(|_| !self.counts(rule)) {
            let ask = Ask { rule: id, nth };
            let Some((dim, answers)) = self.rate(ask, limit.bucket, limit.sense) else {
                continue;
            };
            let limited = out.split_off(start.min(out.len()));
            let narrowed = |r: &Region| self.space.narrowed(r, &dim, answers.as_ref()?);
            out.extend(limited.iter().filter_map(narrowed));
        }
        if let Some(proxy) = proxy.filter(|p| !p.bypass.is_empty()) {
            let own = Cube {
                ingress: crate::ir::Side::host(),
                ..Cube::any()
            };
            let mut bypass = Vec::new();
            for cube in proxy.bypass.iter().filter_map(|c| c.intersection(&own)) {
                tables.sides(&cube, view, hull, &mut bypass);
            }
            let bypass: Vec<&Region> = bypass.iter().collect();
            for region in out.split_off(start.min(out.len())) {
                out.extend(subtract(&region, &bypass, &mut Budget::default())?);
            }
        }
        Ok(())
    }

    /// What the model cannot follow in this policy; `None` when it follows everything.
    pub fn blind(&self) -> Option<&'static str> {
        let asks = |rule: &Rule, field: Field| rule.cubes.iter().any(|c| c.field(field).is_some());
        let mut marked = false;
        let mut added = Vec::new();
        for stage in Stage::ALL {
            let rules = self.ir.stage(stage);
            if marked && rules.iter().any(|r| asks(r, META_MARK) || asks(r, CT_MARK)) {
                return Some("a rule asks for a mark that an earlier stage may have set");
            }
            marked |= rules.iter().any(|r| r.effects.mark.is_some());
            marked |= rules
                .iter()
                .any(|r| matches!(r.verdict, Some(Verdict::Proxy(_))));
            for rule in rules {
                let asked = |atom: &Atom| match atom {
                    Atom::Dynamic { set, .. } => added.contains(set),
                    Atom::Principal(..) => false,
                };
                if rule.cubes.iter().flat_map(|c| c.atoms.keys()).any(asked) {
                    return Some("a rule asks for a key that an earlier rule may have added");
                }
                let ends = matches!(rule.verdict, Some(Verdict::Deny | Verdict::Reject(_)));
                added.extend(rule.effects.add.filter(|_| !ends));
            }
        }
        self.lost_tokens()
    }
}

/// Both families.
pub(super) const FAMILIES: [u128; 2] = [V4, V6];
