//! Rules whose rates depend on how many tokens a packet has taken before.

use super::fate::Fate;
use crate::analyse::model::{Dim, Model};
use crate::ir::{BucketId, Rule, Sense};
use crate::packet::Region;

/// A rule that a piece meets.
pub(super) struct Rates<'t, 'a> {
    pub(super) model: &'t Model<'a>,
    pub(super) rule: &'t Rule,
}

impl Rates<'_, '_> {
    /// The piece by what its rates answer, and whether the rule holds. The first rate that does not
    /// hold ends it; those before it have taken their tokens.
    pub(super) fn ask(&self, region: Region, fate: Fate) -> Vec<(Region, Fate, bool)> {
        if !self.model.counts(self.rule) {
            return vec![(region, fate, true)];
        }
        let mut out = Vec::new();
        let mut holding = vec![(region, fate)];
        for limit in &self.rule.limits {
            let mut next = Vec::new();
            for (region, fate) in holding {
                for (region, fate, answer) in self.take(limit.bucket, &region, &fate) {
                    if answer == limit.sense {
                        next.push((region, fate));
                    } else {
                        out.push((region, fate, false));
                    }
                }
            }
            holding = next;
        }
        out.extend(
            holding
                .into_iter()
                .map(|(region, fate)| (region, fate, true)),
        );
        out
    }

    /// The piece by whether the rule's entry in the log is written, which is the last of the fate.
    pub(super) fn log(&self, region: Region, fate: Fate) -> Vec<(Region, Fate)> {
        let at = self.rule.effects.log.as_ref().and_then(|log| log.at);
        let Some(bucket) = at.filter(|_| self.model.counts(self.rule)) else {
            return vec![(region, fate)];
        };
        let parts = self.take(bucket, &region, &fate).into_iter();
        let written = |(region, mut fate, answer): (Region, Fate, Sense)| {
            match answer {
                Sense::Within => {
                    if let Some(entry) = fate.logged.last_mut() {
                        entry.at = None;
                    }
                }
                Sense::Over => {
                    fate.logged.pop();
                    fate.effects_by.pop();
                }
            }
            (region, fate)
        };
        parts.map(written).collect()
    }

    /// The piece by what a bucket answers.
    fn take(&self, bucket: BucketId, region: &Region, fate: &Fate) -> Vec<(Region, Fate, Sense)> {
        let (model, space) = (self.model, &self.model.space);
        let Some(at) = model.bucket(bucket) else {
            return vec![(region.clone(), fate.clone(), Sense::Within)];
        };
        let taken = fate.taken.get(&at).copied().unwrap_or(0);
        let part = |sense| {
            let answers = space.supplied(at, taken, sense)?;
            let region = space.narrowed(region, &Dim::Tokens(at), &answers)?;
            let mut fate = fate.clone();
            if sense == Sense::Within && space.is_shared(at) {
                fate.taken.insert(at, taken + 1);
            }
            Some((region, fate, sense))
        };
        [Sense::Within, Sense::Over]
            .into_iter()
            .filter_map(part)
            .collect()
    }
}
