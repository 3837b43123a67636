//! How much of a rule earlier rules take.

use num_bigint::BigUint;

use super::cover::budget;
use super::judge::Around;
use super::rows::{Line, Rows};
use super::{MOSTLY, Taken, WHOLE};
use crate::packet::Region;
use crate::packet::cover::{Budget, OutOfBudget, subtract};

/// The most earlier regions among which a share is worked out exactly.
const MOST_ROWS: usize = 400;

impl Rows<'_> {
    /// How much of the line earlier lines take: exactly where it is most of it.
    pub(super) fn taken(&self, line: &Line, around: &Around) -> Taken {
        if around.before.iter().all(Vec::is_empty) {
            return Taken::Exactly(0);
        }
        let own: Vec<&Region> = self.regions(line).collect();
        if apart(&own) {
            let most = own.iter().zip(&around.before).map(|(region, before)| {
                let rows = before.iter().filter_map(|row| self.region(*row));
                rows.map(|other| region.share(other)).sum::<f64>()
            });
            let most = most.fold(0.0, f64::max);
            if most < f64::from(MOSTLY) / f64::from(WHOLE) {
                return Taken::AtMost(millionths(most));
            }
        }
        self.exactly(&own, around).unwrap_or(Taken::Unknown)
    }

    fn exactly(&self, own: &[&Region], around: &Around) -> Result<Taken, OutOfBudget> {
        let (mut all, mut left) = (BigUint::ZERO, BigUint::ZERO);
        for (at, (region, before)) in own.iter().zip(&around.before).enumerate() {
            if before.len() > MOST_ROWS {
                return Err(OutOfBudget);
            }
            let earlier: Vec<&Region> = own.iter().copied().take(at).collect();
            for part in subtract(region, &earlier, &mut Budget::new(1_000))? {
                all += volume(&part);
                let by: Vec<&Region> = before.iter().filter_map(|r| self.region(*r)).collect();
                for piece in subtract(&part, &by, &mut budget(by.len() * 16))? {
                    left += volume(&piece);
                }
            }
        }
        let taken = (&all - &left) * WHOLE / all;
        Ok(u32::try_from(taken).map_or(Taken::Unknown, Taken::Exactly))
    }
}

fn volume(region: &Region) -> BigUint {
    region.volume(0..region.dims().len())
}

fn apart(regions: &[&Region]) -> bool {
    let mut pairs = regions.iter().enumerate();
    pairs.all(|(at, a)| !regions.iter().take(at).any(|b| a.intersects(b)))
}

/// A share from 0 to 1 in parts per million, rounded up.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is between 0 and a million"
)]
fn millionths(share: f64) -> u32 {
    (share.clamp(0.0, 1.0) * f64::from(WHOLE)).ceil() as u32
}
