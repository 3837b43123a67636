//! Forms that several fields' tests have.

use super::{Condition, Found};
use crate::packet::IntervalSet;
use crate::target::Capability;
use crate::target::iptables::tree::Test;

/// The most alternatives of one field.
pub(super) const MOST: usize = 512;

pub(super) fn text(text: String) -> Test {
    Test::Text(text)
}

pub(super) fn not(negate: bool) -> &'static str {
    if negate { "! " } else { "" }
}

/// One alternative for each range.
pub(super) fn ranges(set: &IntervalSet<u64>, test: impl Fn(u64, u64) -> Test) -> Condition {
    let alternatives = set.ranges().iter();
    Condition::OneOf(alternatives.map(|(a, b)| vec![test(*a, *b)]).collect())
}

/// One test with all words of the set.
pub(super) fn words(set: &IntervalSet<u64>, words: &[&str], option: &str) -> Condition {
    let named = words.iter().zip(0..).filter(|(_, n)| set.contains(*n));
    let list: Vec<&str> = named.map(|(word, _)| *word).collect();
    if list.is_empty() {
        return Condition::Never;
    }
    Condition::OneOf(vec![vec![text(format!("{option} {}", list.join(",")))]])
}

/// Values one by one, or those that are not in the set.
pub(super) fn one_by_one(
    set: &IntervalSet<u64>,
    max: u64,
    test: impl Fn(bool, u64) -> Test,
) -> Found {
    let rest = set.complement_below(max);
    let values = |set: &IntervalSet<u64>| -> Result<Vec<u64>, Capability> {
        if set.count() > MOST as u128 {
            return Err(Capability::ManyValues);
        }
        Ok(numbers(set).collect())
    };
    if rest.count() < set.count() {
        let tests = values(&rest)?.into_iter().map(|v| test(true, v)).collect();
        return Ok(Condition::OneOf(vec![tests]));
    }
    let alternatives = values(set)?.into_iter().map(|v| vec![test(false, v)]);
    Ok(Condition::OneOf(alternatives.collect()))
}

pub(super) fn numbers(set: &IntervalSet<u64>) -> impl Iterator<Item = u64> {
    set.ranges().iter().flat_map(|(a, b)| *a..=*b)
}
