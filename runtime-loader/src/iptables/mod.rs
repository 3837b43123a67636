//! Chains of iptables and sets of ipset: what of them is a policy's, and how they are changed.
//!
//! A policy's chains have names that begin with [`CHAIN_PREFIX`], and its sets with one of
//! [`SET_PREFIXES`]. The kernel's own chains enter the policy's by rules `-j CHAIN` that
//! say nothing else. Everything that these modules delete has such a name or such a form.
//!
//! The tools exist twice. `iptables-legacy` and `iptables-nft` keep their rules in different places of
//! the kernel, where neither sees the other's and packets meet both: a policy is in one of them.

mod change;
mod saved;
mod seen;
mod sets;
mod tools;

use std::io;

use serde::Serialize;

use crate::netns::NetnsError;

pub(crate) use change::Change;
pub(crate) use seen::{Seen, choose, in_force, remove};
pub(crate) use tools::Tools;

/// The target whose bundles have chains.
pub(crate) const TARGET: &str = "iptables";

/// What every chain of a policy begins with.
const CHAIN_PREFIX: &str = "POLC-";

/// What every set of a policy begins with.
const SET_PREFIXES: [&str; 2] = ["polc4-", "polc6-"];

/// The chain of `filter` whose one rule carries the generation id in its comment.
const GENERATION_CHAIN: &str = "POLC-GENERATION";

/// Which of the two programs called `iptables`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// `iptables-legacy`, whose rules are tables of the kernel's `ip_tables`.
    Legacy,
    /// `iptables-nft`, whose rules are tables of the kernel's `nf_tables`.
    Nft,
}

impl Variant {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Legacy, Self::Nft];

    /// What the names of its programs have between `iptables` and the rest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Nft => "nft",
        }
    }
}

/// Why chains or sets cannot be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IptablesError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// A program cannot be run.
    #[error("cannot run `{program}`: {source}")]
    Start {
        /// Which.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A program reported an error.
    #[error("`{program}` cannot {action}:\n{message}")]
    Refused {
        /// Which.
        program: String,
        /// What was tried.
        action: &'static str,
        /// What it said.
        message: String,
    },
    /// A bundle's file is missing or not as it must be.
    #[error("the bundle's file `{file}` {problem}")]
    File {
        /// Its name.
        file: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// A policy is in force in the other program's rules.
    #[error(
        "a policy is in force in the rules of `iptables-{}`, which `iptables-{}` does not see",
        found.name(),
        wanted.name()
    )]
    OtherVariant {
        /// Where it is.
        found: Variant,
        /// What was asked for.
        wanted: Variant,
    },
}

impl IptablesError {
    /// Whether the tools may not even be asked: then whoever asks cannot have changed rules either.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if is_denied(message))
    }

    /// What can be done about it.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Start { program, source } if source.kind() == io::ErrorKind::NotFound => {
                Some(if program == sets::PROGRAM {
                    "install the package `ipset`"
                } else {
                    "install the package `iptables`"
                })
            }
            Self::Refused { message, .. } if is_denied(message) => {
                Some("run it as root or with the capabilities CAP_NET_ADMIN and CAP_NET_RAW")
            }
            Self::File { .. } => Some("build the bundle again with `polc build`"),
            Self::OtherVariant { .. } => Some("take it away with `polc remove` first"),
            _ => None,
        }
    }
}

fn is_denied(message: &str) -> bool {
    ["Operation not permitted", "Permission denied"]
        .iter()
        .any(|words| message.contains(words))
}

/// Whether a word is one in every program's language. Names from the kernel can be anything.
fn is_plain(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !word.is_empty() && word.chars().all(plain)
}
