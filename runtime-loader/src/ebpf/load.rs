//! From a bundle to programs in the kernel.

use std::collections::BTreeMap;
use std::path::Path;

use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use aya_obj::programs::XdpAttachType;
use polc_bundle::{Bundle, Manifest};

use super::EbpfError;
use super::pins::Pins;
use crate::transaction::BundleProblem;

/// The object in a bundle.
pub(crate) const OBJECT: &str = "policy.o";

/// The map of counters in an object.
const COUNTERS: &str = "counters";

/// Loads the programs of a bundle; the kernel verifies them. Nothing runs yet. Their counters are
/// those pinned at `counters`, or new ones.
pub(crate) fn load(
    object: &[u8],
    manifest: &Manifest,
    counters: Option<&Path>,
) -> Result<Ebpf, EbpfError> {
    let mut from = EbpfLoader::new();
    if let Some(path) = counters {
        from.map_pin_path(COUNTERS, path);
    }
    let mut loaded = from
        .load(object)
        .map_err(|error| EbpfError::Object(Box::new(error)))?;
    for name in names(manifest) {
        let program = program(&mut loaded, name)?;
        program.load().map_err(|source| EbpfError::Refused {
            program: name.to_owned(),
            source: Box::new(source),
        })?;
    }
    Ok(loaded)
}

/// The object of a bundle that has programs.
pub(crate) fn object(bundle: &Bundle) -> Result<&[u8], BundleProblem> {
    bundle.bytes(OBJECT).ok_or(BundleProblem::NoObject)
}

/// The names of a bundle's programs.
pub(crate) fn names(manifest: &Manifest) -> impl Iterator<Item = &str> {
    manifest.programs.iter().filter_map(|p| p.name.as_deref())
}

/// Pins loaded programs, and their counters, in place of what is pinned there.
pub(crate) fn pin(loaded: &mut Ebpf, manifest: &Manifest, pins: &Pins) -> Result<(), EbpfError> {
    let generation = &manifest.generation;
    pins.remove_generation(generation)?;
    pins.make(generation)?;
    if let Some(map) = loaded.map(COUNTERS) {
        let path = pins.counters(generation);
        map.pin(&path).map_err(EbpfError::pin("pin", path))?;
    }
    for name in names(manifest) {
        let path = pins.program(generation, name);
        program(loaded, name)?
            .pin(&path)
            .map_err(EbpfError::pin("pin", path))?;
    }
    Ok(())
}

/// Opens the pinned programs of a generation by name.
pub(crate) fn open(pins: &Pins, generation: &str) -> Result<BTreeMap<String, Xdp>, EbpfError> {
    let open = |name: String| {
        let path = pins.program(generation, &name);
        let program = Xdp::from_pin(&path, XdpAttachType::Interface);
        Ok((name, program.map_err(EbpfError::pin("open", path))?))
    };
    pins.programs(generation)?.into_iter().map(open).collect()
}

fn program<'e>(loaded: &'e mut Ebpf, name: &str) -> Result<&'e mut Xdp, EbpfError> {
    let program = loaded.program_mut(name).map(TryInto::try_into);
    match program {
        Some(Ok(program)) => Ok(program),
        _ => Err(EbpfError::NoProgram(name.to_owned())),
    }
}
