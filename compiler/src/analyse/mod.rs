//! What can be proven about a policy, and what had better not be in one.

pub mod lint;
pub mod model;
pub mod reach;
