//! The numbers by which programs know interfaces.

use std::collections::BTreeMap;
use std::path::Path;

use polc_bundle::ClassEntry;

use super::pins::IFACES;
use super::seen::means;
use super::{EbpfError, mirror};
use crate::netlink::link::Interface;

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
    mirror::fill((path, IFACES), &numbers(classes, interfaces))
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
    Ok(path.exists() && mirror::shows((path, IFACES), &numbers(classes, interfaces))?)
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
