//! nftables: one script for one table, `inet polc`.
//!
//! IR → `lower` → a typed table (`tree`) → `optimise` → text (`template`).
//!
//! # Architecture invariants
//!
//! * The script is one transaction that keeps base chains (`flush table`), and every base chain
//!   ends in an explicit verdict: a base chain that is deleted and added again, or whose verdict is
//!   only its policy, lets packets past while it is replaced.
//! * Names of sets and limits carry a hash of their parameters, because the kernel silently keeps
//!   the old parameters of an object that exists.
//! * Sets are normalised here, never by the kernel's tool.

mod action;
mod fields;
mod limits;
mod lower;
mod manifest;
mod matches;
mod names;
mod nat;
mod optimise;
mod raw;
mod sets;
mod sides;
mod template;
mod time;
mod tree;
mod verdict;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use polc_bundle::{Bundle, Family, Unresolved};

use self::limits::Buckets;
use self::names::Names;
use self::sets::Pool;
use self::tree::{Chain, Table};
use super::netfilter::features::Features;
use super::{Capability, Options, Target, internal, unsupported};
use crate::diagnostic::{Diagnostic, sort};
use crate::ir::{DynamicId, Ir, Raw};
use crate::source::{SourceMap, Span};

/// The target `nftables`.
#[derive(Clone, Copy, Debug)]
pub struct Nftables;

impl Target for Nftables {
    fn name(&self) -> &'static str {
        "nftables"
    }

    fn has(&self, capability: Capability) -> bool {
        capability.is_beyond_iptables()
    }

    fn emit(
        &self,
        ir: &Ir,
        sources: &SourceMap,
        options: &Options,
    ) -> Result<Bundle, Vec<Diagnostic>> {
        let ir = &*options.counted(ir);
        let mut build = Build::new(ir, options);
        let mut table = build.lower();
        if !build.errors.is_empty() {
            sort(&mut build.errors);
            return Err(build.errors);
        }
        optimise::run(&mut table, &mut build.names, &ir.blocks);
        let script = template::render(ir, &table).map_err(|e| vec![internal(&e)])?;
        let manifest = manifest::manifest(&build, &table, sources);
        let mut files = manifest::maps(&table);
        files.insert("policy.nft".to_owned(), script);
        Bundle::new(manifest, files).map_err(|e| vec![internal(&e)])
    }
}

/// Everything that the lowering of one policy gathers.
struct Build<'a> {
    ir: &'a Ir,
    options: &'a Options,
    names: Names,
    pool: Pool,
    buckets: Buckets,
    dynamic: BTreeMap<(DynamicId, Family), Arc<str>>,
    counters: Vec<Arc<str>>,
    counter_of: BTreeMap<Arc<str>, Arc<str>>,
    log_prefixes: BTreeMap<Arc<str>, String>,
    /// Chains that are no base chains, in the order of first use.
    chains: Vec<Chain>,
    /// Their names by content.
    bodies: HashMap<String, Arc<str>>,
    /// The chain of each proxy.
    proxy_chains: Vec<Arc<str>>,
    features: Features,
    unresolved: BTreeSet<Unresolved>,
    errors: Vec<Diagnostic>,
}

impl<'a> Build<'a> {
    fn new(ir: &'a Ir, options: &'a Options) -> Self {
        Self {
            ir,
            options,
            names: Names::default(),
            pool: Pool::default(),
            buckets: Buckets::default(),
            dynamic: BTreeMap::new(),
            counters: Vec::new(),
            counter_of: BTreeMap::new(),
            log_prefixes: BTreeMap::new(),
            chains: Vec::new(),
            bodies: HashMap::new(),
            proxy_chains: Vec::new(),
            features: Features::default(),
            unresolved: BTreeSet::new(),
            errors: Vec::new(),
        }
    }

    /// Reports something that cannot be expressed.
    fn unsupported(&mut self, capability: Capability, span: Span) {
        self.errors.push(unsupported(&Nftables, capability, span));
    }
}

/// The oldest kernel that any table here is meant for.
const FLOOR: &str = "5.4";

impl Build<'_> {
    /// The whole table.
    fn lower(&mut self) -> Table {
        let own = |r: &&Raw| r.target == "nft" || r.target == Nftables.name();
        let raw: Vec<String> = self
            .ir
            .raw
            .iter()
            .filter(own)
            .map(|r| r.text.clone())
            .collect();
        for (kind, name) in raw.iter().flat_map(|text| raw::objects(text)) {
            self.names.reserve(kind, name);
        }
        let base = lower::chains(self);
        let mut chains = std::mem::take(&mut self.chains);
        chains.extend(base);
        Table {
            sets: std::mem::take(&mut self.pool).into_sets(),
            limits: std::mem::take(&mut self.buckets).limits,
            counters: self.counters.clone(),
            chains,
            raw,
        }
    }
}
