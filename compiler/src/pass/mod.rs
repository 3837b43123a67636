//! Typed policy → IR, and the checks that need the whole of it. One file per step.

pub mod defaults;
pub mod flatten;
pub mod limits;
pub mod marks;
pub mod nat;
pub mod proxies;
mod settle;
pub mod tests;
mod verb;
