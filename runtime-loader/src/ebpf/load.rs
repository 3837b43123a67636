//! From a bundle to programs in the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use aya::programs::{Program as Loaded, ProgramError};
use aya::{Ebpf, EbpfLoader};
use nix::sys::signal::{SigSet, SigmaskHow};
use polc_bundle::{Bundle, Manifest, ProgramHook};

use super::pins::{ADDRESSES, IFACES, PRINCIPALS, Pins};
use super::program::Program;
use super::seen::has_place;
use super::state::Kept;
use super::{EbpfError, Refusal, sets};
use crate::transaction::BundleProblem;

/// The object in a bundle.
pub(crate) const OBJECT: &str = "policy.o";

/// The map of counters in an object.
const COUNTERS: &str = "counters";

/// Loads the programs of a bundle; the kernel verifies them. Nothing runs yet. Their counters are
/// those pinned at `counters`, or new ones; of `kept` maps they use those that are there. Large sets
/// have their tables.
pub(crate) fn load(
    bundle: &Bundle,
    object: &[u8],
    counters: Option<&Path>,
    (pins, kept): (&Pins, &Kept<'_>),
) -> Result<Ebpf, EbpfError> {
    let manifest = bundle.manifest();
    let mut from = EbpfLoader::new();
    if let Some(path) = counters {
        from.map_pin_path(COUNTERS, path);
    }
    for name in &kept.taken {
        from.map_pin_path(name, pins.state(name));
    }
    let mut loaded = from
        .load(object)
        .map_err(|error| EbpfError::Object(Box::new(error)))?;
    sets::fill(&mut loaded, bundle)?;
    for name in names(manifest) {
        verify(program(&mut loaded, manifest, name)?, name)?;
    }
    Ok(loaded)
}

/// How often the kernel is asked to verify a program.
const ATTEMPTS: usize = 10;

/// Has the kernel verify a program. It gives up with `EAGAIN` when a signal is there for the thread
/// (`do_check` in `kernel/bpf/verifier.c`), so signals wait meanwhile; some cannot (SIGSTOP), and then
/// it is asked again.
fn verify(program: &mut Loaded, name: &str) -> Result<(), EbpfError> {
    let _undisturbed = Undisturbed::begin();
    let mut attempts = 1;
    loop {
        let verified = match program {
            Loaded::Xdp(program) => program.load(),
            Loaded::SchedClassifier(program) => program.load(),
            Loaded::CgroupSock(program) => program.load(),
            Loaded::CgroupSockopt(program) => program.load(),
            _ => return Err(EbpfError::NoProgram(name.to_owned())),
        };
        let error = match verified {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if attempts == ATTEMPTS || !was_interrupted(&error) {
            return Err(EbpfError::Refused {
                program: name.to_owned(),
                refusal: Refusal::new(&error),
            });
        }
        attempts += 1;
    }
}

fn was_interrupted(error: &ProgramError) -> bool {
    let error = match error {
        ProgramError::LoadError { io_error, .. } => io_error,
        ProgramError::SyscallError(error) => &error.io_error,
        _ => return false,
    };
    error.kind() == std::io::ErrorKind::WouldBlock
}

/// While it lives, signals wait for this thread to take them. The end of a child of the process is one,
/// whichever thread has started it.
struct Undisturbed(Option<SigSet>);

impl Undisturbed {
    fn begin() -> Self {
        // It cannot fail: there are signals, and there is a mask.
        Self(SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK).ok())
    }
}

impl Drop for Undisturbed {
    fn drop(&mut self) {
        if let Some(before) = self.0 {
            let _ = before.thread_set_mask();
        }
    }
}

/// The object of a bundle that has programs.
pub(crate) fn object(bundle: &Bundle) -> Result<&[u8], BundleProblem> {
    bundle.bytes(OBJECT).ok_or(BundleProblem::NoObject)
}

/// The names of a bundle's programs.
pub(crate) fn names(manifest: &Manifest) -> BTreeSet<&str> {
    let programs = manifest.programs.iter();
    programs
        .flat_map(|p| [p.name.as_deref(), p.bare.as_deref()])
        .flatten()
        .collect()
}

/// Pins loaded programs, their counters and what they know of interfaces in place of what is pinned
/// there.
pub(crate) fn pin(loaded: &mut Ebpf, manifest: &Manifest, pins: &Pins) -> Result<(), EbpfError> {
    let generation = &manifest.generation;
    pins.remove_generation(generation)?;
    pins.make(generation)?;
    for (name, path) in [
        (COUNTERS, pins.counters(generation)),
        (IFACES, pins.ifaces(generation)),
        (ADDRESSES, pins.addresses(generation)),
        (PRINCIPALS, pins.principals(generation)),
    ] {
        if let Some(map) = loaded.map(name) {
            map.pin(&path).map_err(EbpfError::pin("pin", path))?;
        }
    }
    if !manifest.sets.is_empty() {
        pins.make_sets(generation)?;
    }
    for set in &manifest.sets {
        let map = loaded.map(&set.name);
        let map = map.ok_or_else(|| EbpfError::NoMap(set.name.clone()))?;
        let path = pins.set(generation, &set.name);
        map.pin(&path).map_err(EbpfError::pin("pin", path))?;
    }
    for name in names(manifest) {
        let path = pins.program(generation, name);
        program(loaded, manifest, name)?
            .pin(&path)
            .map_err(EbpfError::pin("pin", path))?;
    }
    Ok(())
}

/// Opens the pinned programs of a generation by name.
pub(crate) fn open(pins: &Pins, generation: &str) -> Result<BTreeMap<String, Program>, EbpfError> {
    let open = |name: String| {
        let program = Program::open(&pins.program(generation, &name))?;
        Ok((name, program))
    };
    pins.programs(generation)?.into_iter().map(open).collect()
}

/// A program of an object, of the kind that its hooks run, and of stages that they have.
fn program<'e>(
    loaded: &'e mut Ebpf,
    manifest: &Manifest,
    name: &str,
) -> Result<&'e mut Loaded, EbpfError> {
    let missing = || EbpfError::NoProgram(name.to_owned());
    let program = loaded.program_mut(name).ok_or_else(missing)?;
    let mut entries = manifest.programs.iter();
    let suits = entries.all(|entry| {
        let named = [&entry.name, &entry.bare]
            .iter()
            .any(|n| n.as_deref() == Some(name));
        !named || fits(entry.hook, program) && has_place(entry)
    });
    if suits { Ok(program) } else { Err(missing()) }
}

/// Whether a hook runs programs of that kind.
fn fits(hook: ProgramHook, program: &Loaded) -> bool {
    match hook {
        ProgramHook::Xdp => matches!(program, Loaded::Xdp(_)),
        ProgramHook::Ingress | ProgramHook::Egress => matches!(program, Loaded::SchedClassifier(_)),
        ProgramHook::SockCreate => matches!(program, Loaded::CgroupSock(_)),
        ProgramHook::GetSockOpt => matches!(program, Loaded::CgroupSockopt(_)),
    }
}
