//! The kernel's table `inet polc`: what is in it, and taking it away.
//!
//! Two implementations of [`TableAccess`] lie side by side: [`binary`] asks the `nft` program,
//! and, with the cargo feature `nftnl`, `netlink` asks the kernel through libnftnl. Whole
//! rulesets always go through the `nft` program: nothing else understands its language.

pub(crate) mod binary;
#[cfg(feature = "nftnl")]
mod message;
#[cfg(feature = "nftnl")]
pub(crate) mod netlink;

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use crate::netns::{Netns, NetnsError};

/// The family of the loader's table.
pub(crate) const FAMILY: &str = "inet";

/// The name of the loader's table.
pub(crate) const TABLE: &str = "polc";

/// The chain whose one rule carries the generation id in its comment.
pub(crate) const GENERATION_CHAIN: &str = "generation";

/// What stands before the id in that comment.
const GENERATION_PREFIX: &str = "polc ";

/// What a counter has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes, from the network header on.
    pub bytes: u64,
}

/// Why the kernel's table cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The namespace cannot be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The `nft` program cannot be run.
    #[error("cannot run `nft`: {0}")]
    Start(#[source] io::Error),
    /// `nft` reported an error.
    #[error("`nft` cannot {action}:\n{message}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// What it said.
        message: String,
    },
    /// `nft` said something that is not understood.
    #[error("the answer of `nft` cannot be read: {0}")]
    Answer(String),
    /// The kernel refused a message.
    #[error("cannot {action}: {source}")]
    Kernel {
        /// What was tried.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl NftError {
    /// What can be done about it.
    pub fn help(&self) -> Option<&'static str> {
        let denied = "run it as root or with the capability CAP_NET_ADMIN";
        match self {
            Self::Start(error) if error.kind() == io::ErrorKind::NotFound => {
                Some("install the package `nftables`")
            }
            Self::Refused { message, .. } if message.contains("Operation not permitted") => {
                Some(denied)
            }
            Self::Kernel { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some(denied)
            }
            _ => None,
        }
    }
}

/// What can be done with the table besides loading a ruleset.
pub(crate) trait TableAccess {
    /// Whether the table is there.
    fn exists(&self) -> Result<bool, NftError>;

    /// The generation id in the table; none without table or id.
    fn generation(&self) -> Result<Option<String>, NftError>;

    /// The table's counters by name; none without table.
    fn counters(&self) -> Result<BTreeMap<String, Counter>, NftError>;

    /// Deletes the table with all that is in it; whether it was there.
    fn delete(&self) -> Result<bool, NftError>;
}

/// The access that this build uses.
#[cfg(not(feature = "nftnl"))]
pub(crate) fn access(netns: &Netns) -> binary::NftBinary<'_> {
    binary::NftBinary::new(netns)
}

/// The access that this build uses.
#[cfg(feature = "nftnl")]
pub(crate) fn access(netns: &Netns) -> netlink::NftNetlink<'_> {
    netlink::NftNetlink::new(netns)
}

/// The id in the comment of the generation rule.
pub(crate) fn generation_in(comment: &str) -> Option<String> {
    comment.strip_prefix(GENERATION_PREFIX).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generation_is_what_follows_the_prefix() {
        assert_eq!(generation_in("polc 0123"), Some("0123".into()));
        assert_eq!(generation_in("0123"), None);
    }
}
