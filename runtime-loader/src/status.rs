//! What is in force.

mod programs;

use std::collections::BTreeMap;
use std::path::Path;

use polc_bundle::{Bundle, Manifest, RoutingPlan, RuleEntry};
use serde::Serialize;

use crate::access::AccessError;
use crate::ebpf::{self, pins::Pins, seen::Seen as Interfaces};
use crate::iptables::{self, Variant};
use crate::netns::Netns;
use crate::nft::{self, Counter, TableAccess};
use crate::routing::{self, Seen, describe_route, describe_rule};
use crate::store::Store;

/// What is in force in a network namespace, against what was committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Whether the kernel has the rules of a policy: the table `inet polc`, or chains `POLC-*` of iptables.
    pub table: bool,
    /// Whose chains these are; none for a table or programs.
    pub iptables: Option<Variant>,
    /// The generation in the kernel.
    pub generation: Option<String>,
    /// The generation committed last.
    pub committed: Option<String>,
    /// The name of the committed policy, if its bundle is still there.
    pub policy: Option<String>,
    /// Whether the kernel has the committed generation and all of its policy routing, and no
    /// policy routing of ours besides. Also true when nothing is committed and nothing in force.
    pub in_step: bool,
    /// The committed policy's rules.
    pub rules: Vec<RuleStatus>,
    /// The committed policy's rules and routes for policy routing.
    pub routing: Vec<RoutingStatus>,
    /// The programs that interfaces run, and those that they should run.
    pub programs: Vec<ProgramStatus>,
    /// The loader's rules and routes in the kernel that the committed policy does not have.
    pub routing_left_over: Vec<String>,
}

/// A rule of the policy and what it has matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleStatus {
    /// Its name in the policy.
    pub name: String,
    /// Its stage.
    pub stage: String,
    /// Its verb.
    pub verdict: String,
    /// `file:line` of its source.
    pub source: String,
    /// What it has counted; none if it does not count or the kernel lacks its counter.
    pub counter: Option<Counter>,
}

/// A program and where it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProgramStatus {
    /// The interface; `sockets` where it runs for those.
    pub interface: String,
    /// The hook: `xdp`, `ingress` or `egress`; `sock_create` or `getsockopt` for sockets.
    pub hook: String,
    /// The program's name in its object; none if it is not known or there should be none.
    pub name: Option<String>,
    /// `native`, `generic` or `hardware` for XDP, `cgroup` for sockets, `tcx` or `clsact` for the
    /// others; none if the hook does not run it.
    pub mode: Option<String>,
    /// The kernel's number of the program.
    pub id: Option<u32>,
    /// The kernel's hash of its instructions.
    pub tag: Option<String>,
}

/// A rule or route of the plan and whether the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RoutingStatus {
    /// The rule or route, as the `ip` command names it.
    pub what: String,
    /// Whether the kernel has it.
    pub present: bool,
}

/// Reads what is in force. It takes no lock and changes nothing.
pub fn status(netns: Option<&str>, state_dir: Option<&Path>) -> Result<Status, AccessError> {
    let netns = Netns::open(netns)?;
    let store = Store::new(state_dir);
    let committed = store.committed(&netns.key())?;
    let bundle = committed.as_deref().and_then(|id| store.bundle(id).ok());
    let manifest = bundle.as_ref().map(Bundle::manifest);
    let pins = Pins::of(&netns);
    if manifest.is_some_and(|m| m.target == ebpf::TARGET)
        || (committed.is_none() && Interfaces::any(&mut routing::open(&netns)?, (&netns, &pins))?)
    {
        return programs::status(&netns, &pins, committed, manifest);
    }
    let rules = match manifest.map(|m| m.target.as_str()) {
        Some(iptables::TARGET) => chains(&netns, manifest)?,
        Some(_) => None,
        // Who may not ask the tools of iptables may still ask for a table.
        None => chains(&netns, None).or_else(|error| match error {
            AccessError::Iptables(error) if error.is_denied() => Ok(None),
            other => Err(other),
        })?,
    };
    let found = rules.map_or_else(|| table(&netns), Ok)?;
    let (routing, routing_left_over) = routing_status(&netns, manifest)?;
    let in_step = found.generation == committed
        && found.complete
        && routing.iter().all(|entry| entry.present)
        && routing_left_over.is_empty();
    Ok(Status {
        table: found.exists,
        iptables: found.iptables,
        generation: found.generation,
        committed,
        policy: manifest.map(|manifest| manifest.policy.clone()),
        in_step,
        rules: manifest.map_or_else(Vec::new, |m| rules_of(&m.rules, &found.counters)),
        routing,
        programs: Vec::new(),
        routing_left_over,
    })
}

/// The rules of netfilter that are a policy's.
struct Found {
    exists: bool,
    iptables: Option<Variant>,
    generation: Option<String>,
    /// Whether everything leads to them that should.
    complete: bool,
    counters: BTreeMap<String, Counter>,
}

fn table(netns: &Netns) -> Result<Found, AccessError> {
    let access = nft::access(netns);
    Ok(Found {
        exists: access.exists()?,
        iptables: None,
        generation: access.generation()?,
        complete: true,
        counters: access.counters()?,
    })
}

/// The chains in force, if there are any.
fn chains(netns: &Netns, manifest: Option<&Manifest>) -> Result<Option<Found>, AccessError> {
    let Some((variant, seen)) = iptables::in_force(netns)? else {
        return Ok(None);
    };
    let jumps = manifest.map_or(&[][..], |m| &m.jumps);
    Ok(Some(Found {
        exists: true,
        iptables: Some(variant),
        generation: seen.generation().map(str::to_owned),
        complete: jumps.iter().all(|jump| seen.has(jump)),
        counters: seen.counters(),
    }))
}

fn rules_of(entries: &[RuleEntry], counters: &BTreeMap<String, Counter>) -> Vec<RuleStatus> {
    let rule = |entry: &RuleEntry| RuleStatus {
        name: entry.name.clone(),
        stage: entry.stage.clone(),
        verdict: entry.verdict.clone(),
        source: entry.source.clone(),
        counter: entry
            .counter
            .as_ref()
            .and_then(|c| counters.get(c))
            .copied(),
    };
    entries.iter().map(rule).collect()
}

/// The planned rules and routes with their presence, and those left over.
fn routing_status(
    netns: &Netns,
    manifest: Option<&Manifest>,
) -> Result<(Vec<RoutingStatus>, Vec<String>), AccessError> {
    let nothing = RoutingPlan::default();
    let plan = manifest.map_or(&nothing, |manifest| &manifest.routing);
    let mut connection = routing::open(netns)?;
    let (loopback, _) = routing::loopback(&mut connection)?;
    let seen = Seen::read(&mut connection, plan, loopback)?;
    let steps = routing::steps(plan, &seen, loopback);
    let rules = plan.rules.iter().map(describe_rule);
    let routes = plan.local_routes.iter().map(describe_route);
    let planned = rules
        .chain(routes)
        .map(|what| RoutingStatus {
            present: !steps.add.iter().any(|step| step.what == what),
            what,
        })
        .collect();
    let left_over = steps.remove.into_iter().map(|step| step.what).collect();
    Ok((planned, left_over))
}
