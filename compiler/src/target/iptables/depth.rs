//! How far chains lead into one another.
//!
//! `nf_tables`, into which `iptables-nft` translates, refuses a chain at the sixteenth step from one of the kernel's own,
//! be it by `-j` or by `-g` (`nft_chain_validate` in `net/netfilter/nf_tables_api.c`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::tree::{Chain, Line};

/// So many chains may lead into one another: the kernel's own comes before them.
const MOST: usize = 15;

/// The rules, as comments name them, whose lines lead too far.
pub(super) fn too_deep(chains: &[Chain]) -> BTreeSet<Arc<str>> {
    let by_name: BTreeMap<&str, &Chain> = chains.iter().map(|c| (&*c.name, c)).collect();
    let mut depths: BTreeMap<&str, usize> = BTreeMap::new();
    let entered = chains.iter().filter(|c| c.builtin.is_some());
    let mut next: Vec<(&Chain, usize, Option<&Arc<str>>)> = entered.map(|c| (c, 1, None)).collect();
    let mut out = BTreeSet::new();
    while let Some((chain, depth, by)) = next.pop() {
        if depth > MOST {
            out.extend(by.cloned());
            continue;
        }
        let known = depths.entry(&chain.name).or_default();
        if *known >= depth {
            continue;
        }
        *known = depth;
        next.extend(chain.lines.iter().filter_map(|line| {
            let inner = by_name.get(&**line.next()?)?;
            // Chains of one rule need not name it again.
            Some((*inner, depth + 1, rule(line).or(by)))
        }));
    }
    out
}

fn rule(line: &Line) -> Option<&Arc<str>> {
    Some(&line.comment.as_ref()?.rule)
}
