//! Single packets of regions, to find out quickly what a long search would.

use crate::packet::{Region, Values};

/// How many points are tried before a search.
const TRIES: u64 = 12;

/// Some points of a region: its corners, and mixtures of them.
pub(super) fn points(region: &Region) -> impl Iterator<Item = Vec<u128>> {
    (0..TRIES).map(|seed| {
        let dims = (0u64..).zip(region.dims());
        dims.map(|(dim, values)| number(values, choice(seed, dim)))
            .collect()
    })
}

/// Two bits that say which end of which range; the first points are the corners themselves.
fn choice(seed: u64, dim: u64) -> u64 {
    match seed {
        0 => 0,
        1 => 1,
        _ => {
            let mixed = (seed << 32 | dim).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed >> 33
        }
    }
}

fn number(values: &Values, choice: u64) -> u128 {
    let (first, last) = values.bounds();
    let inner = first + (last - first) / 2;
    match choice & 3 {
        0 => first,
        1 => last,
        2 if values.contains(inner) => inner,
        _ if values.contains(first.saturating_add(1)) => first.saturating_add(1),
        _ => last,
    }
}
