//! What can be said about a policy that compiles.

pub mod lint;
