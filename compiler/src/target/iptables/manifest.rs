//! What the bundle says about its files.

use std::collections::BTreeSet;

use polc_bundle::{
    Family, Jump, Manifest, Object, ObjectKind, RuleEntry, SCHEMA, SetEntry, TableChains,
};

use super::names::comment;
use super::template::{GENERATION, map_file};
use super::tree::{Chains, Table};
use super::{Build, Iptables};
use crate::source::SourceMap;
use crate::target::{Target, governs, routing};

/// The oldest kernel that any policy here is meant for.
const FLOOR: &str = "4.9";

/// The order in which jumps go in: what is strictest first.
const JUMPS: [Table; 4] = [Table::Raw, Table::Filter, Table::Mangle, Table::Nat];

/// The manifest, but for the generation and the list of files.
pub(super) fn manifest(build: &Build, families: &[Chains; 2], sources: &SourceMap) -> Manifest {
    let ir = build.ir;
    Manifest {
        schema: SCHEMA,
        policy: ir.name.clone(),
        target: Iptables.name().to_owned(),
        generation: String::new(),
        as_of: ir.as_of.clone(),
        kernel_floor: build.features.floor(FLOOR).to_owned(),
        features: build.features.list(),
        governs: governs(ir),
        rules: rules(build, families, sources),
        objects: objects(build, families),
        sets: sets(build),
        programs: Vec::new(),
        state: Vec::new(),
        classes: Vec::new(),
        chains: chains(families),
        jumps: jumps(families),
        unresolved: build.unresolved.iter().cloned().collect(),
        routing: routing::plan(ir),
        sysctls: routing::sysctls(ir),
        files: vec![],
    }
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

fn rules(build: &Build, families: &[Chains; 2], sources: &SourceMap) -> Vec<RuleEntry> {
    let lines = families
        .iter()
        .flat_map(|f| f.values().flatten())
        .flat_map(|c| &c.lines);
    let comments = lines.filter_map(|l| l.comment.as_ref());
    let counting: BTreeSet<&str> = comments.filter(|c| c.counts).map(|c| &*c.rule).collect();
    let entry = |(stage, rule): (crate::ir::Stage, &crate::ir::Rule)| {
        let comment = comment(&rule.name).to_string();
        let counts = counting.contains(comment.as_str());
        RuleEntry {
            name: rule.name.to_string(),
            stage: stage.name().to_owned(),
            verdict: rule
                .verdict
                .as_ref()
                .map_or("match", |v| v.verb())
                .to_owned(),
            source: sources.describe_from_home(rule.span),
            counter: counts.then(|| comment.clone()),
            comment,
            log_prefix: build.log_prefixes.get(&rule.name).cloned(),
            log_id: None,
        }
    };
    build.ir.rules().map(entry).collect()
}

fn objects(build: &Build, families: &[Chains; 2]) -> Vec<Object> {
    let chains = families.iter().flat_map(|f| f.values().flatten());
    let object = |kind, name: &str| Object {
        kind,
        name: name.to_owned(),
    };
    let mut out: BTreeSet<Object> = chains.map(|c| object(ObjectKind::Chain, &c.name)).collect();
    out.insert(object(ObjectKind::Chain, GENERATION));
    let sets = build.pool.sets();
    out.extend(sets.map(|s| object(ObjectKind::Set, &s.name)));
    let rates = build.rates.iter();
    out.extend(rates.map(|name| object(ObjectKind::Limit, name)));
    out.into_iter().collect()
}

fn sets(build: &Build) -> Vec<SetEntry> {
    let entry = |set: &super::sets::Set| SetEntry {
        name: set.name.to_string(),
        policy_name: set.policy_name.clone(),
        elements: set.elements.len() as u64,
        file: (!set.is_dynamic()).then(|| map_file(&set.name)),
    };
    build.pool.sets().map(entry).collect()
}

fn chains(families: &[Chains; 2]) -> Vec<TableChains> {
    let mut out = Vec::new();
    for (family, tables) in FAMILIES.into_iter().zip(families) {
        for table in JUMPS {
            let own = tables.get(&table).into_iter().flatten();
            let mut names: Vec<String> = own.map(|c| c.name.to_string()).collect();
            if table == Table::Filter {
                names.push(GENERATION.to_owned());
            }
            if !names.is_empty() {
                let table = table.name().to_owned();
                out.push(TableChains {
                    family,
                    table,
                    chains: names,
                });
            }
        }
    }
    out
}

fn jumps(families: &[Chains; 2]) -> Vec<Jump> {
    let mut out = Vec::new();
    for table in JUMPS {
        for (family, tables) in FAMILIES.into_iter().zip(families) {
            for chain in tables.get(&table).into_iter().flatten() {
                out.extend(chain.builtin.map(|builtin| Jump {
                    family,
                    table: table.name().to_owned(),
                    builtin: builtin.to_owned(),
                    chain: chain.name.to_string(),
                }));
            }
        }
    }
    out
}
