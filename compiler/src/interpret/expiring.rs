//! A table whose keys are forgotten when they have not been used for so long.

use std::collections::{BTreeMap, BTreeSet};

/// Values by key, with the time at which each key was last used.
#[derive(Clone, Debug)]
pub(super) struct Expiring<K, V> {
    entries: BTreeMap<K, (u64, V)>,
    /// The keys in the order of their last use.
    queue: BTreeSet<(u64, K)>,
    /// The milliseconds after which an unused key is forgotten.
    idle: Option<u64>,
}

impl<K: Copy + Ord, V> Expiring<K, V> {
    pub(super) fn new(idle: Option<u64>) -> Self {
        Self {
            entries: BTreeMap::new(),
            queue: BTreeSet::new(),
            idle,
        }
    }

    /// Forgets what has not been used for too long.
    pub(super) fn expire(&mut self, now: u64) {
        let Some(idle) = self.idle else {
            return;
        };
        while let Some((used, key)) = self.queue.first().copied()
            && used.saturating_add(idle) <= now
        {
            self.queue.remove(&(used, key));
            self.entries.remove(&key);
        }
    }

    /// Whether a key is there and not too old.
    pub(super) fn contains(&self, key: &K, now: u64) -> bool {
        let young = |used: u64| self.idle.is_none_or(|idle| now < used.saturating_add(idle));
        self.entries.get(key).is_some_and(|(used, _)| young(*used))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The value of a key, made when it is not there, and when the key was last used. It is used
    /// now.
    pub(super) fn touch(&mut self, key: K, now: u64, make: impl FnOnce() -> V) -> (u64, &mut V) {
        let entry = self.entries.entry(key).or_insert_with(|| (now, make()));
        let used = entry.0;
        entry.0 = used.max(now);
        if self.idle.is_some() {
            self.queue.remove(&(used, key));
            self.queue.insert((entry.0, key));
        }
        (used, &mut entry.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_forgotten_when_unused() {
        let mut table: Expiring<u8, u8> = Expiring::new(Some(10));
        assert_eq!(table.touch(1, 0, || 7), (0, &mut 7));
        table.touch(2, 5, || 8);
        assert_eq!(table.touch(1, 9, || 9), (0, &mut 7));
        assert!(table.contains(&2, 14) && !table.contains(&2, 15));
        table.expire(15);
        assert_eq!(table.len(), 1);
        assert!(table.contains(&1, 18) && !table.contains(&1, 19));
        table.expire(19);
        assert_eq!((table.len(), table.queue.len()), (0, 0));
    }

    #[test]
    fn without_a_time_they_stay() {
        let mut table: Expiring<u8, ()> = Expiring::new(None);
        table.touch(1, 0, || ());
        table.expire(u64::MAX);
        assert!(table.contains(&1, u64::MAX));
    }
}
