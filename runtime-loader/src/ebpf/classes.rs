//! The numbers by which programs know interfaces.

use std::collections::BTreeMap;
use std::path::Path;

use aya::maps::{HashMap, Map, MapData, MapError};
use polc_bundle::ClassEntry;

use super::EbpfError;
use super::pins::IFACES;
use super::seen::means;
use crate::netlink::link::Interface;

type Numbers = HashMap<MapData, u32, u32>;

/// Gives each interface its number in the map pinned at `path`, and takes away those of interfaces
/// that are gone.
pub(crate) fn fill(
    path: &Path,
    classes: &[ClassEntry],
    interfaces: &[Interface],
) -> Result<(), EbpfError> {
    if classes.is_empty() {
        return Ok(());
    }
    let fill = || {
        let mut map = open(path)?;
        let (wanted, found) = (numbers(classes, interfaces), read(&map)?);
        for index in found.keys().filter(|index| !wanted.contains_key(index)) {
            map.remove(index)?;
        }
        for (index, number) in &wanted {
            if found.get(index) != Some(number) {
                map.insert(index, number, 0)?;
            }
        }
        Ok(())
    };
    fill().map_err(EbpfError::map(IFACES))
}

/// Whether the map pinned at `path` has the numbers of all interfaces and no others.
pub(crate) fn filled(
    path: &Path,
    classes: &[ClassEntry],
    interfaces: &[Interface],
) -> Result<bool, EbpfError> {
    if classes.is_empty() {
        return Ok(true);
    }
    if !path.exists() {
        return Ok(false);
    }
    let found = open(path).and_then(|map| read(&map));
    Ok(found.map_err(EbpfError::map(IFACES))? == numbers(classes, interfaces))
}

/// The numbers that interfaces should have.
fn numbers(classes: &[ClassEntry], interfaces: &[Interface]) -> BTreeMap<u32, u32> {
    let number = |interface: &Interface| {
        let mut first = classes.iter();
        let first = first.find(|class| means(&class.pattern, &interface.name))?;
        Some((interface.index, first.number))
    };
    interfaces.iter().filter_map(number).collect()
}

fn open(path: &Path) -> Result<Numbers, MapError> {
    Map::from_map_data(MapData::from_pin(path)?)?.try_into()
}

fn read(map: &Numbers) -> Result<BTreeMap<u32, u32>, MapError> {
    map.iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::link::Layer;

    #[test]
    fn the_first_pattern_gives_the_number() {
        let class = |pattern: &str, number| ClassEntry {
            pattern: pattern.to_owned(),
            number,
        };
        let interface = |index, name: &str| Interface {
            index,
            name: name.to_owned(),
            up: true,
            layer: Layer::Ethernet,
            port: false,
            program: None,
            attached: None,
        };
        let classes = [class("eth1", 5), class("eth*", 6), class("*", 0)];
        let interfaces = [
            interface(1, "lo"),
            interface(2, "eth0"),
            interface(3, "eth1"),
            interface(4, "wg0"),
        ];
        let expected = BTreeMap::from([(2, 6), (3, 5), (4, 0)]);
        assert_eq!(numbers(&classes, &interfaces), expected);
        let named = numbers(&[class("lo", 1)], &interfaces);
        assert_eq!(named, BTreeMap::from([(1, 1)]));
    }
}
