//! What buckets have for a packet that asks them more than once.
//!
//! A bucket that one place of a policy asks has a token for a packet, or none. One that several ask
//! loses a token at each of them, so that a packet may get the last one at the first place and none
//! at the second. Places are numbered from 1 in the order in which packets come to them. Whatever a
//! bucket has, a packet gets tokens first and none afterwards; so one number tells all answers:
//!
//! * Of a single policy it is how many places, from the first on, have a token. Places that a packet
//!   does not come to are among them, and make no difference.
//! * Two policies that are compared have other places each. There it is how many tokens there are,
//!   and who follows a packet counts those that it has taken.
//!
//! A limit of live flows takes nothing: it gives a packet the same answer everywhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Model;
use super::space::{Dim, Space};
use crate::interpret::{Ask, RuleId, Tokens};
use crate::ir::{Bucket, BucketId, Ir, KeyKind, Rate, Rule, Sense, Stage, Verdict};
use crate::packet::Values;

/// What the number of a bucket that several places ask stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counting {
    /// The places that have a token.
    Places,
    /// The tokens.
    Tokens,
}

/// The buckets of some policies.
#[derive(Clone, Debug)]
pub(super) struct Supply {
    pub(super) counting: Counting,
    /// How many places ask each of [`Space::buckets`]: of two policies, the larger number.
    pub(super) asks: Vec<u32>,
    /// Of a single policy, the names of the rules at these places.
    pub(super) names: Vec<Vec<Arc<str>>>,
}

/// Every place of a policy that asks a bucket, in the order in which packets come to them.
fn asks(ir: &Ir) -> impl Iterator<Item = (Ask, BucketId)> + '_ {
    Stage::ALL.into_iter().flat_map(|stage| {
        let rules = ir.stage(stage).iter().enumerate();
        rules.flat_map(move |(index, rule)| {
            let rule_id = RuleId { stage, index };
            let nth = move |(nth, bucket)| (Ask { rule: rule_id, nth }, bucket);
            rule.buckets().enumerate().map(nth)
        })
    })
}

impl Space {
    /// Counts who asks each bucket.
    pub(super) fn count_asks(&mut self, irs: &[&Ir]) {
        let mut most = vec![0; self.buckets.len()];
        for (policy, ir) in irs.iter().enumerate() {
            let mut own = vec![0u32; self.buckets.len()];
            for (_, bucket) in asks(ir) {
                let at = self.bucket(policy, bucket);
                if let Some(count) = at.and_then(|at| own.get_mut(at)) {
                    *count += 1;
                }
            }
            for (most, own) in most.iter_mut().zip(own) {
                *most = own.max(*most);
            }
        }
        self.supply.asks = most;
        if self.counts_tokens() {
            return;
        }
        let mut names = vec![Vec::new(); self.buckets.len()];
        for (policy, ir) in irs.iter().enumerate() {
            for (ask, bucket) in asks(ir) {
                let at = self.bucket(policy, bucket);
                let names = at.and_then(|at| names.get_mut(at));
                if let (Some(names), Some(rule)) = (names, ask.rule.of(ir)) {
                    names.push(Arc::clone(&rule.name));
                }
            }
        }
        self.supply.names = names;
    }

    /// Of a single policy, the name of the rule at a place that asks a bucket, counted from 1.
    pub fn place(&self, bucket: usize, place: u128) -> Option<&str> {
        let at = usize::try_from(place.checked_sub(1)?).ok()?;
        let name = self.supply.names.get(bucket)?.get(at)?;
        Some(name)
    }

    /// Whether several places ask a bucket of tokens.
    pub fn is_shared(&self, bucket: usize) -> bool {
        let takes = |b: &Bucket| !matches!(b.rate, Rate::Flows { .. });
        self.places(bucket) > 1 && self.buckets.get(bucket).is_some_and(takes)
    }

    /// Whether the numbers of shared buckets are tokens.
    pub fn counts_tokens(&self) -> bool {
        self.supply.counting == Counting::Tokens
    }

    fn places(&self, bucket: usize) -> u128 {
        self.supply.asks.get(bucket).copied().unwrap_or(0).into()
    }

    /// The largest number of a bucket: with it, it has all that a packet can ever get.
    pub(super) fn most_tokens(&self, bucket: usize) -> u128 {
        if !self.is_shared(bucket) {
            return 1;
        }
        let most = self.buckets.get(bucket).and_then(Bucket::most_asks);
        match most {
            Some(most) if self.counts_tokens() => self.places(bucket).min(most.into()),
            _ => self.places(bucket),
        }
    }

    /// The numbers of a bucket with which a packet that has taken `taken` tokens gets another one,
    /// or, `over`, gets none. `None` when there are none.
    pub(crate) fn supplied(&self, bucket: usize, taken: u128, sense: Sense) -> Option<Values> {
        let most = self.most_tokens(bucket);
        match sense {
            Sense::Within => (taken < most).then(|| Values::Range(taken + 1, most)),
            Sense::Over => Some(Values::Range(0, taken.min(most))),
        }
    }
}

impl Model<'_> {
    /// Numbers the places that ask shared buckets.
    pub(super) fn number_places(&mut self) {
        let mut places = BTreeMap::new();
        let mut next = vec![0u128; self.space.buckets.len()];
        for (ask, bucket) in asks(self.ir) {
            let at = self.bucket(bucket);
            let Some(at) = at.filter(|at| self.space.is_shared(*at)) else {
                continue;
            };
            if let Some(next) = next.get_mut(at) {
                places.insert(ask, *next);
                *next += 1;
            }
        }
        self.places = places;
    }

    /// The index of a bucket of the policy in the space.
    pub(crate) fn bucket(&self, bucket: BucketId) -> Option<usize> {
        self.space.bucket(self.side, bucket)
    }

    /// Whether what a rule means depends on how many tokens a packet has taken before: then its
    /// regions are without its rates.
    pub(crate) fn counts(&self, rule: &Rule) -> bool {
        let shared = |b: BucketId| self.bucket(b).is_some_and(|at| self.space.is_shared(at));
        self.space.counts_tokens() && rule.buckets().any(shared)
    }

    /// What a rate of a rule asks of its bucket's number: its dimension, and the answers with which
    /// it holds, if there are any.
    pub(super) fn rate(
        &self,
        ask: Ask,
        bucket: BucketId,
        sense: Sense,
    ) -> Option<(Dim, Option<Values>)> {
        let at = self.bucket(bucket)?;
        let before = self.places.get(&ask).copied().unwrap_or(0);
        Some((Dim::Tokens(at), self.space.supplied(at, before, sense)))
    }

    /// What a bucket of the policy has when its number is this.
    pub(super) fn tokens(&self, bucket: BucketId, number: u128) -> Tokens {
        let Some(at) = self.bucket(bucket) else {
            return Tokens::Enough;
        };
        let most = self.space.most_tokens(at);
        let limited = self.space.buckets.get(at).and_then(Bucket::most_asks);
        let places = self.space.places(at);
        if number == most && limited.is_none_or(|limit| u128::from(limit) >= places) {
            return Tokens::Enough;
        }
        if self.space.counts_tokens() || number == 0 {
            return Tokens::Left(u32::try_from(number).unwrap_or(u32::MAX));
        }
        let own = |(ask, _): &(Ask, BucketId)| self.places.get(ask) == Some(&number);
        let mut end = asks(self.ir).filter(|(_, b)| self.bucket(*b) == Some(at));
        // At no place there is none, but for those at which the bucket has given all.
        let behind_all = Ask {
            rule: RuleId {
                stage: Stage::Egress,
                index: usize::MAX,
            },
            nth: 0,
        };
        Tokens::Until(end.find(own).map_or(behind_all, |(ask, _)| ask))
    }

    /// Why the answers of buckets are not followed from place to place; `None` when they are.
    pub(super) fn lost_tokens(&self) -> Option<&'static str> {
        let dnat = |r: &Rule| matches!(r.verdict, Some(Verdict::Dnat(_)));
        let moves = self.ir.steer.iter().any(dnat);
        for (first, bucket) in asks(self.ir).filter(|_| moves) {
            let key = self.ir.buckets.get(bucket).and_then(|b| b.key);
            let by_dest = key.is_some_and(|k| k.kind != KeyKind::Source);
            let mut later = asks(self.ir).filter(|(ask, b)| *b == bucket && *ask > first);
            if by_dest && later.any(|(ask, _)| self.moves_between(first.rule, ask.rule)) {
                return Some("a rate by destination is asked before and behind `dnat`");
            }
        }
        for (id, bucket) in self.ir.buckets.iter().enumerate() {
            let at = self.bucket(id);
            let places = at.map_or(0, |at| self.space.places(at));
            let short = bucket
                .most_asks()
                .is_some_and(|most| u128::from(most) < places);
            if short && !self.space.counts_tokens() {
                return Some("a bucket is asked by more rules than it holds tokens");
            }
        }
        None
    }
}
