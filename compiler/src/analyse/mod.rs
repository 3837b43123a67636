//! What can be proven about a policy.

pub mod diff;
pub mod model;
