//! A field's numbers, cut into pieces that are treated alike.
//!
//! The sets `10–19` and `15–29` of an 8-bit field cut it into 0–9, 10–14, 15–19, 20–29 and 30–255.
//! With a bit for each set the values are 0, 1, 3, 2 and 0.

use std::borrow::Cow;

use crate::packet::Values;

/// Consecutive pieces from 0 to the largest number, each with a value. Neighbours differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    bits: u8,
    starts: Vec<u128>,
    values: Vec<u32>,
}

impl Partition {
    /// One piece.
    pub fn constant(bits: u8, value: u32) -> Self {
        Self {
            bits: bits.clamp(1, 128),
            starts: vec![0],
            values: vec![value],
        }
    }

    /// Which of the sets a number is in: bit `i` of the value is for `sets[i]`. There can be 31.
    pub fn of_sets(bits: u8, sets: &[&Values]) -> Self {
        let mut turns = Vec::new();
        for (set, values) in (0u32..31).zip(sets) {
            self::turns(values, |at| turns.push((at, 1 << set)));
        }
        // Each set's turns are sorted already: a sort that merges sorted runs is fast.
        turns.sort_by_key(|(at, _)| *at);
        let mut out = Self::constant(bits, 0);
        let mut value = 0;
        for (at, set) in turns {
            value ^= set;
            out.cut(at, value);
        }
        out
    }

    /// From `at`, which is not smaller than any start so far, the value is another one.
    pub(super) fn cut(&mut self, at: u128, value: u32) {
        if at > u128::MAX >> (128 - u32::from(self.bits)) {
            return;
        }
        if self.starts.last() == Some(&at) {
            self.starts.pop();
            self.values.pop();
        }
        if self.values.last() != Some(&value) {
            self.starts.push(at);
            self.values.push(value);
        }
    }

    /// How wide the field is.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// The largest number.
    pub fn max(&self) -> u128 {
        u128::MAX >> (128 - u32::from(self.bits))
    }

    /// How many pieces there are.
    pub fn count(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is only one piece.
    pub fn is_constant(&self) -> bool {
        self.starts.len() == 1
    }

    /// The largest value.
    pub fn largest(&self) -> u32 {
        self.values.iter().copied().max().unwrap_or_default()
    }

    /// The smaller and the larger value, if there are two.
    pub(super) fn two_values(&self) -> Option<[u32; 2]> {
        let (low, high) = (self.values.iter().min()?, self.values.iter().max()?);
        let two = low < high && self.values.iter().all(|v| v == low || v == high);
        two.then_some([*low, *high])
    }

    /// First and last number and value of each piece, in order.
    pub fn pieces(&self) -> impl Iterator<Item = (u128, u128, u32)> {
        let ends = self.starts.iter().skip(1).map(|next| next - 1);
        let ends = ends.chain(std::iter::once(self.max()));
        let pieces = self.starts.iter().zip(ends).zip(&self.values);
        pieces.map(|((first, last), value)| (*first, last, *value))
    }

    /// The value of a number.
    pub fn at(&self, number: u128) -> u32 {
        let after = self.starts.partition_point(|start| *start <= number);
        let value = self.values.get(after.saturating_sub(1));
        value.copied().unwrap_or_default()
    }

    /// The same pieces with other values.
    #[must_use]
    pub fn map(&self, mut value: impl FnMut(u32) -> u32) -> Self {
        let mut out = Self {
            bits: self.bits,
            starts: Vec::with_capacity(self.count()),
            values: Vec::with_capacity(self.count()),
        };
        for (start, old) in self.starts.iter().zip(&self.values) {
            out.cut(*start, value(*old));
        }
        out
    }
}

/// The ranges of a set; a large one is not copied.
fn ranges(values: &Values) -> Cow<'_, [(u128, u128)]> {
    match values {
        Values::Range(first, last) => Cow::Owned(vec![(*first, *last)]),
        Values::Many(set) => Cow::Borrowed(set.ranges()),
    }
}

/// Calls `turn` with every number at which the set begins, and every one behind its ends.
pub(super) fn turns(values: &Values, mut turn: impl FnMut(u128)) {
    for (first, last) in ranges(values).iter() {
        turn(*first);
        last.checked_add(1).into_iter().for_each(&mut turn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::IntervalSet;

    #[test]
    fn sets_cut_a_field_into_pieces() {
        let sets = [Values::Range(10, 19), Values::Range(15, 29)];
        let cut = Partition::of_sets(8, &sets.iter().collect::<Vec<_>>());
        let pieces: Vec<_> = cut.pieces().collect();
        let expected = [
            (0, 9, 0),
            (10, 14, 1),
            (15, 19, 3),
            (20, 29, 2),
            (30, 255, 0),
        ];
        assert_eq!(pieces, expected);
        assert_eq!([9, 10, 255].map(|n| cut.at(n)), [0, 1, 0]);
        assert_eq!(cut.map(|v| v.min(1)).count(), 3);
    }

    #[test]
    fn the_ends_of_a_field_are_numbers_like_others() {
        let ends = IntervalSet::from_ranges(vec![(0u128, 0), (u128::MAX, u128::MAX)]);
        let cut = Partition::of_sets(128, &[&Values::Many(ends)]);
        assert_eq!(
            (cut.count(), cut.at(0), cut.at(1), cut.at(u128::MAX)),
            (3, 1, 0, 1)
        );
        let full = Partition::of_sets(8, &[&Values::Range(0, 255)]);
        assert!(full.is_constant() && full.at(7) == 1);
    }
}
