//! Applying a bundle of programs.
//!
//! All programs are loaded, and so verified, before the first change. Then each interface in turn
//! gets its new program, in one step where it had an old one, and last the interfaces that shall
//! have none lose theirs: at every moment, an interface runs what the old policy or the new one
//! says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aya::Ebpf;
use aya::programs::Xdp;
use polc_bundle::{Bundle, Manifest};

use super::{Applied, ApplyError, ApplyOptions, Changes, State, Undo, Warning, undo};
use crate::ebpf::attach::Switch;
use crate::ebpf::pins::Pins;
use crate::ebpf::seen::{Seen, Wanted};
use crate::ebpf::{EbpfError, counters, load};
use crate::netlink::RouteConnection;
use crate::netns::Netns;
use crate::routing;
use crate::store::Store;

/// What will be done.
struct Plan<'b> {
    manifest: &'b Manifest,
    seen: Seen,
    wanted: Vec<Wanted>,
    /// Interfaces that shall have no program, and what they run.
    unwanted: Vec<(u32, u32)>,
    /// The generation in force.
    previous: Option<String>,
    /// Whether all programs of the generation are pinned already.
    pinned: bool,
    warnings: Vec<Warning>,
}

/// Applies a bundle of programs.
pub(super) fn apply(
    bundle: &Bundle,
    options: &ApplyOptions,
    (netns, store): (&Netns, &Store),
    progress: &mut dyn FnMut(&str),
) -> Result<Applied, ApplyError> {
    let pins = Pins::of(netns);
    let mut connection = routing::open(netns)?;
    progress("reading what runs at the interfaces");
    let key = netns.key();
    let committed = store.committed(&key)?;
    let known = committed.is_some();
    let plan = Plan::new(bundle, &mut connection, (&pins, known), store)?;
    progress("loading the programs");
    let loaded = plan.load(bundle, &pins, store)?;
    let applied = plan.outcome(options.dry_run);
    if options.dry_run {
        return Ok(applied);
    }
    progress("storing the bundle");
    let state = State {
        store,
        key,
        committed,
    };
    store.stage(&state.key, bundle)?;
    let mut switch = Switch::new(netns, &pins, &plan.seen, old_programs(&plan.seen, &pins)?);
    let generation = &plan.manifest.generation;
    let changed = change(
        &plan,
        loaded,
        &pins,
        (&mut switch, &mut connection),
        progress,
    )
    .and_then(|()| Ok(store.commit(&state.key, Some(generation))?));
    match changed {
        Ok(()) => Ok(tidy(applied, &pins, &state, generation)),
        Err(cause) => {
            progress("undoing");
            Err(ApplyError::Undone {
                cause: Box::new(cause),
                undo: take_back(&plan, switch, &pins, &state),
            })
        }
    }
}

impl<'b> Plan<'b> {
    fn new(
        bundle: &'b Bundle,
        connection: &mut RouteConnection,
        (pins, known): (&Pins, bool),
        store: &Store,
    ) -> Result<Self, ApplyError> {
        let manifest = bundle.manifest();
        let seen = Seen::read(connection, pins)?;
        let wanted = seen.wanted(manifest);
        if let Some(odd) = wanted.iter().find(|wanted| !wanted.ethernet) {
            return Err(ApplyError::Ebpf(EbpfError::NotEthernet {
                interface: odd.interface.clone(),
                program: odd.program.clone(),
            }));
        }
        let unwanted = seen.running.iter().map(|(index, id)| (*index, *id));
        let unwanted = unwanted
            .filter(|(index, _)| wanted.iter().all(|w| w.index != *index))
            .collect();
        // Where nothing runs and nothing was applied, what is pinned is of another namespace that
        // had this number.
        let ours = known || !seen.running.is_empty();
        let previous = seen.generation().filter(|_| ours);
        let there = pins.programs(&manifest.generation)?;
        let pinned = ours
            && !there.is_empty()
            && load::names(manifest).all(|name| there.iter().any(|pinned| pinned == name));
        let lost = !seen.running.is_empty()
            && previous.as_ref().is_none_or(|id| store.bundle(id).is_err());
        let warnings = lost.then(|| Warning::NoWayBack {
            generation: previous.clone(),
        });
        Ok(Self {
            manifest,
            seen,
            wanted,
            unwanted,
            previous,
            pinned,
            warnings: warnings.into_iter().collect(),
        })
    }

    /// Loads the programs unless they are in the kernel already.
    fn load(
        &self,
        bundle: &Bundle,
        pins: &Pins,
        store: &Store,
    ) -> Result<Option<Ebpf>, ApplyError> {
        let object = load::object(bundle)?;
        if self.pinned || load::names(self.manifest).next().is_none() {
            return Ok(None);
        }
        let before = self.counters_before(pins, store);
        let Some((path, before)) = before else {
            return Ok(Some(load::load(object, self.manifest, None)?));
        };
        let before = before.manifest();
        if counters::places(before) == counters::places(self.manifest) {
            return Ok(Some(load::load(object, self.manifest, Some(&path))?));
        }
        let mut loaded = load::load(object, self.manifest, None)?;
        counters::hand_on(&path, before, &mut loaded, self.manifest)?;
        Ok(Some(loaded))
    }

    /// The counters of the generation in force, and its bundle, which names them.
    fn counters_before(&self, pins: &Pins, store: &Store) -> Option<(PathBuf, Bundle)> {
        let generation = self.previous.as_deref()?;
        let path = pins.counters(generation);
        let bundle = store.bundle(generation).ok()?;
        (!self.seen.running.is_empty() && path.exists()).then_some((path, bundle))
    }

    fn outcome(&self, dry_run: bool) -> Applied {
        let generation = &self.manifest.generation;
        let new = self.wanted.iter();
        let new = new.filter(|wanted| !self.seen.runs(wanted, generation));
        let gone = self.unwanted.iter();
        Applied {
            generation: generation.clone(),
            previous: self.previous.clone(),
            changes: Changes {
                attached: new
                    .map(|w| format!("program {} at {}", w.program, w.interface))
                    .collect(),
                detached: gone
                    .map(|(index, _)| format!("program at {}", self.seen.name(*index)))
                    .collect(),
                ..Changes::default()
            },
            warnings: self.warnings.clone(),
            dry_run,
        }
    }
}

/// The programs that interfaces run now, by number.
fn old_programs(seen: &Seen, pins: &Pins) -> Result<BTreeMap<u32, Xdp>, EbpfError> {
    let mut old = BTreeMap::new();
    for (id, pinned) in &seen.programs {
        if seen.running.values().any(|running| running == id) {
            let mut programs = load::open(pins, &pinned.generation)?;
            old.extend(programs.remove(&pinned.name).map(|program| (*id, program)));
        }
    }
    Ok(old)
}

/// Changes the interfaces.
fn change(
    plan: &Plan<'_>,
    loaded: Option<Ebpf>,
    pins: &Pins,
    (switch, connection): (&mut Switch<'_>, &mut RouteConnection),
    progress: &mut dyn FnMut(&str),
) -> Result<(), ApplyError> {
    let generation = &plan.manifest.generation;
    pins.make(generation)?;
    if let Some(mut loaded) = loaded {
        load::pin(&mut loaded, plan.manifest, pins)?;
    }
    let mut programs = load::open(pins, generation)?;
    for wanted in &plan.wanted {
        if plan.seen.runs(wanted, generation) {
            continue;
        }
        progress(&format!("attaching to `{}`", wanted.interface));
        let program = programs
            .get_mut(&wanted.program)
            .ok_or_else(|| EbpfError::NoProgram(wanted.program.clone()))?;
        switch.put(wanted, program)?;
    }
    for (index, running) in &plan.unwanted {
        progress(&format!("detaching from `{}`", plan.seen.name(*index)));
        switch.take(*index, *running)?;
    }
    for index in &plan.seen.severed {
        if plan.wanted.iter().all(|wanted| wanted.index != *index) {
            pins.remove_link(*index)?;
        }
    }
    progress("reading back");
    let now = Seen::read(connection, pins)?;
    let missing = plan.wanted.iter().find(|w| !now.runs(w, generation));
    match missing {
        // An interface that has gone meanwhile needs nothing.
        Some(wanted) if now.interfaces.iter().any(|i| i.index == wanted.index) => {
            Err(ApplyError::Ebpf(EbpfError::NotRunning {
                interface: wanted.interface.clone(),
                program: wanted.program.clone(),
            }))
        }
        _ => Ok(()),
    }
}

/// Takes away what nothing needs any more.
fn tidy(mut applied: Applied, pins: &Pins, state: &State<'_>, generation: &str) -> Applied {
    let mut untidy = |message: String| applied.warnings.push(Warning::Store { message });
    if let Err(error) = state.store.unstage(&state.key) {
        untidy(error.to_string());
    }
    match pins.generations() {
        Ok(generations) => {
            for old in generations.iter().filter(|g| *g != generation) {
                if let Err(error) = pins.remove_generation(old) {
                    untidy(error.to_string());
                }
            }
        }
        Err(error) => untidy(error.to_string()),
    }
    applied
}

fn take_back(plan: &Plan<'_>, switch: Switch<'_>, pins: &Pins, state: &State<'_>) -> Undo {
    let mut problems = switch.undo();
    if !plan.pinned
        && let Err(error) = pins.remove_generation(&plan.manifest.generation)
    {
        problems.push(format!("the pinned programs: {error}"));
    }
    if let Err(error) = undo::restore_state(state) {
        problems.push(format!("the state directory: {error}"));
    }
    if problems.is_empty() {
        Undo::Restored {
            generation: plan.previous.clone(),
        }
    } else {
        Undo::Failed { problems }
    }
}
