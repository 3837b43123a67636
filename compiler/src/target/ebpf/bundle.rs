//! The bundle: the object, and what the manifest says about it.

use std::collections::BTreeMap;

use polc_bundle::{
    Bundle, BundleError, Feature, Manifest, ProgramEntry, ProgramHook, RoutingPlan, RuleEntry,
    SCHEMA,
};

use super::{Ebpf, Guard, Need, Needs, act};
use crate::ir::{Ir, Stage};
use crate::source::SourceMap;
use crate::target::Target;

/// The object in a bundle.
const OBJECT: &str = "policy.o";

/// The bundle of a guard.
pub(super) fn bundle(ir: &Ir, sources: &SourceMap, guard: Guard) -> Result<Bundle, BundleError> {
    let features = features(&guard.needs);
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
        governs: vec![],
        rules: rules(ir, sources, &guard),
        objects: vec![],
        sets: vec![],
        programs: programs(&guard),
        state: guard.state,
        unresolved: vec![],
        routing: RoutingPlan::default(),
        sysctls: vec![],
        files: vec![],
    };
    Bundle::new(
        manifest,
        BTreeMap::from([(OBJECT.to_owned(), guard.object)]),
    )
}

/// What is used of the kernel, oldest first.
fn features(needs: &Needs) -> Vec<Feature> {
    let always = [("read-only program data", "5.2"), ("xdp links", "5.9")];
    let used = always.into_iter().chain(needs.iter().map(Need::feature));
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

fn rules(ir: &Ir, sources: &SourceMap, guard: &Guard) -> Vec<RuleEntry> {
    let entry = |(place, rule): (usize, &crate::ir::Rule)| RuleEntry {
        name: rule.name.to_string(),
        stage: Stage::Guard.name().to_owned(),
        verdict: rule
            .verdict
            .as_ref()
            .map_or("match", |v| v.verb())
            .to_owned(),
        source: sources.describe_from_home(rule.span),
        comment: rule.name.to_string(),
        counter: guard
            .counted
            .binary_search(&place)
            .ok()
            .map(|number| format!("{}/{number}", act::COUNTERS)),
        log_prefix: None,
        log_id: guard.log_ids.get(&rule.name).copied(),
    };
    ir.guard.iter().enumerate().map(entry).collect()
}

fn programs(guard: &Guard) -> Vec<ProgramEntry> {
    let entry = |program: &super::Attached| ProgramEntry {
        name: program.name.clone(),
        hook: ProgramHook::Xdp,
        pattern: program.pattern.to_string(),
    };
    guard.programs.iter().map(entry).collect()
}
