//! The time of day.

use super::key::{Key, Style, key};
use super::{Asked, Condition};
use crate::packet::IntervalSet;

const HOUR: Key = key("meta hour", Style::Decimal);

/// Seconds of the day: numbers are not moved to the local time zone, as times are.
pub(super) fn hour(asked: &Asked) -> Condition {
    let seconds = hours_to_seconds(asked.set);
    asked.among(HOUR, &seconds, 24 * 3600 - 1)
}

fn hours_to_seconds(set: &IntervalSet<u64>) -> IntervalSet<u64> {
    set.ranges()
        .iter()
        .map(|(first, last)| (first * 3600, last * 3600 + 3599))
        .collect()
}
