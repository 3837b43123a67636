//! What the bundle says about the script.

use std::collections::BTreeMap;

use polc_bundle::{Manifest, Object, ObjectKind, RuleEntry, SCHEMA, SetEntry};

use super::lower::GENERATION;
use super::names::comment;
use super::tree::{Elements, Lines, Table};
use super::{Build, FLOOR, Nftables, raw};
use crate::source::SourceMap;
use crate::target::{Target, governs, routing};

/// The manifest, but for the generation and the list of files.
pub(super) fn manifest(build: &Build, table: &Table, sources: &SourceMap) -> Manifest {
    let ir = build.ir;
    Manifest {
        schema: SCHEMA,
        policy: ir.name.clone(),
        target: Nftables.name().to_owned(),
        generation: String::new(),
        as_of: ir.as_of.clone(),
        kernel_floor: build.features.floor(FLOOR).to_owned(),
        features: build.features.list(),
        governs: governs(ir),
        rules: rules(build, sources),
        objects: objects(table),
        sets: sets(table),
        programs: Vec::new(),
        state: Vec::new(),
        classes: Vec::new(),
        chains: Vec::new(),
        jumps: Vec::new(),
        unresolved: build.unresolved.iter().cloned().collect(),
        routing: routing::plan(ir),
        sysctls: routing::sysctls(ir),
        files: vec![],
    }
}

/// The normalised contents of each set that is loaded with some, one element a line.
pub(super) fn maps(table: &Table) -> BTreeMap<String, String> {
    let loaded = table.sets.iter().filter(|s| s.dynamic.is_none());
    let text = |elements: &Elements| {
        Lines {
            elements,
            before: "",
            after: "",
        }
        .to_string()
    };
    loaded.map(|s| (file(&s.name), text(&s.elements))).collect()
}

fn file(set: &str) -> String {
    format!("maps/{set}.txt")
}

fn rules(build: &Build, sources: &SourceMap) -> Vec<RuleEntry> {
    let entry = |(stage, rule): (crate::ir::Stage, &crate::ir::Rule)| RuleEntry {
        name: rule.name.to_string(),
        stage: stage.name().to_owned(),
        verdict: rule
            .verdict
            .as_ref()
            .map_or("match", |v| v.verb())
            .to_owned(),
        source: sources.describe_from_home(rule.span),
        comment: comment(&rule.name).to_string(),
        counter: build.counter_of.get(&rule.name).map(ToString::to_string),
        log_prefix: build.log_prefixes.get(&rule.name).cloned(),
        log_id: None,
    };
    build.ir.rules().map(entry).collect()
}

fn objects(table: &Table) -> Vec<Object> {
    let names = |kind, names: Vec<&str>| -> Vec<Object> {
        let object = |name: &str| Object {
            kind,
            name: name.to_owned(),
        };
        names.into_iter().map(object).collect()
    };
    let chains = table.chains.iter().map(|c| &*c.name).chain([GENERATION]);
    let mut out = names(ObjectKind::Chain, chains.collect());
    out.extend(names(
        ObjectKind::Set,
        table.sets.iter().map(|s| &*s.name).collect(),
    ));
    out.extend(names(
        ObjectKind::Limit,
        table.limits.iter().map(|l| &*l.name).collect(),
    ));
    out.extend(names(
        ObjectKind::Counter,
        table.counters.iter().map(|c| &**c).collect(),
    ));
    for (kind, name) in table.raw.iter().flat_map(|text| raw::objects(text)) {
        let name = name.to_owned();
        out.push(Object { kind, name });
    }
    out.sort();
    out
}

fn sets(table: &Table) -> Vec<SetEntry> {
    table
        .sets
        .iter()
        .map(|set| SetEntry {
            name: set.name.to_string(),
            policy_name: set.policy_name.as_ref().map(ToString::to_string),
            elements: set.elements.count(),
            file: set.dynamic.is_none().then(|| file(&set.name)),
        })
        .collect()
}
