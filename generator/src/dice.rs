//! Random choices.

/// A source of random choices.
pub(crate) struct Dice(fastrand::Rng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// `true` in so many of a hundred cases.
    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.0.u32(0..100) < percent
    }

    /// A number from `low` to `high`.
    pub(crate) fn between(&mut self, low: usize, high: usize) -> usize {
        self.0.usize(low..=high.max(low))
    }

    /// Any 32 bits.
    pub(crate) fn bits(&mut self) -> u32 {
        self.0.u32(..)
    }

    /// Any 64 bits.
    pub(crate) fn seed(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// One of several; `None` when there is none.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let at = self.between(0, from.len().saturating_sub(1));
        from.get(at)
    }

    /// One of several words.
    pub(crate) fn word(&mut self, from: &[&'static str]) -> &'static str {
        self.pick(from).copied().unwrap_or_default()
    }

    /// One of several values, each as often as its weight says; the last one when there is no
    /// weight at all.
    pub(crate) fn weighted<T: Copy>(&mut self, from: &[(u32, T)], otherwise: T) -> T {
        let all: u32 = from.iter().map(|(weight, _)| weight).sum();
        let mut left = self.0.u32(0..all.max(1));
        for (weight, value) in from {
            if left < *weight {
                return *value;
            }
            left -= weight;
        }
        otherwise
    }
}
