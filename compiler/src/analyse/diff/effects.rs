//! Where two fates leave different entries in the log, or different keys in dynamic sets.

use super::fate::{Entry, Fate, Parts};
use crate::analyse::model::{Dim, Space};
use crate::packet::{Region, Values};

/// Entries and keys that only one of the two leaves. An entry is written where its bucket has a
/// token for it.
pub(super) fn effects(space: &Space, region: &Region, a: &Fate, b: &Fate) -> Parts {
    let mut added = [a.added.clone(), b.added.clone()];
    for sets in &mut added {
        sets.sort_unstable();
        sets.dedup();
    }
    if added[0] != added[1] {
        return Parts::other(region);
    }
    let (mut left, mut right) = (a.logged.clone(), b.logged.clone());
    left.retain(|entry| {
        let found = right.iter().position(|other| other == entry);
        found.map(|at| right.swap_remove(at)).is_none()
    });
    entries(space, region, &left, &right)
}

/// Where two lists of entries come to the same text.
fn entries(space: &Space, region: &Region, left: &[Entry], right: &[Entry]) -> Parts {
    let open = left.iter().chain(right).find_map(|e| {
        e.at.filter(|at| {
            let values = space.values(region, &Dim::Tokens(*at));
            values.is_some_and(|v| v.bounds().0 != v.bounds().1)
        })
    });
    if let Some(bucket) = open {
        let mut out = Parts {
            same: vec![],
            other: vec![],
        };
        for answer in [0, 1] {
            let dim = Dim::Tokens(bucket);
            if let Some(part) = space.narrowed(region, &dim, &Values::one(answer)) {
                let parts = entries(space, &part, left, right);
                out.same.extend(parts.same);
                out.other.extend(parts.other);
            }
        }
        return out;
    }
    let written = |list: &[Entry]| {
        let is = |e: &&Entry| {
            e.at.is_none_or(|at| {
                let values = space.values(region, &Dim::Tokens(at));
                values.is_none_or(|v| v.contains(1))
            })
        };
        let mut texts: Vec<(String, bool)> = list
            .iter()
            .filter(is)
            .map(|e| (e.text.clone(), e.is_name))
            .collect();
        texts.sort_unstable();
        texts
    };
    if written(left) == written(right) {
        Parts::same(region)
    } else {
        Parts::other(region)
    }
}
