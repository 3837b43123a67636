//! Sets of rows as vectors of bits: {1, 64} of 100 rows is the two words 2 and 1.

/// A set of numbers below a limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bits(Box<[u64]>);

impl Bits {
    /// None of `limit` numbers.
    pub(super) fn none(limit: usize) -> Self {
        Self(vec![0; limit.div_ceil(64).max(1)].into())
    }

    /// These of `limit` numbers.
    pub(super) fn of(limit: usize, numbers: impl IntoIterator<Item = usize>) -> Self {
        let mut bits = Self::none(limit);
        numbers.into_iter().for_each(|n| bits.set(n));
        bits
    }

    /// Adds a number.
    pub(super) fn set(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    /// Takes the numbers of the other away, and says whether it had any of them.
    pub(super) fn remove(&mut self, other: &Self) -> bool {
        let mut had = 0;
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            had |= *word & other;
            *word &= !other;
        }
        had != 0
    }

    /// The numbers of both, as a set.
    #[must_use]
    pub(super) fn both(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect())
    }

    /// The words.
    pub(super) fn words(&self) -> &[u64] {
        &self.0
    }

    /// The words that are not 0, with their places.
    pub(super) fn sparse(&self) -> Sparse {
        let words = self.0.iter().copied().enumerate();
        Sparse(words.filter(|(_, word)| *word != 0).collect())
    }

    /// The numbers, in order.
    pub(super) fn ones(&self) -> impl Iterator<Item = usize> {
        ones(self.0.iter().copied().enumerate())
    }
}

/// A set of few numbers, to be compared with many sets.
pub(super) struct Sparse(Vec<(usize, u64)>);

impl Sparse {
    /// The numbers of both, in order.
    pub(super) fn common(&self, other: &Bits) -> impl Iterator<Item = usize> {
        let word = |at: usize| other.0.get(at).copied().unwrap_or_default();
        ones(self.0.iter().map(move |(at, own)| (*at, own & word(*at))))
    }
}

fn ones(words: impl Iterator<Item = (usize, u64)>) -> impl Iterator<Item = usize> {
    words.flat_map(|(at, word)| {
        let rest = |word: &u64| Some(word & (word - 1)).filter(|word| *word != 0);
        let first = Some(word).filter(|word| *word != 0);
        let words = std::iter::successors(first, rest);
        words.map(move |word| at * 64 + word.trailing_zeros() as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_in_order() {
        let (a, b) = (Bits::of(100, [64, 1, 99]), Bits::of(100, [99, 1, 2]));
        assert_eq!(a.words(), [2, 1 | 1 << 35]);
        assert_eq!(a.ones().collect::<Vec<_>>(), [1, 64, 99]);
        assert_eq!(a.sparse().common(&b).collect::<Vec<_>>(), [1, 99]);
        let mut rest = a.clone();
        assert!(rest.remove(&b) && !rest.remove(&b));
        assert_eq!(rest.ones().collect::<Vec<_>>(), [64]);
    }
}
