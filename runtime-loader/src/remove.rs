//! Taking a policy away.

use std::path::Path;

use polc_bundle::RoutingPlan;
use serde::Serialize;

use crate::access::AccessError;
use crate::ebpf::cgroup::SOCKETS;
use crate::ebpf::pins::{Pins, Point};
use crate::ebpf::seen::place;
use crate::ebpf::{self, program, seen::sort_for_removal};
use crate::iptables;
use crate::netlink::RouteConnection;
use crate::netns::Netns;
use crate::nft::{self, TableAccess};
use crate::routing::{self, Seen};
use crate::store::Store;

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Whether there was a table `inet polc`.
    pub table: bool,
    /// The tables of iptables that lost chains `POLC-*`, each as its program with the option for it.
    pub chains: Vec<String>,
    /// The policy-routing rules and local routes, as the `ip` command names them.
    pub routing: Vec<String>,
    /// The hooks that lost a program, as `INTERFACE (HOOK)`, or `sockets (HOOK)`.
    pub programs: Vec<String>,
    /// Whether the state directory knew of the namespace.
    pub state: bool,
}

impl Removed {
    /// Whether there was nothing to remove.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Removes the table `inet polc`, the chains `POLC-*` and their sets, the loader's programs, its policy-routing
/// rules and routes, and the state of the namespace. Nothing else is touched. It may be done again.
pub fn remove(netns: Option<&str>, state_dir: Option<&Path>) -> Result<Removed, AccessError> {
    let netns = Netns::open(netns)?;
    let store = Store::new(state_dir);
    let _lock = store.lock(&netns)?;
    let nothing = RoutingPlan::default();
    let mut connection = routing::open(&netns)?;
    let (loopback, _) = routing::loopback(&mut connection)?;
    // Rules and programs first, so that no packet gets a mark whose rules and routes are gone.
    let mut removed = Removed {
        table: nft::access(&netns).delete()?,
        chains: remove_chains(&netns, &store)?,
        programs: remove_programs(&netns, &mut connection)?,
        ..Removed::default()
    };
    let seen = Seen::read(&mut connection, &nothing, loopback)?;
    for step in routing::steps(&nothing, &seen, loopback).remove {
        step.make(&mut connection)?;
        removed.routing.push(step.what);
    }
    removed.state = store.forget(&netns.key())?;
    Ok(removed)
}

/// Takes all chains away. Who may not ask for them can remove a policy that is known to have none.
fn remove_chains(netns: &Netns, store: &Store) -> Result<Vec<String>, AccessError> {
    let committed = store.committed(&netns.key())?;
    let bundle = committed.and_then(|id| store.bundle(&id).ok());
    let other = bundle.is_some_and(|bundle| bundle.manifest().target != iptables::TARGET);
    match iptables::remove(netns) {
        Err(error) if other && error.is_denied() => Ok(Vec::new()),
        outcome => Ok(outcome?),
    }
}

/// Takes all programs away, and everything that is pinned; the hooks that had one.
fn remove_programs(
    netns: &Netns,
    connection: &mut RouteConnection,
) -> Result<Vec<String>, AccessError> {
    let pins = Pins::of(netns);
    if !pins.exist() {
        return Ok(Vec::new());
    }
    let seen = ebpf::seen::Seen::read(connection, (netns, &pins))?;
    let mut points: Vec<Point> = seen.running.keys().copied().collect();
    let mut places: Vec<String> = points.iter().map(|point| seen.place(*point)).collect();
    places.dedup();
    places.extend(seen.sockets.keys().map(|hook| place(SOCKETS, *hook)));
    sort_for_removal(&mut points);
    for point in points {
        program::detach(connection, &pins, point, &seen.ours)?;
    }
    pins.remove()?;
    Ok(places)
}
