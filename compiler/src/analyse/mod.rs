//! What can be proven about a policy.

pub mod matrix;
pub mod model;
pub mod prove;
pub mod question;
pub mod ways;
