//! Policies made up by machine, as text.
//!
//! * [`random_policy`]: small ones that use every part of the language, for tests that compare two
//!   ways of understanding a policy;
//! * [`family`]: ten thousand rules about addresses, ports and protocols, distributed as in real
//!   firewalls, for benchmarks;
//! * [`filters`]: a reader of the five-field files that packet classifiers are measured with.
//!
//! Everything is a function of its seed: the same seed gives the same text.

mod coverage;
mod dice;
mod family;
pub mod filters;
mod policy;
mod shape;

pub use coverage::Coverage;
pub use family::{Kind, family};
pub use policy::{Draw, random_policy, valid_policy};
pub use shape::{Feature, Shape};
