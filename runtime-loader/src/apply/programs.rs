//! Applying a bundle of programs.
//!
//! All programs are loaded, and so verified, before the first change. Then each hook of an interface
//! in turn gets its new program, in one step where it had an old one, and last the hooks that shall
//! have none lose theirs: at every moment, a hook runs what the old policy or the new one says. Policy
//! routing is there before the programs that mark packets for it, and goes after them.
//!
//! Where only the contents of large sets are others, the programs stay, and each set gets its new
//! contents in one step.

use std::path::PathBuf;

use aya::Ebpf;
use polc_bundle::{Bundle, Manifest, ProgramHook, SetEntry};

use super::{Applied, ApplyError, ApplyOptions, Changes, State, Undo, Warning, prepare, undo};
use crate::ebpf::attach::Switch;
use crate::ebpf::cgroup::{self, SOCKETS, Sockets};
use crate::ebpf::pins::{Pins, Point};
use crate::ebpf::program::{Way, has_tcx};
use crate::ebpf::seen::{Seen, Wanted, place, sort_for_removal};
use crate::ebpf::sets::{self, Replaced};
use crate::ebpf::state::{Kept, Pinning};
use crate::ebpf::{CgroupError, EbpfError, addresses, classes, counters, load, principals, state};
use crate::netlink::RouteConnection;
use crate::netns::Netns;
use crate::routing::{self, Made, Steps};
use crate::store::Store;

/// What will be done.
struct Plan<'b> {
    bundle: &'b Bundle,
    manifest: &'b Manifest,
    object: &'b [u8],
    seen: Seen,
    /// How hooks for packets run their programs.
    way: Way,
    wanted: Vec<Wanted>,
    /// Hooks that shall have no program, and what they run, in the order in which they lose it.
    unwanted: Vec<(Point, u32)>,
    /// The cookie of the namespace, where sockets shall run programs.
    cookie: Option<u64>,
    /// The numbers of names, but for those that have none any more and keep what they had.
    principals: Vec<Option<u64>>,
    /// The generation in force.
    previous: Option<String>,
    /// Whether everything of the generation is pinned already.
    pinned: bool,
    /// The generation whose programs stay, because this one differs only in large sets.
    carried: Option<String>,
    /// The sets of programs that stay that get other tables.
    stale: Vec<&'b SetEntry>,
    /// The kept maps of what is loaded.
    kept: Kept<'b>,
    /// What changes of policy routing.
    routing: Steps,
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
    let machine = prepare::check_machine(bundle, netns, &mut connection, progress)?;
    progress("reading what runs at the interfaces");
    let key = netns.key();
    let committed = store.committed(&key)?;
    let known = committed.is_some();
    let at = (netns, &pins, known);
    let request = (bundle, options.clsact);
    let plan = Plan::new(request, machine, &mut connection, at, store)?;
    progress("loading the programs");
    let loaded = plan.load(&pins, store)?;
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
    let old = plan.seen.open(plan.seen.running.values(), &pins)?;
    let of_sockets = plan.seen.open(plan.seen.sockets.values(), &pins)?;
    let mut work = Work {
        plan: &plan,
        netns,
        pins: &pins,
        switch: Switch::new(
            (netns, &pins),
            routing::open(netns)?,
            plan.way,
            &plan.seen,
            old,
        ),
        sockets: Sockets::new(&pins, &plan.seen, of_sockets),
        pinning: Pinning::new(&pins),
        replaced: Replaced::default(),
        renamed: false,
        made: Made::default(),
    };
    let changed = work
        .change(loaded, &mut connection, progress)
        .and_then(|()| Ok(store.commit(&state.key, Some(&plan.manifest.generation))?));
    match changed {
        Ok(()) => Ok(tidy(applied, &pins, &state, plan.manifest)),
        Err(cause) => {
            progress("undoing");
            Err(ApplyError::Undone {
                cause: Box::new(cause),
                undo: work.take_back(&state, &mut connection),
            })
        }
    }
}

/// Whether everything runs that a bundle says, and nothing else of ours.
pub(super) fn in_step(bundle: &Bundle, netns: &Netns) -> Result<bool, ApplyError> {
    let (pins, mut connection) = (Pins::of(netns), routing::open(netns)?);
    let (manifest, seen) = (
        bundle.manifest(),
        Seen::read(&mut connection, (netns, &pins))?,
    );
    let routed = routing::in_step(&mut connection, &manifest.routing)?;
    Ok(routed && seen.in_step(&pins, manifest)?)
}

impl<'b> Plan<'b> {
    fn new(
        (bundle, clsact): (&'b Bundle, bool),
        (routing, mut warnings): (Steps, Vec<Warning>),
        connection: &mut RouteConnection,
        (netns, pins, known): (&Netns, &Pins, bool),
        store: &Store,
    ) -> Result<Self, ApplyError> {
        let manifest = bundle.manifest();
        let object = load::object(bundle)?;
        let seen = Seen::read(connection, (netns, pins))?;
        let wanted = seen.wanted(manifest);
        let packets = manifest.programs.iter().any(|p| p.hook != ProgramHook::Xdp);
        let way = match seen.way() {
            Some(way) => way,
            None if clsact || (packets && !has_tcx(netns)?) => Way::Filter,
            None => Way::Link,
        };
        let behind = check(connection, &seen, way, &wanted)?;
        let unwanted = unwanted(&seen, &wanted);
        // Where nothing runs and nothing was applied, what is pinned is of another namespace that
        // had this number.
        let ours = known || !seen.running.is_empty();
        let previous = seen.generation().filter(|_| ours);
        let pinned = ours && is_pinned(manifest, pins)?;
        let carried = previous
            .as_ref()
            .filter(|_| !pinned && !seen.running.is_empty());
        let carried = match carried.map(|id| store.bundle(id)) {
            Some(Ok(before))
                if same_programs(&before, bundle) && is_pinned(before.manifest(), pins)? =>
            {
                previous.clone()
            }
            _ => None,
        };
        let stays = if pinned {
            Some(&manifest.generation)
        } else {
            carried.as_ref()
        };
        let stale = stays.map(|id| sets::stale(pins, id, manifest));
        let stale = stale.transpose()?.unwrap_or_default();
        let kept = if pinned || carried.is_some() {
            Kept::default()
        } else {
            Kept::new(object, manifest, pins, ours)?
        };
        let cookie = cgroup::cookie(manifest, netns)?;
        let (principals, gone) = principals::known(&manifest.unresolved, stays.is_some())?;
        let gone = gone.into_iter().map(Warning::Gone);
        let lost = !seen.running.is_empty()
            && previous.as_ref().is_none_or(|id| store.bundle(id).is_err());
        let lost = lost.then(|| Warning::NoWayBack {
            generation: previous.clone(),
        });
        let empty = kept.misfits.iter().map(|map| Warning::BeginsEmpty {
            map: (*map).to_owned(),
        });
        warnings.extend(lost.into_iter().chain(empty).chain(behind).chain(gone));
        Ok(Self {
            bundle,
            manifest,
            object,
            seen,
            way,
            wanted,
            unwanted,
            cookie,
            principals,
            previous,
            pinned,
            carried,
            stale,
            kept,
            routing,
            warnings,
        })
    }

    /// Loads the programs unless they are in the kernel already.
    fn load(&self, pins: &Pins, store: &Store) -> Result<Option<Ebpf>, ApplyError> {
        let stay = self.pinned || self.carried.is_some();
        if stay || load::names(self.manifest).is_empty() {
            return Ok(None);
        }
        let kept = (pins, &self.kept);
        let load = |counters| {
            let mut loaded = load::load(self.bundle, self.object, counters, kept)?;
            if let Some(cookie) = self.cookie {
                cgroup::tell(&mut loaded, cookie)?;
            }
            Ok::<_, EbpfError>(loaded)
        };
        let before = self.counters_before(pins, store);
        let Some((path, before)) = before else {
            return Ok(Some(load(None)?));
        };
        let before = before.manifest();
        if counters::places(before) == counters::places(self.manifest) {
            return Ok(Some(load(Some(&path))?));
        }
        let mut loaded = load(None)?;
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

    /// Whether a hook runs already what is wanted.
    fn runs(&self, wanted: &Wanted) -> bool {
        let own = &self.manifest.generation;
        self.seen.runs(wanted, self.carried.as_ref().unwrap_or(own))
    }

    /// What sockets do not run yet and should.
    fn new_sockets(&self) -> impl Iterator<Item = (ProgramHook, &'b str)> {
        let own = self.carried.as_ref().unwrap_or(&self.manifest.generation);
        cgroup::missing(&self.seen, self.manifest, own)
    }

    fn outcome(&self, dry_run: bool) -> Applied {
        let generation = &self.manifest.generation;
        let new = self.wanted.iter().filter(|wanted| !self.runs(wanted));
        let sockets = self.new_sockets();
        let sockets = sockets.map(|(hook, name)| program_at(name, SOCKETS, hook));
        let left = cgroup::unwanted(&self.seen, self.manifest);
        let refilled = self.stale.iter().map(|set| {
            let name = set.policy_name.as_deref().unwrap_or(&set.name);
            format!("set {name}: {} ranges", set.elements)
        });
        let gone = self.unwanted.iter();
        let (routing_added, routing_removed) = prepare::names(&self.routing);
        Applied {
            generation: generation.clone(),
            previous: self.previous.clone(),
            changes: Changes {
                routing_added,
                routing_removed,
                attached: new
                    .map(|w| program_at(&w.program, &w.interface, w.point.hook))
                    .chain(sockets)
                    .collect(),
                detached: gone
                    .map(|(point, id)| {
                        let known = self.seen.programs.get(id);
                        let name = known.map_or("unknown", |program| &program.name);
                        format!("program {name} at {}", self.seen.place(*point))
                    })
                    .chain(left.map(|hook| format!("program at {}", place(SOCKETS, hook))))
                    .collect(),
                refilled: refilled.collect(),
                ..Changes::default()
            },
            warnings: self.warnings.clone(),
            dry_run,
        }
    }
}

/// The points that run something and shall not, and what, in the order in which they lose it.
fn unwanted(seen: &Seen, wanted: &[Wanted]) -> Vec<(Point, u32)> {
    let mut points: Vec<Point> = seen.running.keys().copied().collect();
    points.retain(|point| wanted.iter().all(|w| w.point != *point));
    sort_for_removal(&mut points);
    let running = |point| Some((point, *seen.running.get(&point)?));
    points.into_iter().filter_map(running).collect()
}

/// Checks that the interfaces can have what is wanted of them.
fn check(
    connection: &mut RouteConnection,
    seen: &Seen,
    way: Way,
    wanted: &[Wanted],
) -> Result<Vec<Warning>, EbpfError> {
    if let Some(odd) = wanted.iter().find(|wanted| !wanted.readable) {
        return Err(EbpfError::NotEthernet {
            interface: odd.interface.clone(),
            program: odd.program.clone(),
        });
    }
    let mut behind = Vec::new();
    for wanted in wanted.iter().filter(|_| way == Way::Filter) {
        if seen.check_filter(connection, wanted)? {
            behind.push(Warning::Behind {
                place: place(&wanted.interface, wanted.point.hook),
            });
        }
    }
    Ok(behind)
}

/// A program at a place, for people.
fn program_at(program: &str, at: &str, hook: ProgramHook) -> String {
    format!("program {program} at {}", place(at, hook))
}

/// Whether two bundles have the same programs, for the same interfaces, and differ at most in what
/// is in large sets.
fn same_programs(one: &Bundle, other: &Bundle) -> bool {
    let [a, b] = [one, other].map(Bundle::manifest);
    one.bytes(load::OBJECT) == other.bytes(load::OBJECT)
        && a.programs == b.programs
        && a.classes == b.classes
        && a.state == b.state
        && a.unresolved == b.unresolved
        && counters::places(a) == counters::places(b)
}

/// Whether everything is pinned that an apply of a bundle would pin.
fn is_pinned(manifest: &Manifest, pins: &Pins) -> Result<bool, EbpfError> {
    let there = pins.programs(&manifest.generation)?;
    let maps = pins.states()?;
    let numbered = manifest.classes.is_empty() || pins.ifaces(&manifest.generation).exists();
    let named = manifest.unresolved.is_empty() || pins.principals(&manifest.generation).exists();
    let has = |names: &[String], name: &str| names.iter().any(|n| n == name);
    Ok(!there.is_empty()
        && numbered
        && named
        && manifest
            .sets
            .iter()
            .all(|set| pins.set(&manifest.generation, &set.name).exists())
        && load::names(manifest).iter().all(|name| has(&there, name))
        && manifest.state.iter().all(|name| has(&maps, name)))
}

/// A plan that is being carried out.
struct Work<'w> {
    plan: &'w Plan<'w>,
    netns: &'w Netns,
    pins: &'w Pins,
    switch: Switch<'w>,
    sockets: Sockets<'w>,
    pinning: Pinning<'w>,
    replaced: Replaced,
    /// Whether the pins of the generation whose programs stay have become this one's.
    renamed: bool,
    /// What has changed of policy routing.
    made: Made,
}

impl Work<'_> {
    /// Changes what is pinned, and the interfaces.
    fn change(
        &mut self,
        loaded: Option<Ebpf>,
        connection: &mut RouteConnection,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), ApplyError> {
        let (plan, pins) = (self.plan, self.pins);
        let manifest = plan.manifest;
        self.made.make(connection, &plan.routing.add, progress)?;
        let stays = plan.carried.as_ref().unwrap_or(&manifest.generation);
        self.replaced
            .replace((pins, stays), plan.bundle, &plan.stale)?;
        if let Some(carried) = &plan.carried {
            pins.rename(carried, &manifest.generation)?;
            self.renamed = true;
        }
        pins.make(&manifest.generation)?;
        if let Some(mut loaded) = loaded {
            load::pin(&mut loaded, manifest, pins)?;
            self.pinning.pin(&loaded, &plan.kept)?;
        }
        let describe = |seen: &Seen| {
            let generation = &manifest.generation;
            let path = pins.ifaces(generation);
            classes::fill(&path, &manifest.classes, &seen.interfaces)?;
            addresses::fill(&pins.addresses(generation), &seen.addresses)
        };
        describe(&plan.seen)?;
        principals::fill(&pins.principals(&manifest.generation), &plan.principals)?;
        self.attach(progress)?;
        for (point, running) in &plan.unwanted {
            progress(&format!("detaching from `{}`", plan.seen.place(*point)));
            self.switch.take(*point, *running)?;
        }
        for point in &plan.seen.severed {
            if plan.wanted.iter().all(|wanted| wanted.point != *point) {
                self.switch.detach(*point)?;
            }
        }
        for hook in cgroup::unwanted(&plan.seen, manifest) {
            progress(&format!("detaching from `{}`", place(SOCKETS, hook)));
            self.sockets.take(hook)?;
        }
        progress("reading back");
        let now = Seen::read(connection, (self.netns, pins))?;
        // Interfaces may have come meanwhile.
        describe(&now)?;
        plan.confirm(&now)?;
        Ok(self.made.make(connection, &plan.routing.remove, progress)?)
    }

    /// Gives hooks their programs.
    fn attach(&mut self, progress: &mut dyn FnMut(&str)) -> Result<(), EbpfError> {
        let plan = self.plan;
        let generation = &plan.manifest.generation;
        let mut programs = load::open(self.pins, generation)?;
        // What sockets note is asked for at the interfaces.
        for (hook, name) in plan.new_sockets() {
            progress(&format!("attaching to `{}`", place(SOCKETS, hook)));
            let program = programs.get(name);
            let program = program.ok_or_else(|| EbpfError::NoProgram(name.to_owned()))?;
            self.sockets.put(hook, (name, program))?;
        }
        for wanted in plan.wanted.iter().filter(|wanted| !plan.runs(wanted)) {
            let at = place(&wanted.interface, wanted.point.hook);
            progress(&format!("attaching to `{at}`"));
            let program = programs
                .get_mut(&wanted.program)
                .ok_or_else(|| EbpfError::NoProgram(wanted.program.clone()))?;
            self.switch.put(wanted, program)?;
        }
        Ok(())
    }

    fn take_back(self, state: &State<'_>, connection: &mut RouteConnection) -> Undo {
        let plan = self.plan;
        let mut problems = self.switch.undo();
        problems.extend(self.sockets.undo());
        problems.extend(self.pinning.undo());
        problems.extend(self.replaced.undo());
        problems.extend(self.made.undo(connection));
        let own = &plan.manifest.generation;
        if let Some(carried) = plan.carried.as_ref().filter(|_| self.renamed)
            && let Err(error) = self.pins.rename(own, carried)
        {
            problems.push(format!("the pinned programs: {error}"));
        } else if !plan.pinned
            && let Err(error) = self.pins.remove_generation(&plan.manifest.generation)
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
}

impl Plan<'_> {
    /// Whether what runs now is what is wanted.
    fn confirm(&self, now: &Seen) -> Result<(), ApplyError> {
        let generation = &self.manifest.generation;
        if let Some((_, name)) = cgroup::missing(now, self.manifest, generation).next() {
            let error = CgroupError::NotRunning(name.to_owned());
            return Err(EbpfError::from(error).into());
        }
        let missing = self.wanted.iter().find(|w| !now.runs(w, generation));
        match missing {
            // An interface that has gone meanwhile needs nothing.
            Some(w) if now.interfaces.iter().any(|i| i.index == w.point.index) => {
                Err(ApplyError::Ebpf(EbpfError::NotRunning {
                    interface: place(&w.interface, w.point.hook),
                    program: w.program.clone(),
                }))
            }
            _ => Ok(()),
        }
    }
}

/// Takes away what nothing needs any more.
fn tidy(mut applied: Applied, pins: &Pins, state: &State<'_>, manifest: &Manifest) -> Applied {
    let mut untidy = |message: String| applied.warnings.push(Warning::Store { message });
    if let Err(error) = state.store.unstage(&state.key) {
        untidy(error.to_string());
    }
    match pins.generations() {
        Ok(generations) => {
            for old in generations.iter().filter(|g| **g != manifest.generation) {
                if let Err(error) = pins.remove_generation(old) {
                    untidy(error.to_string());
                }
            }
        }
        Err(error) => untidy(error.to_string()),
    }
    for error in state::tidy(pins, manifest) {
        untidy(error.to_string());
    }
    applied
}
