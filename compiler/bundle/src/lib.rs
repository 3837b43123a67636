//! The contract between the polc compiler and its loader.
//!
//! A bundle is a directory: `manifest.yaml`, the target's script (`policy.nft`),
//! rules (`policy.v4`, `policy.v6`, `sets.ipset`) or object (`policy.o`), and `maps/` with the normalised contents of each set. Its identity is the [`Manifest::generation`]: the hash of
//! everything in it. The same policy, built twice, gives the same bytes.

#![forbid(unsafe_code)]

mod hash;
mod io;
mod manifest;
mod routing;

pub use hash::{GENERATION_PLACEHOLDER, sha256_hex};
pub use io::{Bundle, BundleError};
pub use manifest::{
    ClassEntry, Feature, FileEntry, Hook, Jump, Manifest, Object, ObjectKind, ProgramEntry,
    ProgramHook, ProgramStage, RuleEntry, SCHEMA, SetEntry, Sysctl, TableChains, Unresolved,
};
pub use routing::{Family, LocalRoute, RoutingPlan, RoutingRule};
