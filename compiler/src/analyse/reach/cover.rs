//! Whether rows cover a region: quick ways first.

use super::points::points;
use super::rows::Rows;
use crate::packet::Region;
use crate::packet::cover::{Budget, Certificate, Cover, OutOfBudget, cover};

/// About how many pairs of regions one search may compare.
const MOST_PAIRS: usize = 3_000_000;

/// How many points a quick look takes.
const FEW: usize = 4;

/// What rows leave of a region.
pub(super) enum Left {
    /// These packets, and maybe more.
    Some(Region),
    /// Nothing.
    Nothing(Certificate),
}

/// The budget of a search among so many regions.
pub(super) fn budget(regions: usize) -> Budget {
    let pieces = MOST_PAIRS / regions.max(1);
    Budget::new(pieces.clamp(200, 20_000) as u64)
}

impl Rows<'_> {
    /// What the rows, which meet the region, leave of it. The certificate's indices are indices
    /// into `by`.
    pub(super) fn left(&self, region: &Region, by: &[usize]) -> Result<Left, OutOfBudget> {
        let by: Vec<&Region> = by.iter().filter_map(|row| self.region(*row)).collect();
        if by.is_empty() {
            return Ok(Left::Some(region.clone()));
        }
        if let Some(at) = by.iter().position(|other| region.is_subset(other)) {
            return Ok(Left::Nothing(Certificate {
                parts: vec![(region.clone(), at)],
            }));
        }
        let plain = std::iter::once_with(|| self.plain(region));
        let mut tries = plain.chain(points(region));
        if let Some(point) = tries.find(|p| !by.iter().any(|other| other.contains(p))) {
            return Ok(Left::Some(Region::point(&point)));
        }
        match cover(region, &by, &mut budget(by.len()))? {
            Cover::Hole(hole) => Ok(Left::Some(hole)),
            // A proof that does not hold is none.
            Cover::Whole(proof) if proof.holds(region, &by) => Ok(Left::Nothing(proof)),
            Cover::Whole(_) => Err(OutOfBudget),
        }
    }

    /// Whether one of a few points of a region is in none of the rows: a quick look before they
    /// are even searched for those that meet it.
    pub(super) fn shows(&self, region: &Region, by: &[usize]) -> bool {
        let inside = |point: &[u128], row: &usize| {
            let region = self.region(*row);
            region.is_some_and(|region| region.contains(point))
        };
        let mut few = points(region).take(FEW);
        few.any(|point| !by.iter().any(|row| inside(&point, row)))
    }

    /// Whether some of the rows leave something of a region.
    pub(super) fn leaves(&self, region: &Region, by: &[usize]) -> Result<bool, OutOfBudget> {
        Ok(matches!(self.left(region, by)?, Left::Some(_)))
    }
}
