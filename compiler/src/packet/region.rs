//! Boxes in a space of several dimensions: products of sets of numbers.
//!
//! What the dimensions mean is the caller's business.

use num_bigint::BigUint;

use super::interval::Int;
use super::values::Values;

/// A product of sets, one for each dimension. It is never empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region<T = u128> {
    dims: Box<[Values<T>]>,
}

impl Region {
    /// A single point.
    pub fn point(numbers: &[u128]) -> Self {
        Self::new(numbers.iter().copied().map(Values::one).collect())
    }

    /// How many points the given dimensions have together.
    pub fn volume(&self, dims: impl IntoIterator<Item = usize>) -> BigUint {
        dims.into_iter()
            .filter_map(|d| self.dim(d))
            .map(Values::count)
            .product()
    }

    /// About how much of it is in `other`, from 0 to 1.
    pub fn share(&self, other: &Self) -> f64 {
        let mut share = 1.0;
        for (own, other) in self.pairs(other) {
            share *= own.share(other);
            if share == 0.0 {
                break;
            }
        }
        share
    }

    /// A point of it: the smallest of each dimension.
    pub fn first(&self) -> Vec<u128> {
        self.dims.iter().map(|d| d.bounds().0).collect()
    }
}

impl<T: Int> Region<T> {
    /// The product of the sets.
    pub fn new(dims: Vec<Values<T>>) -> Self {
        Self { dims: dims.into() }
    }

    /// The sets, in order.
    pub fn dims(&self) -> &[Values<T>] {
        &self.dims
    }

    /// The set of a dimension; `None` past the last one.
    pub fn dim(&self, at: usize) -> Option<&Values<T>> {
        self.dims.get(at)
    }

    /// Puts another set into one dimension.
    pub fn set(&mut self, at: usize, values: Values<T>) {
        if let Some(dim) = self.dims.get_mut(at) {
            *dim = values;
        }
    }

    /// The same, with another set in one dimension.
    #[must_use]
    pub fn with(&self, at: usize, values: Values<T>) -> Self {
        let mut out = self.clone();
        out.set(at, values);
        out
    }

    /// The part whose number in one dimension is among `values`.
    #[must_use]
    pub fn narrowed(&self, at: usize, values: &Values<T>) -> Option<Self> {
        let both = self.dim(at)?.intersection(values)?;
        Some(self.with(at, both))
    }

    /// Leaves only the part whose number in one dimension is among `values`. `None`, without any
    /// change, when there is none.
    pub fn narrow(&mut self, at: usize, values: &Values<T>) -> Option<()> {
        let dim = self.dims.get_mut(at)?;
        *dim = dim.intersection(values)?;
        Some(())
    }

    /// Some of its dimensions, in this order.
    #[must_use]
    pub fn only(&self, dims: &[usize]) -> Self {
        Self::new(
            dims.iter()
                .filter_map(|at| self.dim(*at))
                .cloned()
                .collect(),
        )
    }

    /// The same, with the sets of `other` in these dimensions: the opposite of [`Region::only`].
    #[must_use]
    pub fn with_only(&self, dims: &[usize], other: &Self) -> Self {
        let mut out = self.clone();
        for (at, values) in dims.iter().zip(other.dims()) {
            if let Some(dim) = out.dims.get_mut(*at) {
                dim.clone_from(values);
            }
        }
        out
    }

    fn pairs<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = (&'a Values<T>, &'a Values<T>)> {
        self.dims.iter().zip(&other.dims)
    }

    /// Whether the two share a point.
    pub fn intersects(&self, other: &Self) -> bool {
        self.pairs(other).all(|(a, b)| a.intersects(b))
    }

    /// Whether every point is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.pairs(other).all(|(a, b)| a.is_subset(b))
    }

    /// Whether the point is in it.
    pub fn contains(&self, point: &[T]) -> bool {
        self.dims.iter().zip(point).all(|(d, p)| d.contains(*p))
    }

    /// The points of both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        if !self.intersects(other) {
            return None;
        }
        let dims: Option<Vec<Values<T>>> =
            self.pairs(other).map(|(a, b)| a.intersection(b)).collect();
        dims.map(Self::new)
    }

    /// In how many dimensions `other` leaves a part of `self` out.
    pub fn cuts(&self, other: &Self) -> usize {
        self.pairs(other).filter(|(a, b)| !a.is_subset(b)).count()
    }

    /// As [`Region::cuts`]; `None` when the two share no point.
    pub(super) fn cuts_if_met(&self, other: &Self) -> Option<usize> {
        let mut cuts = 0;
        for (own, other) in self.pairs(other) {
            if own.is_subset(other) {
                continue;
            }
            if !own.intersects(other) {
                return None;
            }
            cuts += 1;
        }
        Some(cuts)
    }

    /// The points that are not in `other`, as regions that do not overlap: one for each dimension
    /// in which `other` leaves something out.
    pub fn difference(&self, other: &Self) -> Vec<Self> {
        if !self.intersects(other) {
            return vec![self.clone()];
        }
        let mut out = Vec::new();
        let mut rest = self.clone();
        for (at, (own, cut)) in self.pairs(other).enumerate() {
            if let Some(outside) = own.difference(cut) {
                out.push(rest.with(at, outside));
                if let (Some(dim), Some(inside)) = (rest.dims.get_mut(at), own.intersection(cut)) {
                    *dim = inside;
                }
            }
        }
        out
    }
}
