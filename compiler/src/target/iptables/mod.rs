//! iptables: rules for `iptables-restore` and `ip6tables-restore`, sets for `ipset restore`.
//!
//! IR → `lower`, once for each family → typed chains (`tree`) → `group` → text (`template`).
//!
//! # Architecture invariants
//!
//! * The files hold chains of the policy's own, whose names begin with `POLC-`, and never a rule of a
//!   chain of the kernel's. `--noflush` with a chain's declaration empties and refills it in the
//!   same commit as its table, so that no packet meets half of it.
//! * Every chain of filter ends in an explicit verdict.
//! * Names of sets and of rates' tables carry a hash of their parameters or contents, because the
//!   kernel silently keeps those of an object that exists. Rules with other contents ask another
//!   set: the rules' replacement is what puts it in force.
//! * Chains have the names of their contents. What is the same is there once.
//!
//! # How the kernel's chains come to jump
//!
//! The language of `iptables-restore` cannot say "insert this jump unless it is there": `-I` adds a second
//! one at each apply, and `-D` of a jump that is not there fails the whole file. A file that deletes
//! and inserts would have to know what is in force. So the jumps are the loader's: the
//! manifest lists them in the order in which they go in, and for each the loader asks (`-C`), and inserts
//! it as the first rule if it is not there (`-I`). A jump that is there stays as it is at every later
//! apply. At the first apply the chains are complete before the first jump, and the jumps are inserted from
//! the strictest to the most permissive: guard, filter, steer's marks and proxies, then NAT.
//! A flow that would have been steered is judged as it is until then.
//!
//! # How one policy replaces another
//!
//! A table is replaced in one commit, but the tables of a family one after the other. In between, a
//! stage of the new policy would work with one of the old: what the old one denied in guard and the
//! new one denies in filter would pass. Therefore a file begins with sections that turn the
//! chains of filter and of steer's marks into *held* ones: packets of known flows pass, and all
//! others are dropped. The sections with the new rules follow, those of filter last. So each new
//! flow meets the old policy, the new one, or is dropped for the milliseconds in between, and its
//! sender tries again. Packets of known flows follow their flow, as always. The families are two
//! files, and thereby two such changes.

mod action;
mod depth;
mod fields;
mod group;
mod limits;
mod lower;
mod manifest;
mod matches;
mod names;
mod nat;
mod remark;
mod sets;
mod sides;
mod template;
mod tree;
mod verdict;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use polc_bundle::{Bundle, Family, Unresolved};

use self::sets::Pool;
use self::tree::{Chain, Chains, Table, Then};
use super::netfilter::features::Features;
use super::{Capability, Options, Target, internal, unsupported};
use crate::diagnostic::{Code, Diagnostic, sort};
use crate::ir::{BucketId, Ir};
use crate::source::{SourceMap, Span};

/// The target `iptables`.
#[derive(Clone, Copy, Debug)]
pub struct Iptables;

impl Target for Iptables {
    fn name(&self) -> &'static str {
        "iptables"
    }

    fn has(&self, _: Capability) -> bool {
        // It can nothing that the others cannot.
        false
    }

    fn emit(
        &self,
        ir: &Ir,
        sources: &SourceMap,
        options: &Options,
    ) -> Result<Bundle, Vec<Diagnostic>> {
        let ir = &*options.counted(ir);
        let mut build = Build::new(ir, options);
        let families = [build.lower(Family::V4), build.lower(Family::V6)];
        build.check_flows();
        if !build.errors.is_empty() {
            return Err(distinct(build.errors));
        }
        let files = template::files(&mut build, &families).map_err(|e| vec![internal(&e)])?;
        let manifest = manifest::manifest(&build, &families, sources);
        Bundle::new(manifest, files).map_err(|e| vec![internal(&e)])
    }

    fn remarks(&self, ir: &Ir, options: &Options) -> Vec<Diagnostic> {
        let mut build = Build::new(ir, options);
        build.lower(Family::V4);
        build.lower(Family::V6);
        build.remarks()
    }
}

/// Each error once: most are found in both families.
fn distinct(mut errors: Vec<Diagnostic>) -> Vec<Diagnostic> {
    sort(&mut errors);
    errors.dedup();
    errors
}

/// One question to a limit of live flows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct FlowUse {
    bucket: BucketId,
    family: &'static str,
    rule: Arc<str>,
    /// Where.
    place: String,
}

/// Everything that the lowering of one policy gathers.
struct Build<'a> {
    ir: &'a Ir,
    options: &'a Options,
    /// The family whose rules are being written.
    family: Family,
    /// The table in which chains are being written.
    table: Table,
    chains: Chains,
    /// The names of those that only the policy's own lead to.
    known: BTreeSet<(Table, Arc<str>)>,
    pool: Pool,
    /// The names of rates' tables.
    rates: BTreeSet<Arc<str>>,
    /// Buckets without key, and the families that ask them.
    unkeyed: BTreeSet<(BucketId, &'static str)>,
    flows: BTreeSet<FlowUse>,
    /// The chain of each proxy.
    proxy_chains: Vec<Arc<str>>,
    /// Whether egress asks which flows this host has opened.
    notes_own: bool,
    /// Whether what is written is about flows that come in.
    arriving: bool,
    log_prefixes: BTreeMap<Arc<str>, String>,
    features: Features,
    unresolved: BTreeSet<Unresolved>,
    errors: Vec<Diagnostic>,
}

impl<'a> Build<'a> {
    fn new(ir: &'a Ir, options: &'a Options) -> Self {
        Self {
            ir,
            options,
            family: Family::V4,
            table: Table::Filter,
            chains: Chains::new(),
            known: BTreeSet::new(),
            pool: Pool::default(),
            rates: BTreeSet::new(),
            unkeyed: BTreeSet::new(),
            flows: BTreeSet::new(),
            proxy_chains: Vec::new(),
            notes_own: false,
            arriving: false,
            log_prefixes: BTreeMap::new(),
            features: Features::default(),
            unresolved: BTreeSet::new(),
            errors: ir.raw.iter().map(no_place).collect(),
        }
    }

    /// The chains of one family.
    fn lower(&mut self, family: Family) -> Chains {
        self.family = family;
        self.notes_own = false;
        self.arriving = false;
        self.known.clear();
        lower::chains(self);
        let mut chains = std::mem::take(&mut self.chains);
        for list in chains.values_mut() {
            group::run(list, &self.ir.blocks);
            reachable(list);
            settle(list);
        }
        let deep: BTreeSet<Arc<str>> = chains.values().flat_map(|c| depth::too_deep(c)).collect();
        for (_, rule) in self.ir.rules() {
            if deep.contains(&names::comment(&rule.name)) {
                self.unsupported(Capability::DeepChains, rule.span);
            }
        }
        chains
    }

    /// Reports something that cannot be expressed.
    fn unsupported(&mut self, capability: Capability, span: Span) {
        self.errors.push(unsupported(&Iptables, capability, span));
    }
}

/// The error for text that is meant for another tool.
fn no_place(raw: &crate::ir::Raw) -> Diagnostic {
    let title = format!(
        "target `iptables` has no place for text for `{}`",
        raw.target
    );
    Diagnostic::error(Code::Unsupported, title, raw.span).help("build for `nftables`")
}

/// Keeps the chains that one of the kernel's leads to: rules that were written twice, or whose place
/// has turned out not to exist, leave others behind.
fn reachable(chains: &mut Vec<Chain>) {
    let entered = chains.iter().filter(|c| c.builtin.is_some());
    let wanted = behind(chains, entered.map(|c| c.name.clone()).collect());
    chains.retain(|c| wanted.contains(&c.name));
}

/// Says how a packet leaves the policy's chains: where they were entered by `-j` from one of them,
/// `RETURN` would lead back to it, and the kernel's own chain ends instead.
fn settle(chains: &mut [Chain]) {
    let lines = chains.iter().flat_map(|c| &c.lines);
    let entered = lines.filter_map(|l| match &l.then {
        Some(Then::Jump(name)) => Some(name.clone()),
        _ => None,
    });
    let inside = behind(chains, entered.collect());
    for chain in chains.iter_mut().filter(|c| inside.contains(&c.name)) {
        for line in &mut chain.lines {
            if line.then == Some(Then::Leave) {
                line.then = Some(Then::Accept);
            }
        }
    }
}

/// The chains of these names, and those that they lead to.
fn behind(chains: &[Chain], mut next: Vec<Arc<str>>) -> BTreeSet<Arc<str>> {
    let by_name: BTreeMap<&str, &Chain> = chains.iter().map(|c| (&*c.name, c)).collect();
    let mut out: BTreeSet<Arc<str>> = BTreeSet::new();
    while let Some(name) = next.pop() {
        if out.insert(name.clone())
            && let Some(chain) = by_name.get(&*name)
        {
            next.extend(chain.lines.iter().filter_map(|l| l.next().cloned()));
        }
    }
    out
}
