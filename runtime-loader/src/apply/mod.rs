//! Applying a bundle: check everything, change, read back, or undo.
//!
//! The order makes every state in between the old policy, the new one, or one that is stricter:
//! routes and rules that only marked packets use are added first, then the ruleset is replaced, then
//! routes and rules that nothing uses any more go. What is in force is asked of the kernel.

mod error;
mod prepare;
mod programs;
mod ruleset;
mod undo;

use std::ops::ControlFlow;
use std::path::PathBuf;

use polc_bundle::{Bundle, Object};
use serde::Serialize;

use crate::ebpf::{self, Gone, pins::Pins, seen::Seen};
use crate::iptables::{self, Tools, Variant};
use crate::netlink::RouteConnection;
use crate::netns::Netns;
use crate::routing::{self, Made};
use crate::store::Store;
use crate::sysctl::SysctlProblem;

pub use error::{ApplyError, Undo};
use prepare::Prepared;
use ruleset::{Chains, NftTable, Ruleset};

/// How to apply.
#[derive(Clone, Debug, Default)]
pub struct ApplyOptions {
    /// The name of the network namespace; the caller's own if none.
    pub netns: Option<String>,
    /// Check everything, change nothing. It takes no lock, so that a change by somebody else at
    /// the same time can be seen half done.
    pub dry_run: bool,
    /// Where the state is kept; [`DEFAULT_STATE_DIR`](crate::DEFAULT_STATE_DIR) if none.
    pub state_dir: Option<PathBuf>,
    /// Attach programs for packets as kernels before 6.6 have to: as filters at the qdisc `clsact`,
    /// although the kernel has tcx links. Where programs run already, others take their places the
    /// way they run.
    pub clsact: bool,
    /// Which `iptables` takes policies for the target `iptables`; if none, the one that has a policy in force,
    /// or else the one that the machine calls `iptables`.
    pub iptables: Option<Variant>,
}

/// What an apply did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// The generation of the bundle.
    pub generation: String,
    /// The generation that was in the kernel before.
    pub previous: Option<String>,
    /// What changed beside the ruleset itself.
    pub changes: Changes,
    /// What should be known, though it did not stand in the way.
    pub warnings: Vec<Warning>,
    /// Whether nothing was changed because that was asked for.
    pub dry_run: bool,
}

/// Changes to what surrounds the ruleset. Rules and routes are written as the `ip` command names
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Policy-routing rules and local routes added.
    pub routing_added: Vec<String>,
    /// Policy-routing rules and local routes of earlier policies removed.
    pub routing_removed: Vec<String>,
    /// Chains, sets, maps, limits and counters of earlier policies removed.
    pub objects_removed: Vec<Object>,
    /// Programs that hooks of interfaces were given, also in place of others.
    pub attached: Vec<String>,
    /// Hooks that have lost the programs of earlier policies.
    pub detached: Vec<String>,
    /// Sets that programs look up whose contents were replaced, while the programs stayed.
    pub refilled: Vec<String>,
}

/// Something that did not stand in the way of an apply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Warning {
    /// A kernel setting is not as it should be.
    Sysctl(SysctlProblem),
    /// The generation that was in the kernel is not in the state directory: had the apply
    /// failed, it could not have been restored.
    NoWayBack {
        /// That generation; none if the table had no id.
        generation: Option<String>,
    },
    /// `nft` reported an error, but the kernel has the new generation.
    Nft {
        /// What it said.
        message: String,
    },
    /// What was kept under a map's name is of another shape: the new map begins empty.
    BeginsEmpty {
        /// Its name.
        map: String,
    },
    /// A user, group or control group is not known any more. Programs that stay know it by the number that
    /// it had.
    Gone(Gone),
    /// A filter of somebody else may run before a program that is attached as a filter.
    Behind {
        /// The hook, as `INTERFACE (HOOK)`.
        place: String,
    },
    /// A set that nothing asks any more could not be destroyed.
    Left {
        /// Its name.
        set: String,
        /// Why.
        message: String,
    },
    /// Rules could not be tried in a namespace of their own, because making one is not permitted.
    Unchecked,
    /// The state directory could not be tidied after the policy was in force.
    Store {
        /// Why.
        message: String,
    },
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sysctl(problem) => problem.fmt(f),
            Self::NoWayBack {
                generation: Some(generation),
            } => write!(
                f,
                "generation `{generation}` is in the kernel but not in the state directory: it cannot be restored"
            ),
            Self::NoWayBack { generation: None } => f.write_str(
                "the rules in the kernel have no generation id: they cannot be restored",
            ),
            Self::Nft { message } => write!(
                f,
                "`nft` reported an error, but the kernel has the new ruleset:\n{message}"
            ),
            Self::BeginsEmpty { map } => write!(
                f,
                "the map `{map}` begins empty: the one that was kept is of another shape"
            ),
            Self::Gone(gone) => write!(
                f,
                "rules go on with the number that the {} `{}` had: {}",
                gone.kind, gone.name, gone.message
            ),
            Self::Behind { place } => write!(
                f,
                "another filter may run before the policy's at {place}: packets that it accepts are not judged"
            ),
            Self::Left { set, message } => write!(f, "the set `{set}` stays: {message}"),
            Self::Unchecked => f.write_str(
                "the rules were not tried before they were loaded: that takes the capability CAP_SYS_ADMIN",
            ),
            Self::Store { message } => write!(f, "the state directory is untidy: {message}"),
        }
    }
}

/// The parts of the kernel that an apply changes.
struct Kernel<'a, R> {
    ruleset: R,
    netns: &'a Netns,
    routes: RouteConnection,
}

/// What the state directory knows of the namespace.
struct State<'a> {
    store: &'a Store,
    key: String,
    /// The generation committed before.
    committed: Option<String>,
}

/// Applies `bundle`. Each step is told to `progress` before it is taken.
///
/// # Errors
///
/// Errors other than [`ApplyError::Undone`] mean that nothing was changed. That one holds the
/// cause, and whether the undoing succeeded.
pub fn apply(
    bundle: &Bundle,
    options: &ApplyOptions,
    progress: &mut dyn FnMut(&str),
) -> Result<Applied, ApplyError> {
    let netns = Netns::open(options.netns.as_deref())?;
    let store = Store::new(options.state_dir.as_deref());
    let _lock = if options.dry_run {
        None
    } else {
        Some(store.lock(&netns)?)
    };
    let target = bundle.manifest().target.as_str();
    if let Some(other) = other_target(&store, &netns, target)? {
        return Err(ApplyError::OtherTarget { other });
    }
    let at = (&netns, &store);
    match target {
        ebpf::TARGET => programs::apply(bundle, options, at, progress),
        iptables::TARGET => {
            let tools = Tools {
                netns: &netns,
                variant: iptables::choose(&netns, options.iptables)?,
            };
            replace_rules(Chains(tools), bundle, options.dry_run, at, progress)
        }
        _ => replace_rules(NftTable(&netns), bundle, options.dry_run, at, progress),
    }
}

/// What [`renew`] has found.
#[derive(Debug)]
pub(crate) enum Renewed {
    /// No programs are in force, or not any more.
    Over,
    /// Everything was as it should be.
    InStep,
    /// Something was missing, and was put in force.
    Applied(Box<Applied>),
}

/// Puts the programs that were committed last in force again, where interfaces came or went.
pub(crate) fn renew(options: &ApplyOptions) -> Result<Renewed, ApplyError> {
    let netns = Netns::open(options.netns.as_deref())?;
    let store = Store::new(options.state_dir.as_deref());
    // Mostly nothing is missing, and the lock would only be in somebody's way. What is seen of
    // somebody's work half done does not count.
    if let Ok(ControlFlow::Break(found)) = unlike_committed(&netns, &store) {
        return Ok(found);
    }
    let _lock = store.lock(&netns)?;
    match unlike_committed(&netns, &store)? {
        ControlFlow::Break(found) => Ok(found),
        ControlFlow::Continue(bundle) => {
            let at = (&netns, &store);
            let options = ApplyOptions {
                dry_run: false,
                ..options.clone()
            };
            programs::apply(&bundle, &options, at, &mut |_| {})
                .map(|applied| Renewed::Applied(Box::new(applied)))
        }
    }
}

/// The committed bundle of programs, if they do not all run.
fn unlike_committed(
    netns: &Netns,
    store: &Store,
) -> Result<ControlFlow<Renewed, Bundle>, ApplyError> {
    let Some(committed) = store.committed(&netns.key())? else {
        return Ok(ControlFlow::Break(Renewed::Over));
    };
    let bundle = store.bundle(&committed)?;
    Ok(if bundle.manifest().target != ebpf::TARGET {
        ControlFlow::Break(Renewed::Over)
    } else if programs::in_step(&bundle, netns)? {
        ControlFlow::Break(Renewed::InStep)
    } else {
        ControlFlow::Continue(bundle)
    })
}

/// Applies a bundle of rules.
fn replace_rules<R: Ruleset>(
    ruleset: R,
    bundle: &Bundle,
    dry_run: bool,
    (netns, store): (&Netns, &Store),
    progress: &mut dyn FnMut(&str),
) -> Result<Applied, ApplyError> {
    let mut kernel = Kernel {
        ruleset,
        netns,
        routes: routing::open(netns)?,
    };
    let prepared = prepare::prepare(bundle, &mut kernel, store, progress)?;
    if dry_run {
        return Ok(prepared.outcome(bundle, true));
    }
    progress("storing the bundle");
    let state = State {
        key: netns.key(),
        committed: store.committed(&netns.key())?,
        store,
    };
    store.stage(&state.key, bundle)?;
    let mut made = Made::default();
    let generation = bundle.manifest().generation.as_str();
    let changed =
        change(bundle, &prepared, &mut kernel, &mut made, progress).and_then(|warnings| {
            store.commit(&state.key, Some(generation))?;
            Ok(warnings)
        });
    match changed {
        Ok(warnings) => {
            let mut applied = prepared.outcome(bundle, false);
            applied.warnings.extend(warnings);
            let tidied = store.unstage(&state.key);
            applied
                .warnings
                .extend(tidied.err().map(|error| Warning::Store {
                    message: error.to_string(),
                }));
            Ok(applied)
        }
        Err(cause) => {
            progress("undoing");
            Err(ApplyError::Undone {
                cause: Box::new(cause),
                undo: undo::undo(&prepared, &mut kernel, &state, &made),
            })
        }
    }
}

/// The target of the policy in force, if it is another one than `target`. Chains of iptables are looked for
/// only where nothing is known to have been applied, because their tools are asked one by one, and by those who may:
/// the other targets take fewer capabilities.
fn other_target(store: &Store, netns: &Netns, target: &str) -> Result<Option<String>, ApplyError> {
    let committed = store.committed(&netns.key())?;
    let unknown = committed.is_none() && target != iptables::TARGET;
    let bundle = committed.and_then(|id| store.bundle(&id).ok());
    let mut found = bundle.map(|bundle| bundle.manifest().target.clone());
    if found.is_none() && Seen::any(&mut routing::open(netns)?, (netns, &Pins::of(netns)))? {
        found = Some(ebpf::TARGET.to_owned());
    }
    if found.is_none() && unknown {
        match iptables::in_force(netns) {
            Ok(Some(_)) => found = Some(iptables::TARGET.to_owned()),
            Err(error) if !error.is_denied() => return Err(error.into()),
            Ok(None) | Err(_) => {}
        }
    }
    Ok(found.filter(|other| other != target))
}

/// Changes the kernel; `made` holds the routing steps taken, also after an error.
fn change<R: Ruleset>(
    bundle: &Bundle,
    prepared: &Prepared<R::Change>,
    kernel: &mut Kernel<'_, R>,
    made: &mut Made,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Warning>, ApplyError> {
    made.make(&mut kernel.routes, &prepared.routing.add, progress)?;
    progress("loading the ruleset");
    let warnings = kernel.ruleset.load(&prepared.change)?;
    progress("reading the generation back");
    let found = kernel.ruleset.generation()?;
    let expected = &bundle.manifest().generation;
    if found.as_ref() != Some(expected) {
        return Err(ApplyError::Generation {
            expected: expected.clone(),
            found,
        });
    }
    made.make(&mut kernel.routes, &prepared.routing.remove, progress)?;
    Ok(warnings)
}
