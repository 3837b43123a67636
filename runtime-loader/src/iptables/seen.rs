//! What the kernel has of a policy.

use std::collections::{BTreeMap, BTreeSet};

use polc_bundle::{Family, Jump};

use super::saved::Saved;
use super::tools::tool;
use super::tools::{FAMILIES, Tools, if_installed, usual};
use super::{Change, IptablesError, Variant, sets};
use crate::netns::Netns;
use crate::nft::Counter;

/// The chains of both families, and the sets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(super) families: BTreeMap<Family, Saved>,
    pub(super) sets: BTreeSet<String>,
}

impl Seen {
    /// Asks the kernel. It changes nothing.
    pub(crate) fn read(tools: &Tools<'_>) -> Result<Self, IptablesError> {
        let mut families = BTreeMap::new();
        for family in FAMILIES {
            families.insert(family, Saved::read(&tools.save(family)?));
        }
        Ok(Self {
            families,
            sets: sets::names(tools.netns)?,
        })
    }

    /// Whether there is anything of a policy's.
    pub(crate) fn exists(&self) -> bool {
        let has = |saved: &Saved| !saved.chains.is_empty() || !saved.entries.is_empty();
        self.families.values().any(has)
    }

    /// The generation that both families have.
    pub(crate) fn generation(&self) -> Option<&str> {
        let mut generations = self.families.values().map(|saved| &saved.generation);
        let first = generations.next()?.as_deref()?;
        generations
            .all(|other| other.as_deref() == Some(first))
            .then_some(first)
    }

    /// Whether a chain of the kernel's leads to the policy's.
    pub(crate) fn has(&self, jump: &Jump) -> bool {
        let (table, from, to) = (&jump.table, &jump.builtin, &jump.chain);
        self.families.get(&jump.family).is_some_and(|saved| {
            let mut entries = saved.entries.iter();
            entries.any(|(t, f, c)| (t, f, c) == (table, from, to))
        })
    }

    /// What the rules of both families have counted, by their comments.
    pub(crate) fn counters(&self) -> BTreeMap<String, Counter> {
        let mut out = BTreeMap::new();
        for (comment, counter) in self.families.values().flat_map(|saved| &saved.counters) {
            let sum: &mut Counter = out.entry(comment.clone()).or_default();
            sum.packets = sum.packets.saturating_add(counter.packets);
            sum.bytes = sum.bytes.saturating_add(counter.bytes);
        }
        out
    }

    /// The tables that have something of a policy's, each with its program.
    pub(crate) fn tables(&self, variant: Variant) -> Vec<String> {
        let mut out = BTreeSet::new();
        for (family, saved) in &self.families {
            let chains = saved.chains.iter().map(|(table, _)| table);
            let entries = saved.entries.iter().map(|(table, ..)| table);
            let program = tool(*family);
            out.extend(
                chains
                    .chain(entries)
                    .map(|table| format!("{program}-{} -t {table}", variant.name())),
            );
        }
        out.into_iter().collect()
    }
}

/// The variant whose rules have a policy, and what it has of it. A variant that is not installed has nothing.
pub(crate) fn in_force(netns: &Netns) -> Result<Option<(Variant, Seen)>, IptablesError> {
    for variant in Variant::ALL {
        let seen = if_installed(Seen::read(&Tools { netns, variant }))?;
        if let Some(seen) = seen.filter(Seen::exists) {
            return Ok(Some((variant, seen)));
        }
    }
    Ok(None)
}

/// The variant to load a policy with: where one is in force already, else what is asked for, else what
/// `iptables` means here.
pub(crate) fn choose(netns: &Netns, wanted: Option<Variant>) -> Result<Variant, IptablesError> {
    let found = in_force(netns)?.map(|(variant, _)| variant);
    match (found, wanted) {
        (Some(found), Some(wanted)) if found != wanted => {
            Err(IptablesError::OtherVariant { found, wanted })
        }
        (Some(variant), _) | (None, Some(variant)) => Ok(variant),
        (None, None) => usual(netns),
    }
}

/// Takes the chains and sets of both variants away; the tables that had chains. Sets that others' rules ask stay.
pub(crate) fn remove(netns: &Netns) -> Result<Vec<String>, IptablesError> {
    let mut removed = Vec::new();
    for variant in Variant::ALL {
        let tools = Tools { netns, variant };
        if let Some(seen) = if_installed(Seen::read(&tools))? {
            Change::away(&seen, None).make(&tools)?;
            removed.extend(seen.tables(variant));
        }
    }
    Ok(removed)
}
