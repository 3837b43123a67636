//! A namespace with programs at its interfaces, and a look at what is pinned for it.

#![expect(
    clippy::unwrap_used,
    reason = "test support: what fails here is a broken test"
)]

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aya::maps::{Array, HashMap, Map, MapData};
use aya::programs::links::{FdLink, PinnedLink};
use polc_runtime_loader::lab::{Namespace, Wire};
use polc_runtime_loader::{Applied, ApplyError, ApplyOptions, apply, remove};

use crate::object::Filter;
use crate::support::{State, ip};

/// A namespace with a cable between its interfaces `one0` and `one1`, by which nothing travels but
/// what tests send. Its policy is taken away at the end.
pub(crate) struct Host {
    pub(crate) namespace: Namespace,
    pub(crate) state: State,
    /// Whether programs for packets are attached as filters.
    pub(crate) clsact: bool,
}

impl Host {
    pub(crate) fn new() -> Self {
        let namespace = Namespace::new().unwrap();
        for which in ["all", "default"] {
            let key = format!("net/ipv6/conf/{which}/disable_ipv6");
            namespace.sysctl(&key, "1").unwrap();
        }
        ip(&namespace, "link add one0 type veth peer name one1");
        for end in ["one0", "one1"] {
            ip(&namespace, &format!("link set {end} up"));
        }
        let state = State::new();
        Self {
            namespace,
            state,
            clsact: false,
        }
    }

    /// One that speaks IPv6 with itself, which local routes need.
    pub(crate) fn with_ipv6_loopback() -> Self {
        let host = Self::new();
        let key = "net/ipv6/conf/lo/disable_ipv6";
        host.namespace.sysctl(key, "0").unwrap();
        host
    }

    /// One whose programs for packets are attached as filters.
    pub(crate) fn with_filters() -> Self {
        let mut host = Self::new();
        host.clsact = true;
        host
    }

    pub(crate) fn apply(&self, filter: &Filter) -> Applied {
        self.try_apply(filter).unwrap()
    }

    pub(crate) fn try_apply(&self, filter: &Filter) -> Result<Applied, ApplyError> {
        let options = ApplyOptions {
            clsact: self.clsact,
            ..self.state.options(&self.namespace)
        };
        apply(&filter.bundle(), &options, &mut |_| {})
    }

    pub(crate) fn in_step(&self) -> bool {
        self.state.status(&self.namespace).in_step
    }

    /// The directory of what is pinned for the namespace.
    pub(crate) fn pins(&self) -> PathBuf {
        let path = Path::new("/run/netns").join(self.namespace.name());
        let inode = std::fs::metadata(path).unwrap().ino();
        Path::new("/sys/fs/bpf/polc").join(format!("net-{inode}"))
    }

    /// The names of what is pinned in one of its directories.
    pub(crate) fn pinned(&self, directory: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.pins().join(directory)).unwrap();
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<String> = entries.map(|e| name(e).into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(crate) fn index(&self, interface: &str) -> u32 {
        let shown = ip(&self.namespace, &format!("-o link show {interface}"));
        let (index, _) = shown.split_once(':').unwrap();
        index.parse().unwrap()
    }

    /// The numbers of all links and of their programs.
    pub(crate) fn links(&self) -> BTreeMap<String, (u32, u32)> {
        let read = |name: String| {
            let link = PinnedLink::from_pin(self.pins().join("links").join(&name)).unwrap();
            let info = FdLink::from(link).info().unwrap();
            (name, (info.id(), info.program_id()))
        };
        self.pinned("links").into_iter().map(read).collect()
    }

    /// How many packets were counted coming in and going out.
    pub(crate) fn seen(&self) -> [u64; 2] {
        let data = MapData::from_pin(self.pins().join("state/seen")).unwrap();
        let map: Array<_, u64> = Map::from_map_data(data).unwrap().try_into().unwrap();
        [0, 1].map(|entry| map.get(&entry, 0).unwrap())
    }

    /// The numbers that a generation knows interfaces by.
    pub(crate) fn numbers(&self, generation: &str) -> BTreeMap<u32, u32> {
        let data = MapData::from_pin(self.pins().join(generation).join("ifaces")).unwrap();
        let map: HashMap<_, u32, u32> = Map::from_map_data(data).unwrap().try_into().unwrap();
        map.iter().map(Result::unwrap).collect()
    }

    /// What a generation knows of an interface's addresses: that of IPv4, 0, and the lower and upper half
    /// of that of IPv6.
    pub(crate) fn addresses(&self, generation: &str) -> BTreeMap<u32, [u64; 4]> {
        let data = MapData::from_pin(self.pins().join(generation).join("addresses")).unwrap();
        let map: HashMap<_, u32, [u64; 4]> = Map::from_map_data(data).unwrap().try_into().unwrap();
        map.iter().map(Result::unwrap).collect()
    }

    /// The digits that the programs write which one frame meets that comes into `one1`.
    pub(crate) fn trail(&self) -> u64 {
        let data = MapData::from_pin(self.pins().join("state/trail")).unwrap();
        let mut map: Array<_, u64> = Map::from_map_data(data).unwrap().try_into().unwrap();
        map.set(0, 0, 0).unwrap();
        self.send(1);
        map.get(&0, 0).unwrap()
    }

    /// Sends frames out of `one0`, into `one1`.
    pub(crate) fn send(&self, frames: u32) {
        let wire = Wire::open(&self.namespace, "one0").unwrap();
        let mut frame = [0; 60];
        // To everybody, of a protocol that nobody speaks.
        frame[..6].fill(0xff);
        frame[12..14].copy_from_slice(&[0x88, 0xb5]);
        for _ in 0..frames {
            wire.send(&frame).unwrap();
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Err(error) = remove(Some(self.namespace.name()), Some(self.state.path())) {
            eprintln!("left behind: {error}");
        }
    }
}
