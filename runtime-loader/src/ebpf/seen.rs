//! What runs at the interfaces of a namespace.

use std::collections::{BTreeMap, BTreeSet};

use aya::programs::links::PinnedLink;
use netlink_packet_route::link::XdpAttached;
use polc_bundle::{Manifest, ProgramEntry};

use super::pins::Pins;
use super::{EbpfError, load};
use crate::netlink::RouteConnection;
use crate::netlink::link::{self, Interface};

/// A pinned program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pinned {
    pub(crate) generation: String,
    pub(crate) name: String,
    pub(crate) tag: u64,
}

/// The interfaces, and what is pinned.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) interfaces: Vec<Interface>,
    /// The number of the program that each of our links runs, by the interface's number; links of
    /// interfaces that are gone are not among them.
    pub(crate) running: BTreeMap<u32, u32>,
    /// Links whose interface is gone.
    pub(crate) severed: Vec<u32>,
    /// The pinned programs by their number.
    pub(crate) programs: BTreeMap<u32, Pinned>,
    generations: Vec<String>,
}

/// A program that an interface should run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) index: u32,
    pub(crate) interface: String,
    pub(crate) program: String,
    /// Whether the program could read its frames.
    pub(crate) ethernet: bool,
}

impl Seen {
    /// Reads the kernel.
    pub(crate) fn read(connection: &mut RouteConnection, pins: &Pins) -> Result<Self, EbpfError> {
        let interfaces = link::all(connection).map_err(EbpfError::Interfaces)?;
        let (mut running, mut severed) = (BTreeMap::new(), Vec::new());
        for index in pins.links()? {
            let path = pins.link(index);
            let link = PinnedLink::from_pin(&path).map_err(EbpfError::pin("open", &path))?;
            let info = aya::programs::links::FdLink::from(link).info();
            let id = info.map_err(EbpfError::pin("read", path))?.program_id();
            let here = interfaces.iter().find(|interface| interface.index == index);
            if here.is_some_and(|interface| interface.program == Some(id)) {
                running.insert(index, id);
            } else {
                severed.push(index);
            }
        }
        let generations = pins.generations()?;
        let mut programs = BTreeMap::new();
        for generation in &generations {
            for (name, program) in load::open(pins, generation)? {
                let path = pins.program(generation, &name);
                let info = program.info().map_err(EbpfError::pin("read", path))?;
                let pinned = Pinned {
                    generation: generation.clone(),
                    name,
                    tag: info.tag(),
                };
                programs.insert(info.id(), pinned);
            }
        }
        Ok(Self {
            interfaces,
            running,
            severed,
            programs,
            generations,
        })
    }

    /// Whether an interface runs a program of ours. Pins can be left of a namespace that is gone
    /// and had the same number; nothing runs what they hold.
    pub(crate) fn any(connection: &mut RouteConnection, pins: &Pins) -> Result<bool, EbpfError> {
        Ok(pins.exist() && !Self::read(connection, pins)?.running.is_empty())
    }

    /// The generation in force: the one that all links run, or, where there is no interface for
    /// any, the one that is pinned.
    pub(crate) fn generation(&self) -> Option<String> {
        let of = |id: &u32| self.programs.get(id).map(|p| p.generation.as_str());
        let mut found: BTreeSet<Option<&str>> = self.running.values().map(of).collect();
        if found.is_empty() {
            found = self.generations.iter().map(|g| Some(g.as_str())).collect();
        }
        match found.pop_first() {
            Some(only) if found.is_empty() => only.map(str::to_owned),
            _ => None,
        }
    }

    /// What each interface should run. An interface without Ethernet headers that is down carries
    /// nothing, and should run nothing.
    pub(crate) fn wanted(&self, manifest: &Manifest) -> Vec<Wanted> {
        let interfaces = self.interfaces.iter();
        interfaces
            .filter(|interface| interface.ethernet || interface.up)
            .filter_map(|interface| {
                Some(Wanted {
                    index: interface.index,
                    interface: interface.name.clone(),
                    program: choose(&manifest.programs, &interface.name)?.to_owned(),
                    ethernet: interface.ethernet,
                })
            })
            .collect()
    }

    /// Whether an interface runs that program of that generation.
    pub(crate) fn runs(&self, wanted: &Wanted, generation: &str) -> bool {
        let id = self.running.get(&wanted.index);
        let program = id.and_then(|id| self.programs.get(id));
        program.is_some_and(|p| p.generation == generation && p.name == wanted.program)
    }

    /// The name of an interface that is or was there.
    pub(crate) fn name(&self, index: u32) -> String {
        let here = self.interfaces.iter().find(|i| i.index == index);
        here.map_or_else(|| format!("#{index}"), |i| i.name.clone())
    }
}

/// How an interface runs a program.
pub(crate) fn mode(attached: Option<XdpAttached>) -> &'static str {
    match attached {
        Some(XdpAttached::Driver) => "native",
        Some(XdpAttached::SocketBuffer) => "generic",
        Some(XdpAttached::Hardware) => "hardware",
        _ => "unknown",
    }
}

/// The program for an interface: that of the first pattern that means its name. `lo` has none
/// unless it is named in full.
fn choose<'m>(programs: &'m [ProgramEntry], interface: &str) -> Option<&'m str> {
    let means = |pattern: &str| match pattern.strip_suffix('*') {
        Some(prefix) => interface != "lo" && interface.starts_with(prefix),
        None => pattern == interface,
    };
    let first = programs.iter().find(|entry| means(&entry.pattern))?;
    first.name.as_deref()
}

#[cfg(test)]
mod tests {
    use polc_bundle::ProgramHook;

    use super::*;

    #[test]
    fn the_first_pattern_decides() {
        let entry = |name: Option<&str>, pattern: &str| ProgramEntry {
            name: name.map(str::to_owned),
            hook: ProgramHook::Xdp,
            pattern: pattern.to_owned(),
        };
        let programs = [
            entry(Some("one"), "eth0"),
            entry(None, "eth1"),
            entry(Some("wan"), "eth*"),
            entry(Some("rest"), "*"),
        ];
        let chosen = ["eth0", "eth1", "eth2", "wg0", "lo"].map(|name| choose(&programs, name));
        assert_eq!(chosen, [Some("one"), None, Some("wan"), Some("rest"), None]);
        assert_eq!(choose(&[entry(Some("own"), "lo")], "lo"), Some("own"));
        assert_eq!(choose(&[], "eth0"), None);
    }
}
