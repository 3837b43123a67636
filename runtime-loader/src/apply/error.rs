//! Why an apply failed, and what became of it.

use std::fmt::{self, Write as _};

use crate::ebpf::EbpfError;
use crate::iptables::IptablesError;
use crate::netns::NetnsError;
use crate::nft::NftError;
use crate::routing::RoutingError;
use crate::store::StoreError;
use crate::sysctl::SysctlProblem;
use crate::transaction::BundleProblem;

/// Why a bundle was not applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The bundle is not one to load.
    #[error(transparent)]
    Bundle(#[from] BundleProblem),
    /// The namespace cannot be used.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The state directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Kernel settings are wrong.
    #[error("kernel settings stand in the way:{}", lines(.0))]
    Sysctl(Vec<SysctlProblem>),
    /// Rules or routes of others are in the way.
    #[error("policy routing of others stands in the way:{}", lines(.0))]
    Collision(Vec<String>),
    /// `lo` is down.
    #[error("the interface `lo` is down: the policy's local routes need it")]
    LoopbackDown,
    /// Policy routing cannot be read or changed.
    #[error(transparent)]
    Routing(#[from] RoutingError),
    /// The ruleset cannot be read or changed.
    #[error(transparent)]
    Nft(#[from] NftError),
    /// Chains or sets cannot be read or changed.
    #[error(transparent)]
    Iptables(#[from] IptablesError),
    /// Programs cannot be loaded or attached.
    #[error(transparent)]
    Ebpf(#[from] EbpfError),
    /// A policy for another target is in force.
    #[error("a policy for the target `{other}` is in force here")]
    OtherTarget {
        /// That target.
        other: String,
    },
    /// No error was reported, but the kernel has another generation.
    #[error("the kernel has generation {} after loading `{expected}`", shown(.found.as_ref()))]
    Generation {
        /// The bundle's.
        expected: String,
        /// The kernel's.
        found: Option<String>,
    },
    /// Something failed after the first change, and the changes were undone or not.
    #[error("{cause}\n{undo}")]
    Undone {
        /// What failed.
        #[source]
        cause: Box<ApplyError>,
        /// What became of the changes.
        undo: Undo,
    },
}

impl ApplyError {
    /// What can be done about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Bundle(BundleProblem::OddName { .. }) => {
                Some("look at it with `nft list table inet polc` and delete it".to_owned())
            }
            Self::Bundle(_) => Some("build the bundle again with `polc build`".to_owned()),
            Self::Store(StoreError::Busy { .. }) => Some("try again when it is done".to_owned()),
            Self::Sysctl(problems) => {
                let commands: Vec<_> = problems.iter().filter_map(SysctlProblem::remedy).collect();
                Some(format!("run `{}`", commands.join("` and `")))
            }
            Self::Collision(_) => Some(
                "give the policy another mark, priority or table, or remove what is in the way"
                    .to_owned(),
            ),
            Self::LoopbackDown => Some("run `ip link set lo up`".to_owned()),
            Self::Nft(error) => error.help().map(str::to_owned),
            Self::Iptables(error) => error.help().map(str::to_owned),
            Self::Ebpf(error) => error.help().map(str::to_owned),
            Self::OtherTarget { .. } => Some("take it away with `polc remove` first".to_owned()),
            Self::Undone { cause, undo } => match undo {
                Undo::Failed { .. } => Some(
                    "check the machine with `polc status`, then apply a bundle again or run `polc remove`"
                        .to_owned(),
                ),
                Undo::Restored { .. } => cause.help(),
            },
            _ => None,
        }
    }
}

/// What became of the changes of a failed apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undo {
    /// Everything is as it was.
    Restored {
        /// The generation in force.
        generation: Option<String>,
    },
    /// Some changes could not be undone.
    Failed {
        /// Which, and why.
        problems: Vec<String>,
    },
}

impl fmt::Display for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restored {
                generation: Some(generation),
            } => write!(
                f,
                "every change was undone: generation `{generation}` is in force as before"
            ),
            Self::Restored { generation: None } => {
                f.write_str("every change was undone: no policy is in force, as before")
            }
            Self::Failed { problems } => {
                write!(f, "not every change could be undone:{}", lines(problems))
            }
        }
    }
}

fn lines<T: fmt::Display>(items: &[T]) -> String {
    items.iter().fold(String::new(), |mut text, item| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "\n  {item}");
        text
    })
}

fn shown(generation: Option<&String>) -> String {
    generation.map_or_else(|| "none".to_owned(), |id| format!("`{id}`"))
}
