//! Random packets of what has been proven, put to the interpreter.

use fastrand::Rng;

use super::{Prover, Shown, decide};
use crate::analyse::model::Moved;
use crate::analyse::ways::{Asked, Ending, Goal, Space};
use crate::packet::{Region, Values};

/// The same packets in every run.
const SEED: u64 = 0x706f_6c63;

impl Prover<'_> {
    /// A random packet whose outcome is wanted, although there should be none.
    pub(super) fn sample(&self, asked: Asked, goal: Goal) -> Option<Shown> {
        if self.effort.samples == 0 {
            return None;
        }
        let mut rng = Rng::with_seed(SEED);
        let spaces = self.ways.spaces(asked);
        let lines = self.ways.regions();
        let sizes: Vec<&Space> = spaces.iter().filter(|s| !s.packets.is_empty()).collect();
        for _ in 0..self.effort.samples {
            let space = pick(&mut rng, &sizes)?;
            let Some(packets) = pick(&mut rng, &space.packets) else {
                continue;
            };
            // Half of them in a region that some line is about: others are rarely met by chance.
            let line = pick(&mut rng, &lines).filter(|_| rng.bool());
            let both = line.and_then(|line| packets.intersection(line));
            let point = point(&mut rng, both.as_ref().unwrap_or(packets));
            if let Some(shown) = self.check(&point, &spaces, goal, &mut rng) {
                return Some(shown);
            }
        }
        None
    }

    /// The packet at a point, if it is one of those that have been asked about and its outcome is
    /// wanted.
    fn check(&self, point: &[u128], spaces: &[Space], goal: Goal, rng: &mut Rng) -> Option<Shown> {
        let model = self.ways.model;
        let witness = model.witness(point);
        let target = rng.usize(0..8);
        let decision = decide(model.ir, &witness, Some(target), false);
        if !goal.wants(Ending::of(&decision)) {
            return None;
        }
        let moved = Moved::by(&decision, model.ir);
        let untracked = decision.notrack || self.ways.is_never_tracked(point);
        let same = |s: &&Space| s.moved == moved && s.untracked == untracked;
        let space = spaces.iter().find(same)?;
        let asked = space.packets.iter().any(|r| r.contains(point));
        let excluded = space.excluded.iter().any(|r| r.contains(point));
        (asked && !excluded).then(|| Shown {
            decision: decide(model.ir, &witness, Some(target), true),
            witness,
            way: Vec::new(),
        })
    }
}

fn pick<'t, T>(rng: &mut Rng, from: &'t [T]) -> Option<&'t T> {
    let many = from.len();
    from.get(rng.usize(0..many.max(1)))
}

/// A random point, more often at the ends of ranges.
fn point(rng: &mut Rng, region: &Region) -> Vec<u128> {
    region.dims().iter().map(|d| number(rng, d)).collect()
}

fn number(rng: &mut Rng, values: &Values) -> u128 {
    let ranges = values.ranges();
    let (first, last) = pick(rng, &ranges).copied().unwrap_or((0, 0));
    match rng.u8(0..6) {
        0 => first,
        1 => last,
        2 => first.saturating_add(1).min(last),
        _ => rng.u128(first..=last),
    }
}
