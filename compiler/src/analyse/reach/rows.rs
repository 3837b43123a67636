//! The rules of a stage, prepared for many questions.
//!
//! The regions of a stage are alike in most dimensions, for its rules ask about few. Only those in
//! which some differ are kept: what holds in them holds in all.

use std::ops::Range;

use super::index::Index;
use crate::analyse::model::{Dim, Model, Source, View};
use crate::interpret::RuleId;
use crate::ir::{Cube, Rule, Side, Verdict};
use crate::packet::cover::OutOfBudget;
use crate::packet::{Region, Values};

/// A region of a line.
pub(super) struct Row {
    /// The line's place.
    pub(super) line: usize,
    /// Whether the line decides what it means.
    decides: bool,
    /// In the dimensions of [`Rows::dims`].
    pub(super) region: Region,
}

/// A rule, or a fact of the language.
pub(super) struct Line<'m> {
    pub(super) source: Source,
    pub(super) rule: Option<&'m Rule>,
    /// The places of its regions.
    pub(super) rows: Range<usize>,
}

/// What a line does with a packet, as far as it makes a difference to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action<'m> {
    /// It lets it pass.
    Pass,
    /// It drops it, with an answer or without.
    Refuse,
    /// Something else.
    Does(&'m Verdict),
    /// Nothing: the list goes on.
    Nothing,
}

/// The lines of a stage.
pub(super) struct Rows<'m> {
    pub(super) model: &'m Model<'m>,
    pub(super) lines: Vec<Line<'m>>,
    /// Their regions, in order.
    pub(super) all: Vec<Row>,
    index: Index,
    /// The dimensions in which some regions differ.
    dims: Vec<usize>,
    /// A region in all dimensions; `None` when there are no rows.
    pattern: Option<Region>,
}

impl Line<'_> {
    pub(super) fn is_default(&self) -> bool {
        self.rule.is_some_and(|rule| rule.is_default)
    }

    pub(super) fn id(&self) -> Option<RuleId> {
        match self.source {
            Source::Rule(id) => Some(id),
            Source::Fact(_) => None,
        }
    }
}

impl<'m> Line<'m> {
    pub(super) fn action(&self) -> Action<'m> {
        let Some(rule) = self.rule else {
            return Action::Pass;
        };
        match &rule.verdict {
            None => Action::Nothing,
            Some(Verdict::Allow) => Action::Pass,
            Some(Verdict::Deny | Verdict::Reject(_)) => Action::Refuse,
            Some(other) => Action::Does(other),
        }
    }
}

impl<'m> Rows<'m> {
    /// The lines of a stage: of each, the packets that there can be.
    pub(super) fn of(model: &'m Model<'m>, view: View) -> Result<Self, OutOfBudget> {
        let universe = model.universe(view.stage);
        let lo = loopback(model);
        let mut lines = Vec::new();
        let mut rows: Vec<Row> = Vec::new();
        for (at, line) in model.lines(view)?.into_iter().enumerate() {
            let first = rows.len();
            let rule = match line.source {
                Source::Rule(id) => id.of(model.ir),
                Source::Fact(_) => None,
            };
            for region in line.regions {
                let possible = universe.iter().filter_map(|u| region.intersection(u));
                let spoken = possible.filter_map(|r| without_loopback(model, rule, r, &lo));
                rows.extend(spoken.map(|region| Row {
                    line: at,
                    decides: rule.is_none_or(|rule| rule.verdict.is_some()),
                    region,
                }));
            }
            lines.push(Line {
                source: line.source,
                rule,
                rows: first..rows.len(),
            });
        }
        let pattern = rows.first().map(|row| row.region.clone());
        let dims = differing(&rows);
        for row in &mut rows {
            row.region = row.region.only(&dims);
        }
        let regions: Vec<&Region> = rows.iter().map(|row| &row.region).collect();
        let index = Index::of(&regions);
        Ok(Self {
            model,
            lines,
            all: rows,
            index,
            dims,
            pattern,
        })
    }

    /// A part of a row's region in all dimensions.
    pub(super) fn whole(&self, region: &Region) -> Region {
        let pattern = self.pattern.as_ref();
        pattern.map_or_else(
            || region.clone(),
            |pattern| pattern.with_only(&self.dims, region),
        )
    }

    /// The point of a region that reads best.
    pub(super) fn plain(&self, region: &Region) -> Vec<u128> {
        let point = self.model.plain(&self.whole(region));
        let numbers = self.dims.iter().filter_map(|at| point.get(*at));
        numbers.copied().collect()
    }

    pub(super) fn line(&self, at: usize) -> Option<&Line<'m>> {
        self.lines.get(at)
    }

    /// The line that the row at this place is of.
    pub(super) fn line_of(&self, row: usize) -> Option<&Line<'m>> {
        self.all.get(row).and_then(|row| self.lines.get(row.line))
    }

    pub(super) fn region(&self, row: usize) -> Option<&Region> {
        self.all.get(row).map(|row| &row.region)
    }

    /// The regions of a line.
    pub(super) fn regions(&self, line: &Line) -> impl Iterator<Item = &Region> {
        let rows = self.all.get(line.rows.clone()).unwrap_or_default();
        rows.iter().map(|row| &row.region)
    }

    /// The places of the rows before `end` that decide and meet a region.
    pub(super) fn deciding_before(&self, region: &Region, end: usize) -> Vec<usize> {
        let mut near = self.index.near(region, 0, end);
        near.retain(|row| self.decides(*row) && self.meets(*row, region));
        near
    }

    /// The places of the rows from `first` on that meet a region, each found when it is asked for.
    pub(super) fn behind<'s>(
        &'s self,
        region: &'s Region,
        first: usize,
    ) -> impl Iterator<Item = usize> + 's {
        let near = self.index.near(region, first, self.all.len());
        near.into_iter().filter(|row| self.meets(*row, region))
    }

    /// Whether the row at this place meets a region.
    pub(super) fn meets(&self, row: usize, region: &Region) -> bool {
        self.region(row).is_some_and(|r| r.intersects(region))
    }

    /// Whether the row at this place is of a line that decides.
    pub(super) fn decides(&self, row: usize) -> bool {
        self.all.get(row).is_some_and(|row| row.decides)
    }
}

/// The dimensions in which the regions are not all alike.
fn differing(rows: &[Row]) -> Vec<usize> {
    let Some((first, others)) = rows.split_first() else {
        return Vec::new();
    };
    let differ = |at: &usize| {
        let values = first.region.dim(*at);
        others.iter().any(|row| row.region.dim(*at) != values)
    };
    (0..first.region.dims().len()).filter(differ).collect()
}

/// The number of the loopback interface.
fn loopback(model: &Model) -> Values {
    let ifaces = &model.space.ifaces;
    let mut numbers = (1..).take_while(|number| ifaces.name(*number).is_some());
    Values::one(numbers.find(|n| ifaces.name(*n) == Some("lo")).unwrap_or(0))
}

/// The part of a region that a rule speaks of: loopback traffic only if the rule names `lo`, as the
/// way in of what comes in, or as the way out of what this machine sends.
fn without_loopback(
    model: &Model,
    rule: Option<&Rule>,
    region: Region,
    lo: &Values,
) -> Option<Region> {
    let names = |side: fn(&Cube) -> &Side| {
        let named = |side: &Side| side.ifaces.include().is_some() && side.ifaces.contains("lo");
        rule.is_none_or(|rule| rule.cubes.iter().any(|cube| named(side(cube))))
    };
    let without = |region: Region, dim: &Dim| {
        let rest = model.space.values(&region, dim)?.difference(lo)?;
        model.space.narrowed(&region, dim, &rest)
    };
    let mut region = region;
    if !names(|cube| &cube.ingress) {
        region = without(region, &Dim::Ingress)?;
    }
    if !names(|cube| &cube.egress) {
        region = without(region, &Dim::Egress)?;
    }
    Some(region)
}
