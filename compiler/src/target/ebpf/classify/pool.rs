//! Sets of small numbers, each kept once: equal sets have equal names.
//!
//! A set is a binary tree over words of 64 numbers, and equal trees are the same tree. Adding or
//! taking away one number makes one node for each level, and a name answers at once whether a set
//! has been there before. {3} and {3, 70} have two words each, of which they share the first one;
//! taking 70 out of the second gives the name of the first again.

use rustc_hash::FxHashMap;

/// The name of a set in its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name(u32);

impl Name {
    /// The set without numbers.
    pub(super) const EMPTY: Self = Self(0);
}

/// Sets of numbers below a limit.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    levels: u32,
    words: Vec<u64>,
    nodes: Vec<(u32, u32)>,
    word_names: FxHashMap<u64, u32>,
    node_names: FxHashMap<(u32, u32), u32>,
}

impl Pool {
    /// For numbers below `limit`.
    pub(super) fn new(limit: u32) -> Self {
        let words = limit.div_ceil(64).max(1).next_power_of_two();
        Self {
            levels: words.trailing_zeros(),
            words: vec![0],
            nodes: vec![(0, 0)],
            word_names: FxHashMap::from_iter([(0, 0)]),
            node_names: FxHashMap::from_iter([((0, 0), 0)]),
        }
    }

    /// The set with the number if it was without it, and without it if it was there.
    pub(super) fn toggle(&mut self, set: Name, number: u32) -> Name {
        Name(self.toggle_below(self.levels, set.0, number))
    }

    fn toggle_below(&mut self, level: u32, node: u32, number: u32) -> u32 {
        if level == 0 {
            let word = self.words.get(node as usize).copied().unwrap_or_default();
            return name(
                &mut self.words,
                &mut self.word_names,
                word ^ 1 << (number % 64),
            );
        }
        let (mut left, mut right) = self.nodes.get(node as usize).copied().unwrap_or_default();
        let below = level - 1;
        if (number / 64) >> below & 1 == 0 {
            left = self.toggle_below(below, left, number);
        } else {
            right = self.toggle_below(below, right, number);
        }
        name(&mut self.nodes, &mut self.node_names, (left, right))
    }

    /// The numbers of a set, in order.
    pub(super) fn numbers(&self, set: Name) -> Vec<u32> {
        let mut out = Vec::new();
        let mut todo = vec![(self.levels, set.0, 0)];
        while let Some((level, node, base)) = todo.pop() {
            if node == 0 {
                continue;
            }
            if level == 0 {
                let word = self.words.get(node as usize).copied().unwrap_or_default();
                out.extend((0..64).filter(|b| word >> b & 1 == 1).map(|b| base + b));
                continue;
            }
            let (left, right) = self.nodes.get(node as usize).copied().unwrap_or_default();
            todo.push((level - 1, right, base + (64 << (level - 1))));
            todo.push((level - 1, left, base));
        }
        out
    }
}

fn name<T: Copy + Eq + std::hash::Hash>(
    list: &mut Vec<T>,
    names: &mut FxHashMap<T, u32>,
    value: T,
) -> u32 {
    *names.entry(value).or_insert_with(|| {
        list.push(value);
        u32::try_from(list.len() - 1).unwrap_or(u32::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    proptest! {
        #[test]
        fn equal_sets_have_equal_names(toggles in proptest::collection::vec(0u32..300, 0..200)) {
            let mut pool = Pool::new(300);
            let (mut model, mut set) = (BTreeSet::new(), Name::EMPTY);
            let mut seen = BTreeMap::from([(model.clone(), set)]);
            for number in toggles {
                if !model.remove(&number) {
                    model.insert(number);
                }
                set = pool.toggle(set, number);
                prop_assert_eq!(pool.numbers(set), model.iter().copied().collect::<Vec<_>>());
                let known = *seen.entry(model.clone()).or_insert(set);
                prop_assert_eq!(known, set);
            }
            prop_assert_eq!(seen.values().map(|n| n.0).collect::<BTreeSet<_>>().len(), seen.len());
        }
    }
}
