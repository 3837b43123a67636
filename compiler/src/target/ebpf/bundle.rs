//! The bundle: the object, and what the manifest says about it.

use std::collections::BTreeMap;

use polc_bundle::{
    Bundle, BundleError, ClassEntry, Feature, Manifest, ProgramEntry, ProgramHook, RuleEntry,
    SCHEMA, SetEntry,
};

use super::{Ebpf, Hook, Need, Programs, SetData, act};
use crate::ir::{Ir, Stage};
use crate::packet::Pattern;
use crate::source::SourceMap;
use crate::target::{Target, governs, routing};

/// The object in a bundle.
const OBJECT: &str = "policy.o";

/// The bundle of a policy's programs.
pub(super) fn bundle(
    ir: &Ir,
    sources: &SourceMap,
    programs: Programs,
) -> Result<Bundle, BundleError> {
    let features = features(&programs);
    let manifest = Manifest {
        schema: SCHEMA,
        policy: ir.name.clone(),
        target: Ebpf.name().to_owned(),
        generation: String::new(),
        as_of: ir.as_of.clone(),
        // The list is in the order of kernels.
        kernel_floor: features
            .last()
            .map_or_else(String::new, |f| f.kernel.clone()),
        features,
        governs: governs(ir),
        rules: rules(ir, sources, &programs),
        objects: vec![],
        sets: programs.sets.iter().map(set).collect(),
        programs: entries(&programs),
        state: programs.state.clone(),
        classes: classes(&programs),
        chains: Vec::new(),
        jumps: Vec::new(),
        unresolved: programs.unresolved.clone(),
        routing: routing::plan(ir),
        sysctls: routing::sysctls_of_programs(ir),
        files: vec![],
    };
    let sets = programs.sets.into_iter();
    let mut files: BTreeMap<String, Vec<u8>> = sets.map(|s| (file(&s.map), s.bytes)).collect();
    files.insert(OBJECT.to_owned(), programs.object);
    Bundle::new(manifest, files)
}

/// The file with the contents of a map.
fn file(map: &str) -> String {
    format!("maps/{map}")
}

fn set(set: &SetData) -> SetEntry {
    SetEntry {
        name: set.map.clone(),
        policy_name: set.label.as_deref().map(str::to_owned),
        elements: set.ranges as u64,
        file: Some(file(&set.map)),
    }
}

/// What is used of the kernel, oldest first.
fn features(programs: &Programs) -> Vec<Feature> {
    let runs = |hook: Hook| programs.programs.iter().any(|p| p.hook == hook);
    let always = [
        (true, "read-only program data", "5.2"),
        (!programs.sets.is_empty(), "arrays in shared memory", "5.5"),
        (runs(Hook::Xdp), "xdp links", "5.9"),
    ];
    let always = always.into_iter().filter(|(used, ..)| *used);
    let always = always.map(|(_, name, kernel)| (name, kernel));
    let used = always.chain(programs.needs.iter().map(Need::feature));
    let mut features: Vec<Feature> = used
        .map(|(name, kernel)| Feature {
            name: name.to_owned(),
            kernel: kernel.to_owned(),
        })
        .collect();
    features.sort_by_key(|feature| {
        let numbers = feature.kernel.split('.');
        numbers
            .map(|n| n.parse().unwrap_or(0))
            .collect::<Vec<u32>>()
    });
    features
}

fn rules(ir: &Ir, sources: &SourceMap, programs: &Programs) -> Vec<RuleEntry> {
    let of_stage = |stage: Stage| {
        let numbered = ir.stage(stage).iter().enumerate();
        numbered.map(move |(place, rule)| RuleEntry {
            name: rule.name.to_string(),
            stage: stage.name().to_owned(),
            verdict: rule
                .verdict
                .as_ref()
                .map_or("match", |v| v.verb())
                .to_owned(),
            source: sources.describe_from_home(rule.span),
            comment: rule.name.to_string(),
            counter: programs
                .counted
                .binary_search(&(stage, place))
                .ok()
                .map(|number| format!("{}/{number}", act::COUNTERS)),
            log_prefix: rule.effects.log.as_ref().map(|log| {
                let text = log.text.clone();
                text.unwrap_or_else(|| rule.name.to_string())
            }),
            log_id: programs.log_ids.get(&rule.name).copied(),
        })
    };
    Stage::ALL.into_iter().flat_map(of_stage).collect()
}

fn entries(programs: &Programs) -> Vec<ProgramEntry> {
    let entry = |program: &super::Attached| ProgramEntry {
        name: program.name.clone(),
        bare: program.bare.clone(),
        hook: match program.hook {
            Hook::Xdp => ProgramHook::Xdp,
            Hook::Ingress => ProgramHook::Ingress,
            Hook::Egress => ProgramHook::Egress,
        },
        stage: program.stage,
        pattern: program.pattern.to_string(),
    };
    let sockets = programs.sockets.iter().map(|program| ProgramEntry {
        name: Some(program.name.clone()),
        bare: None,
        hook: program.hook,
        stage: program.stage,
        pattern: String::new(),
    });
    programs.programs.iter().map(entry).chain(sockets).collect()
}

fn classes(programs: &Programs) -> Vec<ClassEntry> {
    let entry = |(pattern, number): &(Pattern, u64)| ClassEntry {
        pattern: pattern.to_string(),
        number: u32::try_from(*number).unwrap_or(0),
    };
    programs.classes.iter().map(entry).collect()
}
