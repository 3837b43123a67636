//! Programs at interfaces: loading, attaching, reading back, taking away.
//!
//! What has to outlive the loader is pinned, below a directory for each network namespace:
//!
//! ```text
//! /sys/fs/bpf/polc/net-INODE/links/IFINDEX-HOOK-STAGE  what runs there, by a link or a filter
//! /sys/fs/bpf/polc/net-INODE/links/cgroup-HOOK        what runs for sockets, by a link
//! /sys/fs/bpf/polc/net-INODE/state/MAP              maps that outlive an apply
//! /sys/fs/bpf/polc/net-INODE/GENERATION/PROGRAM     the programs of a generation
//! /sys/fs/bpf/polc/net-INODE/GENERATION/counters    what its rules have counted
//! /sys/fs/bpf/polc/net-INODE/GENERATION/ifaces      by which numbers it knows interfaces
//! /sys/fs/bpf/polc/net-INODE/GENERATION/addresses   which addresses they have
//! /sys/fs/bpf/polc/net-INODE/GENERATION/principals  the numbers of users and groups by name
//! /sys/fs/bpf/polc/net-INODE/GENERATION/sets/MAP    what holds the tables of its large sets
//! ```
//!
//! # Architecture invariants
//!
//! * A link stays when the policy changes and gets another program, which is one step for the
//!   packets of its interface: there is never none. So is replacing a filter, where there are no
//!   links for packets (before Linux 6.6).
//! * What is pinned for a filter is its program. The pin is there before the filter and goes after
//!   it: no filter of ours is without one.
//! * Which generation is in force is asked of the kernel: it is the one whose pinned programs the
//!   links and filters run.

pub(crate) mod addresses;
pub(crate) mod attach;
pub(crate) mod cgroup;
pub(crate) mod classes;
mod clsact;
pub(crate) mod counters;
pub(crate) mod load;
mod mirror;
pub(crate) mod pins;
pub(crate) mod principals;
pub(crate) mod program;
mod refusal;
pub(crate) mod seen;
pub(crate) mod sets;
pub(crate) mod state;

use std::io;
use std::path::PathBuf;

use aya::programs::ProgramError;

use clsact::FilterError;
use pins::Point;

pub use cgroup::CgroupError;
pub use principals::{Gone, PrincipalError};
pub use refusal::Refusal;
pub use sets::fill_set;

/// The target whose bundles have programs.
pub(crate) const TARGET: &str = "ebpf";

/// Why programs cannot be loaded, attached, read or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EbpfError {
    /// There is no file system for pinned objects, and it cannot be mounted.
    #[error("cannot mount the BPF file system on `{path}`: {source}")]
    Mount {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is mounted here would be gone when the caller is.
    #[error("there is no BPF file system in this mount namespace, which is not the machine's")]
    MountNamespace,
    /// A pinned object or its directory cannot be used.
    #[error("cannot {action} `{path}`: {source}")]
    Pin {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The object cannot be read, or its maps cannot be made.
    #[error("the bundle's object cannot be loaded: {0}")]
    Object(#[source] Box<aya::EbpfError>),
    /// The object lacks a program that the manifest lists, or has it for another hook.
    #[error("the bundle's object has no program `{0}` for its hook")]
    NoProgram(String),
    /// The object lacks a map that the manifest speaks of.
    #[error("the bundle's object has no map `{0}`")]
    NoMap(String),
    /// The bundle lacks the table of a set that the manifest lists.
    #[error("the bundle has no table for the set `{0}`")]
    NoTable(String),
    /// A map has a name that the kernel or the file system would not take.
    #[error("`{0}` is not the name of a map: it takes up to 15 letters, digits and underscores")]
    StateName(String),
    /// Filters of interfaces cannot be read or taken away.
    #[error("cannot use the filters of the interfaces: {0}")]
    Filters(#[source] io::Error),
    /// Where a program should be attached is a filter of somebody else.
    #[error(
        "cannot attach to `{interface}` ({hook}): another filter with the priority {priority} is there"
    )]
    ForeignFilter {
        /// Where.
        interface: String,
        /// At which hook.
        hook: &'static str,
        /// The priority, which the program would have.
        priority: u16,
    },
    /// An interface has another qdisc where programs need `clsact`.
    #[error("cannot attach to `{interface}`: another qdisc is in the place of `clsact`")]
    ForeignQdisc {
        /// Where.
        interface: String,
    },
    /// A map cannot be read or written.
    #[error("cannot use the map `{map}`: {source}")]
    Map {
        /// Its name.
        map: String,
        /// Why.
        source: Box<aya::maps::MapError>,
    },
    /// The kernel does not say what an interface runs.
    #[error("cannot read which programs `{interface}` runs: {source}")]
    Query {
        /// Where.
        interface: String,
        /// Why.
        source: Box<ProgramError>,
    },
    /// The kernel refuses a program.
    #[error("the kernel refuses the program `{program}`: {refusal}")]
    Refused {
        /// Its name.
        program: String,
        /// Why.
        refusal: Refusal,
    },
    /// A program cannot be attached.
    #[error("cannot attach `{program}` to `{interface}` ({hook}): {source}")]
    Attach {
        /// The program.
        program: String,
        /// Where.
        interface: String,
        /// At which hook.
        hook: &'static str,
        /// Why.
        source: Box<ProgramError>,
    },
    /// A program is for an interface whose frames it cannot read.
    #[error(
        "`{program}` cannot read the packets of `{interface}`: they begin with neither an Ethernet nor an IP header"
    )]
    NotEthernet {
        /// The interface.
        interface: String,
        /// The program.
        program: String,
    },
    /// Interfaces cannot be listed.
    #[error("cannot list the interfaces: {0}")]
    Interfaces(#[source] io::Error),
    /// Counters cannot be read or handed on.
    #[error("cannot use the counters: {0}")]
    Counters(#[source] Box<aya::maps::MapError>),
    /// Programs for sockets cannot be used.
    #[error(transparent)]
    Cgroups(#[from] CgroupError),
    /// A name has no number.
    #[error(transparent)]
    Principal(#[from] PrincipalError),
    /// An interface still runs another program.
    #[error("`{interface}` does not run `{program}` after it was attached")]
    NotRunning {
        /// Where.
        interface: String,
        /// What should run.
        program: String,
    },
}

impl EbpfError {
    /// What can be done about it.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::MountNamespace => {
                Some("run polc outside of `ip netns exec`, with `--netns NAME`")
            }
            Self::NotEthernet { .. } => {
                Some("name the interfaces that the policy is about, or build for `nftables`")
            }
            Self::ForeignFilter { .. } => {
                Some("`tc filter show dev INTERFACE HOOK` shows it: give it another priority")
            }
            Self::ForeignQdisc { .. } => Some(
                "`tc qdisc show dev INTERFACE` shows it: replace it with `clsact`, or build for `nftables`",
            ),
            Self::Attach { hook: "xdp", .. } => Some(
                "an interface has one XDP program: `ip link show` tells whether another one is there",
            ),
            Self::Cgroups(error) | Self::Principal(PrincipalError::Cgroups(error)) => error.help(),
            Self::Principal(_) => {
                Some("make it before the policy, or give its number in `polc.yaml`")
            }
            _ => None,
        }
    }

    pub(crate) fn map(map: &str) -> impl FnOnce(aya::maps::MapError) -> Self {
        let map = map.to_owned();
        move |source| Self::Map {
            map,
            source: Box::new(source),
        }
    }

    /// Why a program cannot be attached to a point of an interface.
    fn attach(point: Point, (interface, program): (&str, &str), source: FilterError) -> Self {
        let (interface, hook) = (interface.to_owned(), point.hook.word());
        let source = match source {
            FilterError::Foreign(priority) => {
                return Self::ForeignFilter {
                    interface,
                    hook,
                    priority,
                };
            }
            FilterError::Qdisc => return Self::ForeignQdisc { interface },
            FilterError::Kernel(source) => ProgramError::IOError(source),
            FilterError::Program(source) => source,
        };
        Self::Attach {
            program: program.to_owned(),
            interface,
            hook,
            source: Box::new(source),
        }
    }

    fn pin<E>(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let path = path.into();
        move |source| Self::Pin {
            action,
            path,
            source: source.into(),
        }
    }
}
