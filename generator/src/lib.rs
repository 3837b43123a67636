//! Policies made up by machine, as text.
//!
//! * [`random_policy`]: small ones that use every part of the language, for tests that compare two
//!   ways of understanding a policy;
//! * [`family`]: ten thousand rules about addresses, ports and protocols, distributed as in real
//!   firewalls, for benchmarks;
//! * [`networks4`], [`hosts4`] and [`networks6`]: long lists of addresses;
//! * [`filters`]: a reader of the five-field files that packet classifiers are measured with.
//!
//! Everything is a function of its seed: the same seed gives the same text.

#![forbid(unsafe_code)]

mod coverage;
mod dice;
mod family;
pub mod filters;
mod policy;
mod prefixes;
mod shape;

pub use coverage::Coverage;
pub use family::{Kind, family, family_filters};
pub use policy::{Draw, random_policy, valid_policy};
pub use prefixes::{hosts4, networks4, networks6};
pub use shape::{Feature, Shape};
