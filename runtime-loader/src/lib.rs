//! Bundle to kernel: checks a bundle, applies it, reads it back, undoes what failed, removes it;
//! and the live laboratory.
//!
//! The loader owns the nftables table `inet polc`, chains of iptables that begin with `POLC-` and their sets,
//! the policy-routing rules and routes that carry
//! its protocol number [`OWNER`], and what is pinned in `/sys/fs/bpf/polc`. It touches nothing else. It links neither the policy
//! language nor the compiler: a [`Bundle`](polc_bundle::Bundle) is all it knows.
//!
//! Changing the kernel takes `CAP_NET_ADMIN` in the namespace's user namespace, programs take
//! `CAP_BPF` as well, and entering
//! another namespace takes `CAP_SYS_ADMIN`.
//!
//! ```no_run
//! use polc_bundle::Bundle;
//! use polc_runtime_loader::{ApplyOptions, apply};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bundle = Bundle::read("out".as_ref())?;
//! let applied = apply(&bundle, &ApplyOptions::default(), &mut |_step| {})?;
//! assert_eq!(applied.generation, bundle.manifest().generation);
//! # Ok(())
//! # }
//! ```

mod access;
mod apply;
mod ebpf;
mod iptables;
pub mod lab;
pub mod log;
mod netlink;
mod netns;
mod nft;
mod process;
mod remove;
mod routing;
mod status;
mod stop;
mod store;
mod sys;
mod sysctl;
#[cfg(test)]
mod testing;
mod transaction;
pub mod watch;

pub use access::AccessError;
pub use apply::{Applied, ApplyError, ApplyOptions, Changes, Undo, Warning, apply};
pub use ebpf::{CgroupError, EbpfError, Gone, PrincipalError, Refusal, fill_set};
pub use iptables::{IptablesError, Variant};
pub use netns::NetnsError;
pub use nft::{Counter, NftError};
pub use remove::{Removed, remove};
pub use routing::{OWNER, RoutingError};
pub use status::{ProgramStatus, RoutingStatus, RuleStatus, Status, status};
pub use stop::Stop;
pub use store::{DEFAULT_STATE_DIR, StoreError};
pub use sysctl::SysctlProblem;
pub use transaction::BundleProblem;
