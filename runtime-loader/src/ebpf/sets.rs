//! The tables of large sets.
//!
//! Programs look a large set up in an array of one map, which holds an array of one value: the table
//! of the set. Another table takes its place in one step, and the programs stay. A table has the
//! first digits of the hash of its contents as its name, so that the kernel can be asked which one
//! is there.

use std::io;
use std::os::fd::AsFd;

use aya::Ebpf;
use aya::maps::{ArrayOfMaps, Map, MapData, MapError};
use aya_obj::generated::{BPF_F_MMAPABLE, bpf_map_type};
use polc_bundle::{Bundle, Manifest, SetEntry};

use super::EbpfError;
use super::pins::Pins;
use super::state::{LONGEST_NAME, is_name};
use crate::sys;

type Outer = ArrayOfMaps<MapData, MapData>;

/// The sets of a bundle that have tables, and the names of their tables.
fn named(manifest: &Manifest) -> impl Iterator<Item = (&SetEntry, &str)> {
    manifest.sets.iter().filter_map(|set| {
        let path = set.file.as_deref()?;
        let file = manifest.files.iter().find(|file| file.path == path)?;
        Some((set, file.sha256.get(..LONGEST_NAME)?))
    })
}

/// Makes the table of a set.
fn table(bundle: &Bundle, set: &SetEntry, name: &str) -> Result<MapData, EbpfError> {
    let bytes = set.file.as_deref().and_then(|path| bundle.bytes(path));
    let bytes = bytes.ok_or_else(|| EbpfError::NoTable(set.name.clone()))?;
    filled(name, bytes).map_err(EbpfError::map(&set.name))
}

/// An array of one value.
fn filled(name: &str, bytes: &[u8]) -> Result<MapData, MapError> {
    let kind = bpf_map_type::BPF_MAP_TYPE_ARRAY as u32;
    let length =
        u32::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge));
    let definition = aya_obj::Map::new_from_params(
        kind,
        4,
        length.map_err(MapError::IoError)?,
        1,
        BPF_F_MMAPABLE,
    );
    let map = MapData::create(definition, name, None)?;
    sys::write(map.fd().as_fd(), bytes).map_err(MapError::IoError)?;
    Ok(map)
}

/// Gives a map of a loaded object, which is an array of one array of one value, that value.
pub fn fill_set(loaded: &mut Ebpf, map: &str, value: &[u8]) -> Result<(), EbpfError> {
    let table = filled(map, value).map_err(EbpfError::map(map))?;
    put_in(loaded, map, &table)
}

/// Gives the sets of a loaded object their tables.
pub(crate) fn fill(loaded: &mut Ebpf, bundle: &Bundle) -> Result<(), EbpfError> {
    for (set, name) in named(bundle.manifest()) {
        if !is_name(&set.name) {
            return Err(EbpfError::StateName(set.name.clone()));
        }
        let table = table(bundle, set, name)?;
        put_in(loaded, &set.name, &table)?;
    }
    Ok(())
}

fn put_in(loaded: &mut Ebpf, map: &str, table: &MapData) -> Result<(), EbpfError> {
    let outer = loaded.map_mut(map);
    let outer = outer.ok_or_else(|| EbpfError::NoMap(map.to_owned()))?;
    let put = ArrayOfMaps::<_, MapData>::try_from(outer).and_then(|mut o| o.set(0, table, 0));
    put.map_err(EbpfError::map(map))
}

/// The sets of a bundle whose tables are not those that a generation has in the kernel.
pub(crate) fn stale<'m>(
    pins: &Pins,
    generation: &str,
    manifest: &'m Manifest,
) -> Result<Vec<&'m SetEntry>, EbpfError> {
    let mut stale = Vec::new();
    for (set, name) in named(manifest) {
        let outer = open(pins, generation, &set.name)?;
        let found = match outer.get(&0, 0) {
            Err(MapError::KeyNotFound) => None,
            other => Some(other.and_then(|table| table.info())),
        };
        let found = found.transpose().map_err(EbpfError::map(&set.name))?;
        if found.and_then(|info| Some(info.name_as_str()? == name)) != Some(true) {
            stale.push(set);
        }
    }
    Ok(stale)
}

fn open(pins: &Pins, generation: &str, name: &str) -> Result<Outer, EbpfError> {
    let path = pins.set(generation, name);
    let open = || Map::from_map_data(MapData::from_pin(path)?)?.try_into();
    open().map_err(EbpfError::map(name))
}

/// Tables that have taken the place of others.
#[derive(Default)]
pub(crate) struct Replaced {
    before: Vec<(Outer, String, Option<MapData>)>,
}

impl Replaced {
    /// Gives sets of a generation in the kernel the tables of a bundle.
    pub(crate) fn replace(
        &mut self,
        (pins, generation): (&Pins, &str),
        bundle: &Bundle,
        sets: &[&SetEntry],
    ) -> Result<(), EbpfError> {
        for (set, name) in named(bundle.manifest()).filter(|(set, _)| sets.contains(set)) {
            let table = table(bundle, set, name)?;
            let mut outer = open(pins, generation, &set.name)?;
            let before = outer.get(&0, 0).ok();
            let put = outer.set(0, &table, 0);
            self.before.push((outer, set.name.clone(), before));
            put.map_err(EbpfError::map(&set.name))?;
        }
        Ok(())
    }

    /// Puts the tables back that were there; which ones could not be.
    pub(crate) fn undo(self) -> Vec<String> {
        let mut problems = Vec::new();
        for (mut outer, name, before) in self.before {
            let put = before.map_or(Ok(()), |table| outer.set(0, &table, 0));
            if let Err(error) = put {
                problems.push(format!("the set `{name}`: {error}"));
            }
        }
        problems
    }
}
