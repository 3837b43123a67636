//! What runs at the interfaces of a namespace.

use std::collections::{BTreeMap, BTreeSet};

use netlink_packet_route::link::XdpAttached;
use polc_bundle::{Manifest, ProgramEntry, ProgramHook, ProgramStage};

use super::clsact::{self, Found};
use super::pins::{Pins, Point};
use super::program::{self, Program, Way};
use super::{EbpfError, addresses, cgroup, classes, load, principals, sets};
use crate::netlink::RouteConnection;
use crate::netlink::address::{self, Primary};
use crate::netlink::link::{self, Interface, Layer};
use crate::netns::Netns;

/// The hooks in the order in which they get their programs; they lose them in the opposite order.
/// Who relies on another comes behind it:
///
/// * A filter admits flows, whose packets leave with the sources that egress gives them.
/// * What leaves is seen before what comes in, so that its flows are known when answers come.
/// * A steer sends packets where nobody judges them but the filters, and where only egress can give
///   their answers the right source.
/// * What a steer takes of this host's own packets it sends to `lo`, where another one waits.
/// * A guard only takes away, and nothing depends on it.
const ORDER: [(ProgramHook, ProgramStage); 8] = [
    (ProgramHook::Egress, ProgramStage::Egress),
    (ProgramHook::Egress, ProgramStage::Filter),
    (ProgramHook::Ingress, ProgramStage::Egress),
    (ProgramHook::Ingress, ProgramStage::Filter),
    (ProgramHook::Ingress, ProgramStage::Steer),
    (ProgramHook::Egress, ProgramStage::Steer),
    (ProgramHook::Ingress, ProgramStage::Guard),
    (ProgramHook::Xdp, ProgramStage::Guard),
];

/// Whether the hook of an entry has its stage.
pub(crate) fn has_place(entry: &ProgramEntry) -> bool {
    let for_sockets = [ProgramHook::SockCreate, ProgramHook::GetSockOpt];
    for_sockets.contains(&entry.hook) || ORDER.contains(&(entry.hook, entry.stage))
}

/// Sorts points as they shall lose their programs: the last to get its own is the first.
pub(crate) fn sort_for_removal(points: &mut [Point]) {
    let rank = |point: &Point| {
        let at = (point.hook, point.stage);
        let place = ORDER.iter().position(|other| *other == at);
        (place.unwrap_or(ORDER.len()), point.index)
    };
    points.sort_by_key(|point| std::cmp::Reverse(rank(point)));
}

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
    /// The primary addresses of those that have some, by number.
    pub(crate) addresses: BTreeMap<u32, Primary>,
    /// The number of the program that each of our links and filters runs; links of interfaces that
    /// are gone are not among them.
    pub(crate) running: BTreeMap<Point, u32>,
    /// Those of these points that run theirs by a filter.
    pub(crate) filters: BTreeSet<Point>,
    /// The number of the program that sockets run at each hook that has one of ours.
    pub(crate) sockets: BTreeMap<ProgramHook, u32>,
    /// Points whose pin is left: their interface or filter is gone.
    pub(crate) severed: Vec<Point>,
    /// The pinned programs by their number.
    pub(crate) programs: BTreeMap<u32, Pinned>,
    /// The numbers of all programs of ours.
    pub(crate) ours: BTreeSet<u32>,
    generations: Vec<String>,
}

/// A program that a hook should run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) point: Point,
    pub(crate) interface: String,
    pub(crate) program: String,
    /// Whether the program could read its frames.
    pub(crate) readable: bool,
}

impl Seen {
    /// Reads the kernel.
    pub(crate) fn read(
        connection: &mut RouteConnection,
        (netns, pins): (&Netns, &Pins),
    ) -> Result<Self, EbpfError> {
        let interfaces = link::all(connection).map_err(EbpfError::Interfaces)?;
        let addresses = address::of(connection, &interfaces).map_err(EbpfError::Interfaces)?;
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
        let read = |point| Ok((point, program::pinned(&pins.link(point))?));
        let points: Result<Vec<_>, EbpfError> = pins.links()?.into_iter().map(read).collect();
        let points = points?;
        let pinned = points.iter().map(|(_, (_, id))| *id);
        let mut seen = Self {
            interfaces,
            addresses,
            running: BTreeMap::new(),
            filters: BTreeSet::new(),
            sockets: cgroup::running(pins)?,
            severed: Vec::new(),
            ours: programs.keys().copied().chain(pinned).collect(),
            programs,
            generations,
        };
        for (point, (way, id)) in points {
            let running = match way {
                Way::Link => seen.linked(netns, point, id)?,
                Way::Filter => match clsact::find(connection, point, &seen.ours) {
                    Ok(Found::Ours(running)) => Some(running),
                    Ok(_) => None,
                    Err(error) => return Err(EbpfError::Filters(error)),
                },
            };
            let Some(id) = running else {
                seen.severed.push(point);
                continue;
            };
            seen.running.insert(point, id);
            if way == Way::Filter {
                seen.filters.insert(point);
            }
        }
        Ok(seen)
    }

    /// The program that a point runs by a link with it, if the interface is there.
    fn linked(&self, netns: &Netns, point: Point, id: u32) -> Result<Option<u32>, EbpfError> {
        let mut here = self.interfaces.iter();
        let here = here.find(|interface| interface.index == point.index);
        let runs = here.map(|interface| runs(netns, interface, point, id));
        Ok(runs.transpose()?.unwrap_or(false).then_some(id))
    }

    /// Checks that a filter can be where it is wanted; whether another one may run before it.
    pub(crate) fn check_filter(
        &self,
        connection: &mut RouteConnection,
        wanted: &Wanted,
    ) -> Result<bool, EbpfError> {
        clsact::check(connection, wanted.point, &self.ours).map_err(|source| {
            EbpfError::attach(wanted.point, (&wanted.interface, &wanted.program), source)
        })
    }

    /// How hooks for packets run their programs, if they run any.
    pub(crate) fn way(&self) -> Option<Way> {
        let mut packets = self.running.keys().filter(|p| p.hook != ProgramHook::Xdp);
        packets.next().map(|point| self.way_at(*point))
    }

    /// How a point runs its program.
    pub(crate) fn way_at(&self, point: Point) -> Way {
        if self.filters.contains(&point) {
            Way::Filter
        } else {
            Way::Link
        }
    }

    /// Whether an interface runs a program of ours. Pins can be left of a namespace that is gone
    /// and had the same number; nothing runs what they hold.
    pub(crate) fn any(
        connection: &mut RouteConnection,
        (netns, pins): (&Netns, &Pins),
    ) -> Result<bool, EbpfError> {
        Ok(pins.exist() && !Self::read(connection, (netns, pins))?.running.is_empty())
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

    /// What each hook should run, in the order in which they are changed. An interface with
    /// frames that no program reads carries nothing while it is down, and should run nothing.
    pub(crate) fn wanted(&self, manifest: &Manifest) -> Vec<Wanted> {
        let at = |(hook, stage)| {
            self.interfaces.iter().filter_map(move |interface| {
                let entry = choose(&manifest.programs, (hook, stage), interface)?;
                let program = program_for(entry, interface.layer);
                let readable = program.is_some();
                (readable || interface.up).then_some(())?;
                Some(Wanted {
                    point: Point {
                        index: interface.index,
                        hook,
                        stage,
                    },
                    interface: interface.name.clone(),
                    program: program.or(entry.name.as_deref())?.to_owned(),
                    readable,
                })
            })
        };
        ORDER.into_iter().flat_map(at).collect()
    }

    /// Whether a hook runs that program of that generation.
    pub(crate) fn runs(&self, wanted: &Wanted, generation: &str) -> bool {
        let id = self.running.get(&wanted.point);
        let program = id.and_then(|id| self.programs.get(id));
        program.is_some_and(|p| p.generation == generation && p.name == wanted.program)
    }

    /// Whether hooks run what a manifest says and nothing else, and the programs know the interfaces
    /// that there are with their addresses and have the sets.
    pub(crate) fn in_step(&self, pins: &Pins, manifest: &Manifest) -> Result<bool, EbpfError> {
        let (generation, wanted) = (&manifest.generation, self.wanted(manifest));
        Ok(wanted.iter().all(|wanted| self.runs(wanted, generation))
            && self.running.len() == wanted.len()
            && self.severed.is_empty()
            && cgroup::as_wanted(self, manifest, generation)
            && principals::filled(&pins.principals(generation), &manifest.unresolved)?
            && classes::filled(
                &pins.ifaces(generation),
                &manifest.classes,
                &self.interfaces,
            )?
            && addresses::filled(&pins.addresses(generation), &self.addresses)?
            && sets::stale(pins, generation, manifest)?.is_empty())
    }

    /// Opens those programs that run of the pinned ones, by number.
    pub(crate) fn open<'n>(
        &self,
        running: impl Iterator<Item = &'n u32>,
        pins: &Pins,
    ) -> Result<BTreeMap<u32, Program>, EbpfError> {
        let mut opened = BTreeMap::new();
        for id in running {
            if let Some(pinned) = self.programs.get(id).filter(|_| !opened.contains_key(id)) {
                let mut programs = load::open(pins, &pinned.generation)?;
                opened.extend(programs.remove(&pinned.name).map(|program| (*id, program)));
            }
        }
        Ok(opened)
    }

    /// The name of a point that is or was there.
    pub(crate) fn place(&self, point: Point) -> String {
        place(&self.name(point.index), point.hook)
    }

    /// The name of an interface that is or was there.
    pub(crate) fn name(&self, index: u32) -> String {
        let here = self.interfaces.iter().find(|i| i.index == index);
        here.map_or_else(|| format!("#{index}"), |i| i.name.clone())
    }
}

/// A hook of an interface, for people.
pub(crate) fn place(interface: &str, hook: ProgramHook) -> String {
    format!("{interface} ({})", hook.word())
}

/// Whether a hook of an interface runs a program.
fn runs(netns: &Netns, interface: &Interface, point: Point, id: u32) -> Result<bool, EbpfError> {
    if point.hook == ProgramHook::Xdp {
        return Ok(interface.program == Some(id));
    }
    let running = program::running(netns, point);
    let failed = |source| EbpfError::Query {
        interface: interface.name.clone(),
        source: Box::new(source),
    };
    Ok(running.map_err(failed)?.contains(&id))
}

/// How a hook runs a program.
pub(crate) fn mode(hook: ProgramHook, way: Way, attached: Option<XdpAttached>) -> &'static str {
    match attached {
        _ if way == Way::Filter => "clsact",
        _ if hook != ProgramHook::Xdp => "tcx",
        Some(XdpAttached::Driver) => "native",
        Some(XdpAttached::SocketBuffer) => "generic",
        Some(XdpAttached::Hardware) => "hardware",
        _ => "unknown",
    }
}

/// Whether a pattern means an interface: it is its name, or what its name begins with and `*`.
/// `lo` is meant only where it is named in full.
pub(crate) fn means(pattern: &str, interface: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => interface != "lo" && interface.starts_with(prefix),
        None => pattern == interface,
    }
}

/// The program of an entry that reads such frames, if one does.
fn program_for(entry: &ProgramEntry, layer: Layer) -> Option<&str> {
    match layer {
        Layer::Ethernet => entry.name.as_deref(),
        Layer::Bare => entry.bare.as_deref(),
        Layer::Other => None,
    }
}

/// What a point of an interface should run, if anything: that of the point's first pattern that means
/// its name.
/// What a port hands on is its bridge's, bond's or team's packet and is judged there; the port has a
/// program for packets only where it is named in full.
fn choose<'m>(
    programs: &'m [ProgramEntry],
    (hook, stage): (ProgramHook, ProgramStage),
    interface: &Interface,
) -> Option<&'m ProgramEntry> {
    let here = programs.iter().filter(|entry| entry.hook == hook);
    let mut here = here.filter(|entry| entry.stage == stage);
    let first = here.find(|entry| means(&entry.pattern, &interface.name))?;
    if interface.port && hook != ProgramHook::Xdp && first.pattern != interface.name {
        return None;
    }
    first.name.is_some().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str) -> Interface {
        Interface {
            index: 1,
            name: name.to_owned(),
            up: true,
            layer: Layer::Ethernet,
            port: false,
            program: None,
            attached: None,
        }
    }

    fn entry(name: Option<&str>, hook: ProgramHook, pattern: &str) -> ProgramEntry {
        ProgramEntry {
            name: name.map(str::to_owned),
            bare: name.map(|name| format!("{name}_ip")),
            hook,
            stage: ProgramStage::Filter,
            pattern: pattern.to_owned(),
        }
    }

    /// The name of the program that is chosen.
    fn chosen<'m>(
        programs: &'m [ProgramEntry],
        hook: ProgramHook,
        interface: &Interface,
    ) -> Option<&'m str> {
        let point = (hook, ProgramStage::Filter);
        program_for(choose(programs, point, interface)?, interface.layer)
    }

    #[test]
    fn the_first_pattern_of_the_hook_decides() {
        let entry = |name, pattern| entry(name, ProgramHook::Xdp, pattern);
        let programs = [
            ProgramEntry {
                hook: ProgramHook::Egress,
                ..entry(Some("out"), "*")
            },
            entry(Some("one"), "eth0"),
            entry(None, "eth1"),
            entry(Some("wan"), "eth*"),
            entry(Some("rest"), "*"),
        ];
        let names = ["eth0", "eth1", "eth2", "wg0", "lo"]
            .map(|name| chosen(&programs, ProgramHook::Xdp, &interface(name)));
        assert_eq!(names, [Some("one"), None, Some("wan"), Some("rest"), None]);
        let own = [entry(Some("own"), "lo")];
        let lo = interface("lo");
        assert_eq!(chosen(&own, ProgramHook::Xdp, &lo), Some("own"));
        assert_eq!(chosen(&own, ProgramHook::Ingress, &lo), None);
        assert_eq!(chosen(&[], ProgramHook::Xdp, &lo), None);
    }

    #[test]
    fn what_frames_begin_with_says_which_program_reads_them() {
        let of = |layer| Interface {
            layer,
            ..interface("wg0")
        };
        let entries = [entry(Some("p"), ProgramHook::Xdp, "*")];
        let chosen = [Layer::Ethernet, Layer::Bare, Layer::Other]
            .map(|layer| chosen(&entries, ProgramHook::Xdp, &of(layer)));
        assert_eq!(chosen, [Some("p"), Some("p_ip"), None]);
    }

    #[test]
    fn packets_of_a_port_are_judged_elsewhere() {
        let port = Interface {
            port: true,
            ..interface("eth0")
        };
        for (hook, by_pattern) in [
            (ProgramHook::Xdp, Some("p")),
            (ProgramHook::Ingress, None),
            (ProgramHook::Egress, None),
        ] {
            let wide = [entry(Some("p"), hook, "eth*")];
            assert_eq!(chosen(&wide, hook, &port), by_pattern);
            let named = [entry(Some("p"), hook, "eth0")];
            assert_eq!(chosen(&named, hook, &port), Some("p"));
        }
    }
}
