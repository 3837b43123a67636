//! The lines of a stage, and an index to find the earlier ones that a packet can meet.

use crate::analyse::model::{Dim, Line, Model, Source, View};
use crate::field::DPORT;
use crate::packet::cover::OutOfBudget;
use crate::packet::{Region, Values};

/// The lines of a stage as a packet sees them that steer has treated in one way.
pub struct Lines {
    /// The lines: facts of the language, then the rules.
    pub lines: Vec<Line>,
    /// Of each region that decides: its line, and its place there.
    places: Vec<(usize, usize)>,
    by: Vec<Sorted>,
}

impl Lines {
    /// The lines of a view.
    pub fn of(model: &Model, view: View) -> Result<Self, OutOfBudget> {
        let lines = model.lines(view)?;
        let decides = |line: &Line| match line.source {
            Source::Rule(id) => id.of(model.ir).is_some_and(|r| r.verdict.is_some()),
            Source::Fact(_) => true,
        };
        let deciding = lines.iter().enumerate().filter(|(_, line)| decides(line));
        let places: Vec<_> = deciding
            .flat_map(|(at, line)| (0..line.regions.len()).map(move |place| (at, place)))
            .collect();
        let dims = [Dim::Source, Dim::Destination, Dim::Field(DPORT)];
        let by = dims.iter().filter_map(|dim| model.space.at(dim));
        let by = by.map(|at| Sorted::of(at, &lines, &places)).collect();
        Ok(Self { lines, places, by })
    }

    /// The line of a rule, by its index in the stage.
    pub fn line(&self, rule: usize) -> Option<(usize, &Line)> {
        let facts = self.lines.iter().take_while(|l| l.rule().is_none()).count();
        let at = facts + rule;
        Some((at, self.lines.get(at)?))
    }

    /// The regions of deciding lines before a line that share points with a region, in order.
    pub fn earlier(&self, line: usize, region: &Region) -> Vec<(usize, &Region)> {
        let best = self.by.iter().min_by_key(|by| by.count(region));
        let mut numbers = Vec::new();
        if let Some(best) = best {
            best.collect(region, &mut numbers);
        }
        numbers.sort_unstable();
        let places = numbers.iter().filter_map(|n| self.places.get(*n));
        places
            .take_while(|(at, _)| *at < line)
            .filter_map(|(at, place)| Some((*at, self.lines.get(*at)?.regions.get(*place)?)))
            .filter(|(_, other)| other.intersects(region))
            .collect()
    }
}

/// Regions in the order of where they begin in one dimension.
struct Sorted {
    /// The dimension.
    at: usize,
    /// Beginning, end and number of each.
    ranges: Vec<(u128, u128, usize)>,
    /// The ends in order.
    ends: Vec<u128>,
    /// The largest end below each node of a binary tree over `ranges`; the root is 1.
    tree: Vec<u128>,
}

impl Sorted {
    fn of(at: usize, lines: &[Line], places: &[(usize, usize)]) -> Self {
        let region = |(line, place): &(usize, usize)| lines.get(*line)?.regions.get(*place);
        let bounds = places
            .iter()
            .map(|p| region(p)?.dim(at).map(Values::bounds));
        let bounds = bounds.enumerate();
        let mut ranges: Vec<_> = bounds
            .filter_map(|(n, range)| range.map(|(first, last)| (first, last, n)))
            .collect();
        ranges.sort_unstable();
        let mut ends: Vec<u128> = ranges.iter().map(|r| r.1).collect();
        let leaves = ranges.len().next_power_of_two();
        let mut tree = vec![0; leaves];
        tree.extend(&ends);
        tree.resize(2 * leaves, 0);
        for node in (1..leaves).rev() {
            let below = tree.get(2 * node).max(tree.get(2 * node + 1)).copied();
            if let (Some(place), Some(largest)) = (tree.get_mut(node), below) {
                *place = largest;
            }
        }
        ends.sort_unstable();
        Self {
            at,
            ranges,
            ends,
            tree,
        }
    }

    fn bounds(&self, region: &Region) -> (u128, u128) {
        region.dim(self.at).map_or((0, u128::MAX), Values::bounds)
    }

    /// How many have a range that meets the region's.
    fn count(&self, region: &Region) -> usize {
        let (first, last) = self.bounds(region);
        let begun = self.ranges.partition_point(|r| r.0 <= last);
        begun.saturating_sub(self.ends.partition_point(|end| *end < first))
    }

    /// Adds the numbers of those.
    fn collect(&self, region: &Region, out: &mut Vec<usize>) {
        let (first, last) = self.bounds(region);
        let begun = self.ranges.partition_point(|r| r.0 <= last);
        let leaves = self.tree.len() / 2;
        // Each node with the first of its leaves and how many it has.
        let mut open = vec![(1, 0, leaves)];
        while let Some((node, from, wide)) = open.pop() {
            if from >= begun || self.tree.get(node).is_none_or(|end| *end < first) {
                continue;
            }
            if wide == 1 {
                out.extend(self.ranges.get(from).map(|r| r.2));
                continue;
            }
            let half = wide / 2;
            open.push((2 * node, from, half));
            open.push((2 * node + 1, from + half, half));
        }
    }
}
