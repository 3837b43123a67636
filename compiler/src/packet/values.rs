//! Sets of numbers in one dimension of a [`Region`](super::Region). One range, by far the most
//! frequent, takes no memory of its own.

use num_bigint::BigUint;

use super::IntervalSet;
use super::interval::{Int, both, minus};

/// A set of numbers that is not empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Values<T = u128> {
    /// From the first to the last.
    Range(T, T),
    /// More than one range.
    Many(IntervalSet<T>),
}

impl Values {
    /// One number.
    pub fn one(value: u128) -> Self {
        Self::Range(value, value)
    }

    /// The numbers of a set; `None` when there are none.
    pub fn of<T: Int>(set: &IntervalSet<T>) -> Option<Self> {
        match set.ranges() {
            [] => None,
            [(first, last)] => Some(Self::Range(first.wide(), last.wide())),
            _ => Some(Self::Many(set.widened())),
        }
    }

    /// How many numbers there are in it.
    pub fn count(&self) -> BigUint {
        match self {
            Self::Range(first, last) => BigUint::from(last - first) + 1u8,
            // Ranges do not touch, so that the sum of their widths is smaller than 2^128.
            Self::Many(set) => {
                let widths: u128 = set.ranges().iter().map(|(a, b)| b - a).sum();
                BigUint::from(widths) + set.ranges().len()
            }
        }
    }

    /// About how many numbers there are in it.
    #[expect(clippy::cast_precision_loss, reason = "it is about as many")]
    fn size(&self) -> f64 {
        // Most widths have 64 bits, and those are much quicker to convert.
        let about = |n: u128| u64::try_from(n).map_or(n as f64, |n| n as f64);
        match self {
            Self::Range(first, last) => about(last - first) + 1.0,
            Self::Many(set) => {
                let widths: u128 = set.ranges().iter().map(|(a, b)| b - a).sum();
                about(widths) + set.ranges().len() as f64
            }
        }
    }

    /// About how much of it is in `other`, from 0 to 1.
    pub fn share(&self, other: &Self) -> f64 {
        if self.is_subset(other) {
            return 1.0;
        }
        self.intersection(other)
            .map_or(0.0, |both| both.size() / self.size())
    }
}

impl<T: Int> Values<T> {
    /// The numbers of ranges that are sorted, disjoint and not adjacent; `None` when there are none.
    pub(super) fn of_normal(ranges: Vec<(T, T)>) -> Option<Self> {
        match *ranges {
            [] => None,
            [(first, last)] => Some(Self::Range(first, last)),
            _ => Some(Self::Many(IntervalSet::of_normal(ranges))),
        }
    }

    /// The numbers of ranges in any order; `None` when there are none.
    pub(super) fn of_any(ranges: Vec<(T, T)>) -> Option<Self> {
        let set = IntervalSet::from_ranges(ranges);
        match *set.ranges() {
            [] => None,
            [(first, last)] => Some(Self::Range(first, last)),
            _ => Some(Self::Many(set)),
        }
    }

    /// What `work` makes of the ranges.
    pub(super) fn each<R>(&self, work: impl FnOnce(&[(T, T)]) -> R) -> R {
        match self {
            Self::Range(first, last) => work(&[(*first, *last)]),
            Self::Many(set) => work(set.ranges()),
        }
    }

    /// The ranges: sorted, disjoint, not adjacent, both ends included.
    pub fn ranges(&self) -> Vec<(T, T)> {
        match self {
            Self::Range(first, last) => vec![(*first, *last)],
            Self::Many(set) => set.ranges().to_vec(),
        }
    }

    /// The smallest and the largest.
    pub fn bounds(&self) -> (T, T) {
        match self {
            Self::Range(first, last) => (*first, *last),
            Self::Many(set) => {
                let (ranges, none) = (set.ranges(), (T::MIN, T::MIN));
                let (first, last) = (ranges.first().unwrap_or(&none), ranges.last());
                (first.0, last.unwrap_or(&none).1)
            }
        }
    }

    /// Whether the number is in it.
    pub fn contains(&self, value: T) -> bool {
        match self {
            Self::Range(first, last) => *first <= value && value <= *last,
            Self::Many(set) => set.contains(value),
        }
    }

    /// Whether the two share a number.
    #[inline]
    pub fn intersects(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Range(a, b), Self::Range(c, d)) => a <= d && c <= b,
            _ => self.intersects_ranges(other),
        }
    }

    /// As [`Values::intersects`], which is asked so often of single ranges that they get no call.
    fn intersects_ranges(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Many(many), Self::Range(a, b)) | (Self::Range(a, b), Self::Many(many)) => {
                let ranges = many.ranges();
                // Often the one range is wide, and begins before all of the others.
                if let Some((first, _)) = ranges.first().filter(|(first, _)| a <= first) {
                    return first <= b;
                }
                let at = ranges.partition_point(|(_, last)| last < a);
                ranges.get(at).is_some_and(|(first, _)| first <= b)
            }
            (Self::Many(a), Self::Many(b)) => a.intersects(b),
            (Self::Range(a, b), Self::Range(c, d)) => a <= d && c <= b,
        }
    }

    /// Whether all of it is in `other`.
    #[inline]
    pub fn is_subset(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Range(a, b), Self::Range(c, d)) => c <= a && b <= d,
            _ => self.is_subset_of_ranges(other),
        }
    }

    /// As [`Values::is_subset`].
    fn is_subset_of_ranges(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Range(a, b), Self::Many(many)) => {
                let ranges = many.ranges();
                let at = ranges.partition_point(|(_, last)| last < a);
                ranges.get(at).is_some_and(|(c, d)| c <= a && b <= d)
            }
            (Self::Many(a), Self::Many(b)) => a.is_subset(b),
            (_, Self::Range(c, d)) => {
                let (a, b) = self.bounds();
                *c <= a && b <= *d
            }
        }
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Range(a, b), Self::Range(c, d)) => {
                let (first, last) = (*a.max(c), *b.min(d));
                (first <= last).then_some(Self::Range(first, last))
            }
            (many @ Self::Many(_), range) | (range, many @ Self::Many(_))
                if many.is_subset(range) =>
            {
                Some(many.clone())
            }
            _ => Self::of_normal(self.each(|own| other.each(|part| both(own, part)))),
        }
    }

    /// What is in `self` and not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<Self> {
        if !self.intersects(other) {
            return Some(self.clone());
        }
        if let (Self::Range(a, b), Self::Range(c, d)) = (self, other) {
            let left = c.pred().filter(|last| a <= last).map(|last| (*a, last));
            let right = d.succ().filter(|first| first <= b).map(|first| (first, *b));
            return match (left, right) {
                (None, None) => None,
                (Some((a, b)), None) | (None, Some((a, b))) => Some(Self::Range(a, b)),
                (Some(left), Some(right)) => Some(Self::Many([left, right].into_iter().collect())),
            };
        }
        Self::of_normal(self.each(|own| other.each(|cut| minus(own, cut))))
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let ranges = self.ranges().into_iter().chain(other.ranges());
        Self::of_any(ranges.collect()).unwrap_or_else(|| self.clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Values;

    fn values() -> impl Strategy<Value = Values> {
        prop::collection::vec((0u128..40, 0u128..9), 1..5).prop_map(|ranges| {
            ranges
                .into_iter()
                .map(|(a, n)| Values::Range(a, a + n))
                .reduce(|a, b| a.union(&b))
                .unwrap()
        })
    }

    fn members(values: Option<&Values>) -> Vec<bool> {
        (0..60)
            .map(|n| values.is_some_and(|v| v.contains(n)))
            .collect()
    }

    proptest! {
        #[test]
        fn operations_are_those_of_sets(a in values(), b in values()) {
            let each = |f: fn(bool, bool) -> bool| -> Vec<bool> {
                (0..60).map(|n| f(a.contains(n), b.contains(n))).collect()
            };
            prop_assert_eq!(members(a.intersection(&b).as_ref()), each(|x, y| x && y));
            prop_assert_eq!(members(a.difference(&b).as_ref()), each(|x, y| x && !y));
            prop_assert_eq!(members(Some(&a.union(&b))), each(|x, y| x || y));
            prop_assert_eq!(a.intersects(&b), each(|x, y| x && y).contains(&true));
            prop_assert_eq!(a.is_subset(&b), !each(|x, y| x && !y).contains(&true));
            let (first, last) = a.bounds();
            prop_assert!(a.contains(first) && a.contains(last));
        }
    }
}
