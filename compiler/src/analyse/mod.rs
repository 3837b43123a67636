//! What can be proven about a policy.

pub mod model;
pub mod reach;
