//! Bundle to kernel: checks, applies, reads back, undoes, removes; and the live laboratory.

pub mod lab;
mod netlink;
mod netns;

pub use netns::NetnsError;
