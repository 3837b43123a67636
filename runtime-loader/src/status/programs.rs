//! What is in force where the policy is programs.

use polc_bundle::{Manifest, ProgramHook};

use super::{ProgramStatus, Status, routing_status, rules_of};
use crate::access::AccessError;
use crate::ebpf::cgroup::{self, SOCKETS};
use crate::ebpf::counters;
use crate::ebpf::pins::{Pins, Point};
use crate::ebpf::seen::{Seen, mode};
use crate::netns::Netns;
use crate::routing;

/// Reads the programs, their counters and policy routing.
pub(super) fn status(
    netns: &Netns,
    pins: &Pins,
    committed: Option<String>,
    manifest: Option<&Manifest>,
) -> Result<Status, AccessError> {
    let seen = Seen::read(&mut routing::open(netns)?, (netns, pins))?;
    let generation = seen.generation();
    let wanted = manifest.map_or_else(Vec::new, |manifest| seen.wanted(manifest));
    let runs = |wanted| generation.as_deref().is_some_and(|g| seen.runs(wanted, g));
    let missing = wanted.iter().filter(|wanted| !runs(wanted));
    let as_committed = match manifest {
        Some(manifest) => seen.in_step(pins, manifest)?,
        None => seen.running.is_empty() && seen.severed.is_empty(),
    };
    let (routing, routing_left_over) = routing_status(netns, manifest)?;
    let routed = routing.iter().all(|entry| entry.present) && routing_left_over.is_empty();
    let in_step = generation == committed && as_committed && routed;
    let mut programs: Vec<ProgramStatus> = running(&seen);
    programs.extend(missing.map(|wanted| ProgramStatus {
        interface: wanted.interface.clone(),
        hook: wanted.point.hook.word().to_owned(),
        name: Some(wanted.program.clone()),
        mode: None,
        id: None,
        tag: None,
    }));
    programs.extend(sockets(&seen, manifest, generation.as_deref()));
    let counters = match (&committed, manifest) {
        (Some(id), Some(manifest)) if pins.counters(id).exists() => {
            counters::read(&pins.counters(id), manifest)?
        }
        _ => std::collections::BTreeMap::new(),
    };
    let mut rules = manifest.map_or_else(Vec::new, |m| rules_of(&m.rules, &[].into()));
    for rule in &mut rules {
        rule.counter = counters.get(&rule.name).copied();
    }
    Ok(Status {
        table: false,
        iptables: None,
        generation,
        committed,
        policy: manifest.map(|manifest| manifest.policy.clone()),
        in_step,
        rules,
        routing,
        programs,
        routing_left_over,
    })
}

/// What sockets run, and what they should.
fn sockets(
    seen: &Seen,
    manifest: Option<&Manifest>,
    generation: Option<&str>,
) -> Vec<ProgramStatus> {
    let status = |hook: ProgramHook, id: Option<u32>, name: Option<String>| {
        let program = id.and_then(|id| seen.programs.get(&id));
        ProgramStatus {
            interface: SOCKETS.to_owned(),
            hook: hook.word().to_owned(),
            name: program.map(|program| program.name.clone()).or(name),
            mode: id.map(|_| "cgroup".to_owned()),
            id,
            tag: program.map(|program| format!("{:016x}", program.tag)),
        }
    };
    let running = seen.sockets.iter();
    let mut all: Vec<ProgramStatus> = running
        .map(|(hook, id)| status(*hook, Some(*id), None))
        .collect();
    let missing = manifest
        .into_iter()
        .flat_map(|manifest| cgroup::missing(seen, manifest, generation.unwrap_or_default()));
    all.extend(missing.map(|(hook, name)| status(hook, None, Some(name.to_owned()))));
    all
}

fn running(seen: &Seen) -> Vec<ProgramStatus> {
    let status = |(point, id): (&Point, &u32)| {
        let program = seen.programs.get(id);
        let interface = seen.interfaces.iter().find(|i| i.index == point.index);
        ProgramStatus {
            interface: seen.name(point.index),
            hook: point.hook.word().to_owned(),
            name: program.map(|program| program.name.clone()),
            mode: interface.map(|i| mode(point.hook, seen.way_at(*point), i.attached).to_owned()),
            id: Some(*id),
            tag: program.map(|program| format!("{:016x}", program.tag)),
        }
    };
    seen.running.iter().map(status).collect()
}
