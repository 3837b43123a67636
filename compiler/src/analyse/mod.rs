//! What can be proven about a policy.

pub mod describe;
pub mod diff;
pub mod model;
