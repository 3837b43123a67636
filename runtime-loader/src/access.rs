//! Errors of reading and removing.

use crate::ebpf::EbpfError;
use crate::iptables::IptablesError;
use crate::netns::NetnsError;
use crate::nft::NftError;
use crate::routing::RoutingError;
use crate::store::StoreError;

/// Why a policy could not be read or removed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
#[non_exhaustive]
pub enum AccessError {
    /// The namespace cannot be used.
    Netns(#[from] NetnsError),
    /// The state directory cannot be used.
    Store(#[from] StoreError),
    /// Policy routing cannot be read or changed.
    Routing(#[from] RoutingError),
    /// Programs cannot be read or removed.
    Ebpf(#[from] EbpfError),
    /// Chains or sets cannot be read or removed.
    Iptables(#[from] IptablesError),
    /// The ruleset cannot be read or changed.
    Nft(#[from] NftError),
}

impl AccessError {
    /// What can be done about it.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Nft(error) => error.help(),
            Self::Iptables(error) => error.help(),
            Self::Ebpf(error) => error.help(),
            Self::Store(StoreError::Busy { .. }) => Some("try again when it is done"),
            _ => None,
        }
    }
}
