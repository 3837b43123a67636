//! The rules of a stage as regions.

use rayon::prelude::*;

use super::Model;
use super::memory::Memory;
use super::space::{V4, V6};
use super::view::{Tables, View};
use crate::field::META_MARK;
use crate::interpret::{Ask, Fact, RuleId};
use crate::ir::{Cube, Stage, Verdict};
use crate::packet::Region;
use crate::packet::cover::{Budget, OutOfBudget, subtract};

/// The fewest rules that are worth another processor.
const AT_LEAST: usize = 64;

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
            memory: Memory::NONE,
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
        let hulls = self.hulls();
        let rules = (0..self.ir.stage(stage).len()).into_par_iter();
        let rules = rules.with_min_len(AT_LEAST).map(|index| {
            let id = RuleId { stage, index };
            let mut regions = Vec::new();
            for hull in &hulls {
                self.rule_among_others(id, view, hull, &mut regions)?;
            }
            Ok(Line {
                source: Source::Rule(id),
                regions,
            })
        });
        lines.extend(rules.collect::<Result<Vec<_>, OutOfBudget>>()?);
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
        for hull in self.hulls() {
            self.rule_among_others(rule, view, &hull, &mut out)?;
        }
        Ok(out)
    }

    /// Every packet, by family.
    fn hulls(&self) -> [Region; 2] {
        FAMILIES.map(|family| self.space.all(family))
    }

    /// The packets that a rule may mean, whatever rules before it have left.
    pub(crate) fn rule_at_most(
        &self,
        rule: RuleId,
        view: View,
    ) -> Result<Vec<Region>, OutOfBudget> {
        let mut out = Vec::new();
        for hull in self.hulls() {
            self.rule_within(rule, view, Memory::ANY, &hull, &mut out)?;
        }
        Ok(out)
    }

    /// The packets of `hull`, which is of one family, that a rule means when they remember that.
    pub(crate) fn rule_within(
        &self,
        id: RuleId,
        view: View,
        memory: Memory,
        hull: &Region,
        out: &mut Vec<Region>,
    ) -> Result<(), OutOfBudget> {
        let Some(rule) = id.of(self.ir) else {
            return Ok(());
        };
        let marked = rule.cubes.iter().filter_map(|c| c.field(META_MARK));
        if marked.into_iter().any(|set| memory.unmarked(set).is_none()) {
            return Err(OutOfBudget);
        }
        let start = out.len();
        let tables = Tables {
            memory,
            ..self.tables()
        };
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
        self.across_stages().or_else(|| self.lost())
    }

    /// What nobody can follow in this policy who follows packets from stage to stage, with what they
    /// remember.
    pub(crate) fn lost(&self) -> Option<&'static str> {
        self.lost_keys().or_else(|| self.lost_tokens())
    }
}

/// Both families.
pub(super) const FAMILIES: [u128; 2] = [V4, V6];
