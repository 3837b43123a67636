//! Whether targets do on the live kernel what policies mean.
//!
//! Random or given policies are put in force on a machine of the laboratory, target by target.
//! Packets are sent through it, and what becomes of each is compared with what the reference
//! interpreter says.

#![forbid(unsafe_code)]

pub mod fault;
pub mod minimise;
