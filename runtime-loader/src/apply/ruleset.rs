//! What an apply needs of a target whose policies are rules of netfilter.

mod iptables;
mod nftables;

use polc_bundle::{Bundle, Object};

use super::{ApplyError, Warning};

pub(super) use iptables::Chains;
pub(super) use nftables::NftTable;

/// The rules of a policy in the kernel.
pub(super) trait Ruleset {
    /// What takes the kernel from what it holds to a bundle.
    type Change;

    /// Whether the kernel has any rules of ours.
    fn exists(&self) -> Result<bool, ApplyError>;

    /// The generation in the kernel; none if a change has ended half way.
    fn generation(&self) -> Result<Option<String>, ApplyError>;

    /// The change to a bundle. The kernel is only asked.
    fn plan(&self, bundle: &Bundle) -> Result<Self::Change, ApplyError>;

    /// The objects that a change deletes.
    fn stale(change: &Self::Change) -> Vec<Object>;

    /// Has the kernel check a change. Nothing is changed.
    fn check(&self, change: &Self::Change) -> Result<Vec<Warning>, ApplyError>;

    /// Makes a change. An error does not mean that nothing was changed.
    fn load(&self, change: &Self::Change) -> Result<Vec<Warning>, ApplyError>;

    /// Deletes all rules of ours.
    fn delete(&self) -> Result<(), ApplyError>;
}
