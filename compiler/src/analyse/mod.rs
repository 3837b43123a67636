//! What can be proven about a policy, what changes from one to another, and what had better not be
//! in one.

pub mod describe;
pub mod diff;
pub mod lint;
pub mod matrix;
pub mod model;
pub mod prove;
pub mod question;
pub mod reach;
pub mod ways;
