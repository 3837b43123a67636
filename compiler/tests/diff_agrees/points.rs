//! Points of a space: corners of boxes and of rules, and what stands next to them.

use fastrand::Rng;
use polc_compiler::analyse::diff::Diff;
use polc_compiler::analyse::model::{Dim, Model, View};
use polc_compiler::ir::Stage;
use polc_compiler::packet::{Region, Values};

pub(crate) struct Points {
    /// Every packet that there can be.
    entering: Vec<Region>,
    /// The regions of rules.
    lines: Vec<Region>,
    /// Numbers at which something changes, by dimension.
    edges: Vec<Vec<u128>>,
    /// How many targets there are to choose from, by dimension.
    choices: Vec<Option<usize>>,
}

impl Points {
    pub(crate) fn new(a: &Model, b: &Model, diff: &Diff) -> Self {
        let mut lines = Vec::new();
        for model in [a, b] {
            for stage in Stage::ALL {
                // A stage that is too fine for that has no lines.
                for line in model.lines(View::of(stage)).unwrap_or_default() {
                    lines.extend(line.regions);
                }
            }
        }
        let dims = &a.space.dims;
        let boxes = diff.changes.iter().flat_map(|c| &c.boxes);
        let mut edges = vec![Vec::new(); dims.len()];
        for region in lines.iter().chain(boxes) {
            for (at, values) in region.dims().iter().enumerate() {
                for (first, last) in values.ranges() {
                    let around = |n: u128| [n.saturating_sub(1), n, n.saturating_add(1)];
                    edges[at].extend(around(first));
                    edges[at].extend(around(last));
                }
            }
        }
        for list in &mut edges {
            list.sort_unstable();
            list.dedup();
        }
        let choice = |dim: &Dim| match dim {
            Dim::Choice(at) => a.space.choices.get(*at).map(Vec::len),
            _ => None,
        };
        Self {
            entering: a.entering(),
            choices: dims.iter().map(choice).collect(),
            lines,
            edges,
        }
    }

    /// A point of a box.
    pub(crate) fn inside(&self, diff: &Diff, target: usize, rng: &mut Rng) -> Option<Vec<u128>> {
        if diff.changes.is_empty() {
            return None;
        }
        let change = &diff.changes[rng.usize(..diff.changes.len())];
        let region = &change.boxes[rng.usize(..change.boxes.len())];
        Some(self.point(region, target, rng))
    }

    /// A point near the corners of a rule.
    pub(crate) fn any(&self, target: usize, rng: &mut Rng) -> Option<Vec<u128>> {
        let mut region = self.entering[rng.usize(..self.entering.len())].clone();
        if !self.lines.is_empty() {
            let line = &self.lines[rng.usize(..self.lines.len())];
            for (at, values) in line.dims().iter().enumerate() {
                // One dimension in eight is not that of the rule.
                if rng.u8(..8) != 0
                    && let Some(both) = region.narrowed(at, values)
                {
                    region = both;
                }
            }
        }
        let point = self.point(&region, target, rng);
        self.entering
            .iter()
            .any(|r| r.contains(&point))
            .then_some(point)
    }

    fn point(&self, region: &Region, target: usize, rng: &mut Rng) -> Vec<u128> {
        let dims = region.dims().iter().enumerate();
        dims.map(|(at, values)| match self.choices[at] {
            Some(many) => (target % many) as u128,
            None => self.number(at, values, rng),
        })
        .collect()
    }

    fn number(&self, at: usize, values: &Values, rng: &mut Rng) -> u128 {
        let ranges = values.ranges();
        let (first, last) = ranges[rng.usize(..ranges.len())];
        if rng.u8(..4) != 0 {
            let edges = &self.edges[at];
            let from = edges.partition_point(|n| *n < first);
            let to = edges.partition_point(|n| *n <= last);
            if from < to {
                return edges[rng.usize(from..to)];
            }
        }
        match rng.u8(..3) {
            0 => first,
            1 => last,
            _ => rng.u128(first..=last),
        }
    }
}
