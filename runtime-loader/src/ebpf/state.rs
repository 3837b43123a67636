//! Maps that outlive an apply: flows, buckets, dynamic sets, the ring of log entries.
//!
//! A map's name stands for what its contents mean. Where one of that name is pinned and is of the
//! same shape, the programs that are loaded use it; otherwise they have a new one, which is pinned
//! in its place when the apply goes on.

use aya::Ebpf;
use aya::maps::{MapData, MapInfo};
use aya_obj::generated::{BPF_F_NO_COMMON_LRU, bpf_map_type};
use nix::unistd::{SysconfVar, sysconf};
use polc_bundle::Manifest;

use super::EbpfError;
use super::pins::{IFACES, PRINCIPALS, Pins};

/// What is longer is not all of a map's name to the kernel.
pub(crate) const LONGEST_NAME: usize = 15;

/// Which of a bundle's kept maps are there already.
#[derive(Debug, Default)]
pub(crate) struct Kept<'m> {
    /// Those whose pinned maps the programs shall use.
    pub(crate) taken: Vec<&'m str>,
    /// Those that begin empty.
    pub(crate) made: Vec<&'m str>,
    /// Those of them in whose place something of another shape is pinned.
    pub(crate) misfits: Vec<&'m str>,
}

impl<'m> Kept<'m> {
    /// Looks at what is pinned. Where that is not `ours`, it is not used.
    pub(crate) fn new(
        object: &[u8],
        manifest: &'m Manifest,
        pins: &Pins,
        ours: bool,
    ) -> Result<Self, EbpfError> {
        let parsed = aya_obj::Object::parse(object)
            .map_err(|error| EbpfError::Object(Box::new(error.into())))?;
        if !manifest.classes.is_empty() && !parsed.maps.contains_key(IFACES) {
            return Err(EbpfError::NoMap(IFACES.to_owned()));
        }
        if !manifest.unresolved.is_empty() && !parsed.maps.contains_key(PRINCIPALS) {
            return Err(EbpfError::NoMap(PRINCIPALS.to_owned()));
        }
        let mut kept = Self::default();
        for name in &manifest.state {
            if !is_name(name) {
                return Err(EbpfError::StateName(name.clone()));
            }
            let missing = || EbpfError::NoMap(name.clone());
            let definition = parsed.maps.get(name).ok_or_else(missing)?;
            let path = pins.state(name);
            if !ours || !path.exists() {
                kept.made.push(name);
            } else if fits(&info(pins, name)?, definition) {
                kept.taken.push(name);
            } else {
                kept.made.push(name);
                kept.misfits.push(name);
            }
        }
        Ok(kept)
    }
}

/// What the kernel says of a pinned map.
fn info(pins: &Pins, name: &str) -> Result<MapInfo, EbpfError> {
    MapInfo::from_pin(pins.state(name)).map_err(EbpfError::map(name))
}

/// Whether a name is one that a map can have, and a file.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether a map is what a definition makes.
fn fits(found: &MapInfo, wanted: &aya_obj::Map) -> bool {
    let kind = |kind: bpf_map_type| wanted.map_type() == kind as u32;
    let entries = wanted.max_entries();
    // Rings have whole pages; lists of each processor's own are equally long.
    let most = if kind(bpf_map_type::BPF_MAP_TYPE_RINGBUF) {
        entries.max(page_size())
    } else if wanted.map_flags() & BPF_F_NO_COMMON_LRU != 0 {
        let processors = aya::util::nr_cpus().unwrap_or(1);
        entries.saturating_add(u32::try_from(processors).unwrap_or(u32::MAX) - 1)
    } else {
        entries
    };
    found
        .map_type()
        .is_ok_and(|t| t as u32 == wanted.map_type())
        && found.key_size() == wanted.key_size()
        && found.value_size() == wanted.value_size()
        && found.map_flags() == wanted.map_flags()
        && (entries..=most).contains(&found.max_entries())
}

fn page_size() -> u32 {
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| u32::try_from(size).ok()).unwrap_or(0)
}

/// Pins new maps, and remembers what was in their places.
pub(crate) struct Pinning<'s> {
    pins: &'s Pins,
    done: Vec<(String, Option<MapData>)>,
}

impl<'s> Pinning<'s> {
    pub(crate) fn new(pins: &'s Pins) -> Self {
        Self {
            pins,
            done: Vec::new(),
        }
    }

    /// Pins the new maps of a loaded object.
    pub(crate) fn pin(&mut self, loaded: &Ebpf, kept: &Kept<'_>) -> Result<(), EbpfError> {
        for name in &kept.made {
            let missing = || EbpfError::NoMap((*name).to_owned());
            let map = loaded.map(name).ok_or_else(missing)?;
            let path = self.pins.state(name);
            let old = path.exists().then(|| MapData::from_pin(&path)).transpose();
            let old = old.map_err(EbpfError::map(name))?;
            self.pins.remove_state(name)?;
            self.done.push(((*name).to_owned(), old));
            map.pin(&path).map_err(EbpfError::pin("pin", path))?;
        }
        Ok(())
    }

    /// Puts back what was there; what could not be put back.
    pub(crate) fn undo(self) -> Vec<String> {
        let put_back = |name: &str, old: Option<MapData>| {
            self.pins.remove_state(name)?;
            let path = self.pins.state(name);
            match old {
                Some(old) => old.pin(&path).map_err(EbpfError::pin("pin", path)),
                None => Ok(()),
            }
        };
        let mut problems = Vec::new();
        for (name, old) in self.done {
            if let Err(error) = put_back(&name, old) {
                problems.push(format!("the map `{name}`: {error}"));
            }
        }
        problems
    }
}

/// Takes away the pins of maps that a bundle does not have; why some stay.
pub(crate) fn tidy(pins: &Pins, manifest: &Manifest) -> Vec<EbpfError> {
    let pinned = match pins.states() {
        Ok(pinned) => pinned,
        Err(error) => return vec![error],
    };
    let stale = pinned.iter().filter(|name| !manifest.state.contains(name));
    stale
        .filter_map(|name| pins.remove_state(name).err())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for name in ["log", "flows_0a1b2c3d4", "_"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "flows_0a1b2c3d4e", "a b", "ä"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
