//! Exact sets of integers as sorted, disjoint, non-adjacent closed ranges.
//!
//! Every operation is linear in the number of ranges (building from unsorted ranges sorts once),
//! so sets of a hundred thousand addresses cost milliseconds. Clones share their ranges.

use std::fmt;
use std::sync::Arc;

/// An unsigned integer that a set can be made of.
pub trait Int: Copy + Ord + fmt::Debug + fmt::Display {
    /// The smallest value.
    const MIN: Self;
    /// The largest value.
    const MAX: Self;
    /// The next value; `None` past [`Int::MAX`].
    fn succ(self) -> Option<Self>;
    /// The value before; `None` below [`Int::MIN`].
    fn pred(self) -> Option<Self>;
    /// As the widest integer.
    fn wide(self) -> u128;
}

macro_rules! int {
    ($($t:ty),*) => {$(
        impl Int for $t {
            const MIN: Self = <$t>::MIN;
            const MAX: Self = <$t>::MAX;
            fn succ(self) -> Option<Self> { self.checked_add(1) }
            fn pred(self) -> Option<Self> { self.checked_sub(1) }
            fn wide(self) -> u128 { u128::from(self) }
        }
    )*};
}
int!(u32, u64);

impl Int for u128 {
    const MIN: Self = u128::MIN;
    const MAX: Self = u128::MAX;
    fn succ(self) -> Option<Self> {
        self.checked_add(1)
    }
    fn pred(self) -> Option<Self> {
        self.checked_sub(1)
    }
    fn wide(self) -> u128 {
        self
    }
}

/// A set of integers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IntervalSet<T> {
    ranges: Arc<[(T, T)]>,
}

impl<T: Int> IntervalSet<T> {
    /// The set without elements.
    pub fn empty() -> Self {
        Self {
            ranges: Arc::new([]),
        }
    }

    /// Every value of the type.
    pub fn full() -> Self {
        Self::range(T::MIN, T::MAX)
    }

    /// One value.
    pub fn one(value: T) -> Self {
        Self::range(value, value)
    }

    /// The closed range `first..=last`; empty when `last < first`.
    pub fn range(first: T, last: T) -> Self {
        if last < first {
            Self::empty()
        } else {
            Self {
                ranges: Arc::new([(first, last)]),
            }
        }
    }

    /// The union of closed ranges in any order; ranges with `last < first` are empty.
    pub fn from_ranges(mut ranges: Vec<(T, T)>) -> Self {
        ranges.retain(|(first, last)| first <= last);
        ranges.sort_unstable();
        Self::from_sorted(ranges)
    }

    /// The elements of ranges that are sorted, disjoint and not adjacent.
    pub(super) fn of_normal(ranges: Vec<(T, T)>) -> Self {
        Self {
            ranges: ranges.into(),
        }
    }

    /// Merges ranges sorted by their first value.
    fn from_sorted(ranges: impl IntoIterator<Item = (T, T)>) -> Self {
        let mut out: Vec<(T, T)> = Vec::new();
        for (first, last) in ranges {
            match out.last_mut() {
                Some(open) if first <= open.1 || open.1.succ() == Some(first) => {
                    open.1 = open.1.max(last);
                }
                _ => out.push((first, last)),
            }
        }
        Self { ranges: out.into() }
    }

    /// The same numbers in the widest type.
    pub fn widened(&self) -> IntervalSet<u128> {
        let ranges = self.ranges.iter().map(|(a, b)| (a.wide(), b.wide()));
        IntervalSet {
            ranges: ranges.collect(),
        }
    }

    /// The ranges: sorted, disjoint, not adjacent, both ends included.
    pub fn ranges(&self) -> &[(T, T)] {
        &self.ranges
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether it has every value of the type.
    pub fn is_full(&self) -> bool {
        *self.ranges == [(T::MIN, T::MAX)]
    }

    /// The only element, if there is exactly one.
    pub fn single(&self) -> Option<T> {
        match *self.ranges {
            [(first, last)] if first == last => Some(first),
            _ => None,
        }
    }

    /// How many elements; saturates at `u128::MAX`.
    pub fn count(&self) -> u128 {
        self.ranges.iter().fold(0u128, |n, (first, last)| {
            n.saturating_add(last.wide() - first.wide())
                .saturating_add(1)
        })
    }

    /// Whether `value` is an element.
    pub fn contains(&self, value: T) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= value);
        after
            .checked_sub(1)
            .and_then(|i| self.ranges.get(i))
            .is_some_and(|r| value <= r.1)
    }

    /// Elements of either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        if self.is_empty() {
            return other.clone();
        }
        if other.is_empty() {
            return self.clone();
        }
        Self::from_ranges(
            self.ranges
                .iter()
                .chain(other.ranges.iter())
                .copied()
                .collect(),
        )
    }

    /// Elements of both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        if self.is_full() {
            return other.clone();
        }
        if other.is_full() {
            return self.clone();
        }
        Self::of_normal(both(&self.ranges, &other.ranges))
    }

    /// Values of the type that are no elements.
    #[must_use]
    pub fn complement(&self) -> Self {
        self.complement_below(T::MAX)
    }

    /// Values up to and including `max` that are no elements.
    #[must_use]
    pub fn complement_below(&self, max: T) -> Self {
        let mut out = Vec::with_capacity(self.ranges.len() + 1);
        let mut next = Some(T::MIN);
        for (first, last) in self.ranges.iter().copied() {
            let Some(start) = next.filter(|n| *n <= max) else {
                break;
            };
            if let Some(end) = first.pred()
                && start <= end
            {
                out.push((start, end.min(max)));
            }
            next = last.succ();
        }
        if let Some(start) = next
            && start <= max
        {
            out.push((start, max));
        }
        Self { ranges: out.into() }
    }

    /// Elements of `self` that are not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        if other.is_empty() || self.is_empty() {
            return self.clone();
        }
        Self::of_normal(minus(&self.ranges, &other.ranges))
    }

    /// Whether the two share an element.
    pub fn intersects(&self, other: &Self) -> bool {
        let (mut left, mut right) = (self.ranges.iter(), other.ranges.iter());
        let (mut a, mut b) = (left.next(), right.next());
        while let (Some(x), Some(y)) = (a, b) {
            if x.0 <= y.1 && y.0 <= x.1 {
                return true;
            }
            if x.1 < y.1 {
                a = left.next();
            } else {
                b = right.next();
            }
        }
        false
    }

    /// Whether every element is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        // Ranges do not touch, so that each has to be inside of a single one.
        let mut others = other.ranges.iter();
        let mut at = others.next();
        self.ranges.iter().all(|(first, last)| {
            while at.is_some_and(|(_, end)| end < last) {
                at = others.next();
            }
            at.is_some_and(|(begin, _)| begin <= first)
        })
    }
}

/// What is in ranges of both lists.
pub(super) fn both<T: Int>(left: &[(T, T)], right: &[(T, T)]) -> Vec<(T, T)> {
    if let ([(begin, end)], many) | (many, [(begin, end)]) = (left, right) {
        let (_, rest) = many.split_at(many.partition_point(|(_, last)| last < begin));
        let (inside, _) = rest.split_at(rest.partition_point(|(first, _)| first <= end));
        let inside = inside
            .iter()
            .map(|(first, last)| (*first.max(begin), *last.min(end)));
        return inside.collect();
    }
    let mut out = Vec::new();
    let (mut left, mut right) = (left.iter(), right.iter());
    let (mut a, mut b) = (left.next(), right.next());
    while let (Some(x), Some(y)) = (a, b) {
        let (first, last) = (x.0.max(y.0), x.1.min(y.1));
        if first <= last {
            out.push((first, last));
        }
        if x.1 < y.1 {
            a = left.next();
        } else {
            b = right.next();
        }
    }
    out
}

/// What is in ranges of the first list and in none of the second.
pub(super) fn minus<T: Int>(own: &[(T, T)], cuts: &[(T, T)]) -> Vec<(T, T)> {
    if let [(begin, end)] = cuts {
        return minus_one(own, *begin, *end);
    }
    let mut out = Vec::with_capacity(own.len() + 1);
    let mut cuts = cuts.iter().peekable();
    for (first, last) in own {
        let mut next = Some(*first);
        while let Some((begin, end)) = cuts.peek().filter(|cut| cut.0 <= *last) {
            if let (Some(start), Some(before)) = (next, begin.pred())
                && start <= before
            {
                out.push((start, before));
            }
            if end >= first {
                next = end.succ();
            }
            // It may cut the next range, too.
            if end > last {
                break;
            }
            cuts.next();
        }
        if let Some(start) = next.filter(|start| start <= last) {
            out.push((start, *last));
        }
    }
    out
}

/// What is in ranges and not from `begin` to `end`.
fn minus_one<T: Int>(own: &[(T, T)], begin: T, end: T) -> Vec<(T, T)> {
    let (before, rest) = own.split_at(own.partition_point(|(_, last)| *last < begin));
    let (cut, behind) = rest.split_at(rest.partition_point(|(first, _)| *first <= end));
    let mut out = Vec::with_capacity(own.len() + 1);
    out.extend_from_slice(before);
    if let (Some((first, _)), Some(last)) = (cut.first(), begin.pred())
        && *first <= last
    {
        out.push((*first, last));
    }
    if let (Some((_, last)), Some(first)) = (cut.last(), end.succ())
        && first <= *last
    {
        out.push((first, *last));
    }
    out.extend_from_slice(behind);
    out
}

impl<T: Int> FromIterator<(T, T)> for IntervalSet<T> {
    fn from_iter<I: IntoIterator<Item = (T, T)>>(iter: I) -> Self {
        Self::from_ranges(iter.into_iter().collect())
    }
}

impl<T: fmt::Debug> fmt::Debug for IntervalSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.ranges.iter().map(|(a, b)| a..=b))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A small universe, so that the model is a plain list of booleans.
    fn small() -> impl Strategy<Value = IntervalSet<u32>> {
        proptest::collection::vec((0u32..64, 0u32..64), 0..8).prop_map(IntervalSet::from_ranges)
    }

    fn model(set: &IntervalSet<u32>) -> Vec<bool> {
        (0..80).map(|n| set.contains(n)).collect()
    }

    fn normal(set: &IntervalSet<u32>) -> bool {
        set.ranges().iter().all(|(a, b)| a <= b)
            && set.ranges().windows(2).all(|w| w[0].1 + 1 < w[1].0)
    }

    proptest! {
        #[test]
        fn operations_agree_with_the_model(a in small(), b in small()) {
            let (ma, mb) = (model(&a), model(&b));
            let zip = |f: fn(bool, bool) -> bool| -> Vec<bool> {
                ma.iter().zip(&mb).map(|(x, y)| f(*x, *y)).collect()
            };
            for set in [a.union(&b), a.intersection(&b), a.difference(&b)] {
                prop_assert!(normal(&set));
            }
            prop_assert_eq!(model(&a.union(&b)), zip(|x, y| x || y));
            prop_assert_eq!(model(&a.intersection(&b)), zip(|x, y| x && y));
            prop_assert_eq!(model(&a.difference(&b)), zip(|x, y| x && !y));
            prop_assert_eq!(model(&a.complement()), zip(|x, _| !x));
            prop_assert_eq!(a.intersects(&b), zip(|x, y| x && y).contains(&true));
            prop_assert_eq!(a.is_subset(&b), !zip(|x, y| x && !y).contains(&true));
            prop_assert_eq!(a.complement().complement(), a.clone());
            prop_assert_eq!(a.count(), ma.iter().filter(|x| **x).count() as u128);
        }
    }

    #[test]
    fn the_ends_of_the_type_are_values_like_others() {
        let full = IntervalSet::<u128>::full();
        assert!(full.is_full() && full.complement().is_empty());
        assert_eq!(full.count(), u128::MAX);
        assert_eq!(
            IntervalSet::one(0u32).complement(),
            IntervalSet::range(1, u32::MAX)
        );
        let (low, high) = (IntervalSet::one(0u64), IntervalSet::one(u64::MAX));
        let full = IntervalSet::<u64>::full();
        let inner = full.difference(&low).difference(&high);
        assert_eq!(inner.ranges(), [(1, u64::MAX - 1)]);
        assert_eq!(full.difference(&inner), low.union(&high));
        assert_eq!(
            IntervalSet::from_ranges(vec![(0u32, 4), (5, 9)]).ranges(),
            [(0, 9)]
        );
        assert_eq!(
            IntervalSet::range(3u64, 5).complement_below(7).ranges(),
            [(0, 2), (6, 7)]
        );
        assert_eq!(
            IntervalSet::range(3u64, 9).complement_below(7).ranges(),
            [(0, 2)]
        );
    }
}
