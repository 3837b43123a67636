//! What rules have logged, where the policy is programs.
//!
//! Programs write entries into a ring, which outlives an apply; each entry is read once, by whoever
//! comes first. What finds no room is counted.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use polc_runtime_loader::log::Log;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut log = Log::open(None, None)?;
//! while let Some(entry) = log.take() {
//!     let entry = entry?;
//!     let rule = log.rule(entry.log_id)?;
//!     println!("{:?} {:?}", rule.map(|rule| &rule.name), entry);
//! }
//! log.wait(Duration::from_secs(1))?;
//! # Ok(())
//! # }
//! ```

mod entry;
mod rules;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use aya::maps::{Map, MapData, MapError, MapInfo, PerCpuArray, RingBuf};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};
use polc_bundle::{Manifest, RuleEntry};

use crate::access::AccessError;
use crate::ebpf::{self, EbpfError, pins::Pins};
use crate::netlink::link;
use crate::netns::Netns;
use crate::routing;
use crate::store::Store;
use crate::transaction::SCRIPT;

pub use entry::{Entry, EntryError, LENGTH, Verdict};
use rules::Rules;

/// The ring, and the counter of what did not fit.
const RING: &str = "log";
const LOST: &str = "log_lost";

/// Why there is nothing to read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Nothing was applied.
    #[error("no policy is in force here")]
    NoPolicy,
    /// No rule of the policy logs.
    #[error("no rule of the policy `{policy}` logs")]
    Silent {
        /// The policy.
        policy: String,
    },
    /// The entries go elsewhere.
    #[error("the policy `{policy}` logs to the netlink group {group}, which other programs read")]
    Netlink {
        /// The policy.
        policy: String,
        /// The group.
        group: String,
    },
    /// The state or the kernel cannot be read.
    #[error(transparent)]
    Access(#[from] AccessError),
}

impl LogError {
    /// What can be done about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Netlink { group, .. } => Some(format!(
                "read them with `tcpdump -n -i nflog:{group}`, or let `ulogd` keep them"
            )),
            Self::Access(error) => error.help().map(str::to_owned),
            _ => None,
        }
    }
}

/// The log of a network namespace.
pub struct Log {
    netns: Netns,
    pins: Pins,
    rules: Rules,
    ring: RingBuf<MapData>,
    /// The kernel's number of the ring.
    number: u32,
    /// Names of interfaces by their numbers.
    interfaces: BTreeMap<u32, String>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Log");
        shown
            .field("netns", &self.netns)
            .field("ring", &self.number);
        shown.finish_non_exhaustive()
    }
}

impl Log {
    /// Opens the log of a network namespace, the caller's own if none is named. It takes no lock.
    pub fn open(netns: Option<&str>, state_dir: Option<&Path>) -> Result<Self, LogError> {
        let netns = Netns::open(netns).map_err(AccessError::from)?;
        let store = Store::new(state_dir);
        let key = netns.key();
        let committed = store.committed(&key).map_err(AccessError::from)?;
        let bundle = committed.as_deref().map(|id| store.bundle(id)).transpose();
        let bundle = bundle.map_err(AccessError::from)?;
        let bundle = bundle.ok_or(LogError::NoPolicy)?;
        let manifest = bundle.manifest();
        if manifest.target != ebpf::TARGET {
            return Err(elsewhere(manifest, bundle.file(SCRIPT).unwrap_or_default()));
        }
        let pins = Pins::of(&netns);
        if !manifest.state.iter().any(|map| map == RING) || !pins.state(RING).exists() {
            return Err(LogError::Silent {
                policy: manifest.policy.clone(),
            });
        }
        let (ring, number) = open_ring(&pins).map_err(AccessError::from)?;
        Ok(Self {
            netns,
            pins,
            rules: Rules::new(store, key),
            ring,
            number,
            interfaces: BTreeMap::new(),
        })
    }

    /// The next entry, if there is one. It is taken from the ring also when it cannot be read.
    pub fn take(&mut self) -> Option<Result<Entry, EntryError>> {
        self.ring.next().map(|bytes| Entry::parse(&bytes))
    }

    /// Waits for an entry, but no longer than `longest`; whether there is one. Where an apply has
    /// made another ring meanwhile, that is read from now on.
    pub fn wait(&mut self, longest: Duration) -> Result<bool, AccessError> {
        let failed = |errno: nix::errno::Errno| ring_error(MapError::IoError(errno.into()));
        let timeout = PollTimeout::try_from(longest).unwrap_or(PollTimeout::MAX);
        let mut ring = [PollFd::new(self.ring.as_fd(), PollFlags::POLLIN)];
        let ready = match poll(&mut ring, timeout) {
            Err(nix::errno::Errno::EINTR) => 0,
            other => other.map_err(failed)?,
        };
        // Names may have changed in the time.
        self.interfaces.clear();
        if ready > 0 {
            return Ok(true);
        }
        let path = self.pins.state(RING);
        let pinned = path.exists().then(|| MapInfo::from_pin(path)).transpose();
        let pinned = pinned.map_err(ring_error)?;
        if pinned.is_some_and(|info| info.id() != self.number) {
            (self.ring, self.number) = open_ring(&self.pins)?;
        }
        Ok(false)
    }

    /// How many entries found no room in the ring, since it was made.
    pub fn lost(&self) -> Result<u64, AccessError> {
        let path = self.pins.state(LOST);
        if !path.exists() {
            return Ok(0);
        }
        let read = || -> Result<u64, MapError> {
            let map: PerCpuArray<_, u64> =
                Map::from_map_data(MapData::from_pin(path)?)?.try_into()?;
            let values = map.get(&0, 0)?;
            Ok(values.iter().fold(0, |sum, lost| sum.wrapping_add(*lost)))
        };
        Ok(read().map_err(EbpfError::map(LOST))?)
    }

    /// The rule that entries name by a number: of the policy in force, otherwise of one that is
    /// still stored.
    pub fn rule(&mut self, log_id: u32) -> Result<Option<&RuleEntry>, AccessError> {
        Ok(self.rules.find(log_id)?)
    }

    /// The name of the interface with a number, if it is there.
    pub fn interface(&mut self, index: u32) -> Result<Option<&str>, AccessError> {
        if !self.interfaces.contains_key(&index) {
            let mut connection = routing::open(&self.netns)?;
            let all = link::all(&mut connection).map_err(EbpfError::Interfaces)?;
            self.interfaces = all.into_iter().map(|i| (i.index, i.name)).collect();
        }
        Ok(self.interfaces.get(&index).map(String::as_str))
    }
}

/// When an entry was written, by the clock as it is set now.
pub fn time(entry: &Entry) -> io::Result<SystemTime> {
    let (now, since_start) = (SystemTime::now(), clock_gettime(ClockId::CLOCK_MONOTONIC)?);
    let age = Duration::from(since_start).saturating_sub(Duration::from_nanos(entry.time));
    Ok(now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH))
}

fn open_ring(pins: &Pins) -> Result<(RingBuf<MapData>, u32), EbpfError> {
    let open = || {
        let data = MapData::from_pin(pins.state(RING))?;
        let number = data.info()?.id();
        Ok((RingBuf::try_from(Map::from_map_data(data)?)?, number))
    };
    open().map_err(EbpfError::map(RING))
}

fn ring_error(error: MapError) -> AccessError {
    EbpfError::map(RING)(error).into()
}

/// Where a policy for `nftables` logs.
fn elsewhere(manifest: &Manifest, script: &str) -> LogError {
    let policy = manifest.policy.clone();
    let mut lines = script.lines().filter(|line| line.contains("log prefix "));
    let group = lines.find_map(|line| {
        let (_, rest) = line.rsplit_once(" group ")?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        (!digits.is_empty()).then(|| digits.to_owned())
    });
    match group {
        Some(group) => LogError::Netlink { policy, group },
        None => LogError::Silent { policy },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_read_from_the_script() {
        let manifest = crate::testing::manifest();
        let script = "meta skgid 5 accept\n\tlog prefix \"a group 9: \" group 7 drop\n";
        let found = elsewhere(&manifest, script);
        assert!(matches!(&found, LogError::Netlink { group, .. } if group == "7"));
        assert!(found.help().unwrap().contains("nflog:7"));
        for silent in ["", "meta skgid 5 accept", "log prefix \"x\" group \n"] {
            let found = elsewhere(&manifest, silent);
            assert!(matches!(found, LogError::Silent { .. }), "{silent}");
        }
    }

    #[test]
    fn an_entry_was_written_when_it_was() {
        let since_start = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap());
        let second = Duration::from_secs(1);
        let mut bytes = [0; LENGTH];
        bytes[21] = 4;
        let mut entry = Entry::parse(&bytes).unwrap();
        entry.time = u64::try_from(since_start.as_nanos()).unwrap() - 1_000_000_000;
        let age = SystemTime::now()
            .duration_since(time(&entry).unwrap())
            .unwrap();
        assert!(age >= second && age < 10 * second, "{age:?}");
    }
}
