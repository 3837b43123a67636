//! Maps that mirror what is known of interfaces: each has an entry for some interfaces, by their
//! numbers, and no others.

use std::collections::BTreeMap;
use std::path::Path;

use aya::Pod;
use aya::maps::{HashMap, Map, MapData, MapError};

use super::EbpfError;

/// Gives the map called `name` that is pinned at `path` these entries, and takes others away.
pub(crate) fn fill<V: Pod + PartialEq>(
    (path, name): (&Path, &str),
    wanted: &BTreeMap<u32, V>,
) -> Result<(), EbpfError> {
    let fill = || {
        let mut map = open::<V>(path)?;
        let found = read(&map)?;
        for index in found.keys().filter(|index| !wanted.contains_key(index)) {
            map.remove(index)?;
        }
        for (index, value) in wanted {
            if found.get(index) != Some(value) {
                map.insert(index, value, 0)?;
            }
        }
        Ok(())
    };
    fill().map_err(EbpfError::map(name))
}

/// Whether the map has these entries and no others.
pub(crate) fn shows<V: Pod + PartialEq>(
    (path, name): (&Path, &str),
    wanted: &BTreeMap<u32, V>,
) -> Result<bool, EbpfError> {
    let found = open::<V>(path).and_then(|map| read(&map));
    Ok(found.map_err(EbpfError::map(name))? == *wanted)
}

fn open<V: Pod>(path: &Path) -> Result<HashMap<MapData, u32, V>, MapError> {
    Map::from_map_data(MapData::from_pin(path)?)?.try_into()
}

fn read<V: Pod>(map: &HashMap<MapData, u32, V>) -> Result<BTreeMap<u32, V>, MapError> {
    map.iter().collect()
}
