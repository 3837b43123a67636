//! Hosts in buckets, each of one line of the cache: one read, whatever the number.
//!
//! 192.0.2.1 is looked for in the one bucket that its hash selects, by comparing the sixteen keys in
//! it. Free entries of a bucket hold a key that belongs in another bucket, so that they never
//! match. The number of buckets is doubled until none overflows.

use super::super::draft::{Data, Draft};
use super::super::partition::Partition;
use super::super::plan::{Part, Slot, Step, Width, hash};
use super::{Estimate, Growth, Order, Results, StageKind, Unfit, part};

/// More numbers for each piece than this are not hosts.
const RUN: usize = 4;

/// The pieces that are not like most of the numbers, and the value of these.
struct Hosts {
    keys: Vec<(u128, u32)>,
    miss: u32,
}

impl Hosts {
    /// `None` when too many numbers differ.
    fn of(partition: &Partition) -> Option<Self> {
        let longest = partition
            .pieces()
            .max_by_key(|(first, last, _)| last - first);
        let miss = longest?.2;
        let mut keys = Vec::with_capacity(partition.count());
        for (first, last, value) in partition.pieces().filter(|piece| piece.2 != miss) {
            let room = (partition.count() * RUN).saturating_sub(keys.len());
            if last - first >= room as u128 {
                return None;
            }
            keys.extend((first..=last).map(|key| (key, value)));
        }
        Some(Self { keys, miss })
    }

    /// The value of all of them, if it is the same.
    fn same(&self) -> Option<u32> {
        let first = self.keys.first()?.1;
        let same = self.keys.iter().all(|(_, value)| *value == first);
        same.then_some(first)
    }
}

pub(super) fn estimate(partition: &Partition) -> Option<Estimate> {
    let hosts = Hosts::of(partition)?;
    Some(Estimate {
        kind: StageKind::Bucket,
        // About four hosts in a bucket of sixteen.
        bytes: hosts.keys.len().next_power_of_two() * 16,
        reads: 1,
    })
}

/// The words of a key, and how many keys are in a bucket.
fn layout(field: u16, bits: u8) -> (Vec<Part>, u8) {
    match bits {
        0..=32 => (vec![part(field, 0, bits)], 16),
        33..=64 => (vec![part(field, 0, bits)], 4),
        _ => (vec![part(field, 64, bits - 64), part(field, 0, 64)], 4),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "halves of the key")]
fn words(key: u128, count: u8) -> Vec<u64> {
    match count {
        1 => vec![key as u64],
        _ => vec![(key >> 64) as u64, key as u64],
    }
}

pub(super) fn build(draft: &mut Draft, order: Order<'_>) -> Result<Slot, Unfit> {
    let hosts = Hosts::of(order.partition).ok_or(Unfit::Hosts)?;
    let (parts, ways) = layout(order.field, order.partition.bits());
    let count = u8::try_from(parts.len()).unwrap_or(2);
    let filled = Filled::of(&hosts, count, ways, order.growth).ok_or(Unfit::Hosts)?;
    let keys = match order.partition.bits() {
        0..=32 => {
            let narrow = |key: &u64| u32::try_from(*key).unwrap_or_default();
            Data::of(filled.keys.iter().map(narrow).collect(), Width::U32)
        }
        _ => Data::wide(filled.keys),
    };
    let results = Results {
        largest: order.largest,
        references: 0,
    };
    // All have the same value, and will have.
    let same = match order.growth {
        Growth::Spare => (order.largest <= 1 && hosts.miss == 0).then_some(1),
        Growth::Fixed => hosts.same(),
    };
    let keys = draft.table(keys);
    let values = same
        .is_none()
        .then(|| draft.table(results.data(filled.values)));
    let to = draft.slot();
    draft.push(Step::Bucket {
        to,
        words: parts,
        keys,
        values,
        ways,
        buckets: filled.buckets,
        seed: filled.seed,
        hit: same.unwrap_or_default(),
        miss: hosts.miss,
    });
    Ok(to)
}

/// Buckets with their keys.
struct Filled {
    keys: Vec<u64>,
    values: Vec<u32>,
    buckets: u32,
    seed: u64,
}

impl Filled {
    /// Tries seeds, and then twice the buckets, until every key has a place.
    fn of(hosts: &Hosts, count: u8, ways: u8, growth: Growth) -> Option<Self> {
        let wanted = growth.room(hosts.keys.len(), 64) * 2 / usize::from(ways);
        let mut buckets = u32::try_from(wanted).ok()?.max(2).next_power_of_two();
        loop {
            for seed in 1..=2 {
                if let Some(filled) = Self::with(hosts, count, ways, buckets, seed) {
                    return Some(filled);
                }
            }
            // More than thirty-two for each host: this does not come out even.
            if buckets as usize > wanted.saturating_mul(64).max(1024) {
                return None;
            }
            buckets = buckets.checked_mul(2)?;
        }
    }

    fn with(hosts: &Hosts, count: u8, ways: u8, buckets: u32, seed: u64) -> Option<Self> {
        let entries = buckets as usize * usize::from(ways);
        let mut used = vec![0u8; buckets as usize];
        let mut places = Vec::with_capacity(hosts.keys.len());
        for (key, _) in &hosts.keys {
            let bucket = hash(seed, words(*key, count)) & u64::from(buckets - 1);
            let bucket = usize::try_from(bucket).ok()?;
            let way = used.get_mut(bucket).filter(|used| **used < ways)?;
            places.push(bucket * usize::from(ways) + usize::from(*way));
            *way += 1;
        }
        let mut filled = Self {
            keys: Vec::with_capacity(entries * usize::from(count)),
            values: vec![hosts.miss; entries],
            buckets: buckets - 1,
            seed,
        };
        for bucket in 0..buckets {
            let free = filler(seed, buckets - 1, bucket, count);
            (0..ways).for_each(|_| filled.keys.extend_from_slice(&free));
        }
        for ((key, value), entry) in hosts.keys.iter().zip(places) {
            let words = words(*key, count);
            let at = entry * words.len();
            filled
                .keys
                .get_mut(at..at + words.len())?
                .copy_from_slice(&words);
            *filled.values.get_mut(entry)? = *value;
        }
        Some(filled)
    }
}

/// The smallest key that is in another bucket: what free entries hold.
fn filler(seed: u64, buckets: u32, bucket: u32, count: u8) -> Vec<u64> {
    let elsewhere =
        |key: &Vec<u64>| hash(seed, key.iter().copied()) & u64::from(buckets) != u64::from(bucket);
    let keys = (0..).map(|key| words(key, count));
    keys.take(1 << 16).find(elsewhere).unwrap_or_default()
}
