//! That a value is one of some.

use super::key::Key;
use crate::packet::IntervalSet;
use crate::target::nftables::tree::{Match, Values};

/// `key` is in `set`, in the shortest form.
pub(crate) fn among(key: Key, set: &IntervalSet<u64>, max: u64) -> Match {
    if key.style.is_bits()
        && let Some(test) = masked(key, set, max)
    {
        return test;
    }
    let rest = set.complement_below(max);
    let shorter = rest.ranges().len() < set.ranges().len() && !rest.is_empty();
    let (negate, set) = if shorter {
        (true, rest)
    } else {
        (false, set.clone())
    };
    Match::Test {
        key,
        negate,
        values: Values::Numbers(set),
    }
}

/// The set of bit patterns as `bits & mask == value` or its negation, when it is one.
fn masked(key: Key, set: &IntervalSet<u64>, max: u64) -> Option<Match> {
    let form = |set: &IntervalSet<u64>| {
        let (mut ones, mut zeros, mut count) = (max, max, 0u64);
        for value in set.ranges().iter().flat_map(|(a, b)| *a..=*b) {
            ones &= value;
            zeros &= !value;
            count += 1;
        }
        let mask = (ones | zeros) & max;
        (count > 0 && count == 1 << (max & !mask).count_ones()).then_some((mask, ones))
    };
    let test = |negate, (mask, value)| Match::Test {
        key,
        negate,
        values: if mask == max {
            Values::Numbers(IntervalSet::one(value))
        } else {
            Values::Masked { mask, value }
        },
    };
    form(set)
        .map(|parts| test(false, parts))
        .or_else(|| form(&set.complement_below(max)).map(|parts| test(true, parts)))
}
