//! What programs in the kernel's own bytecode are made of.
//!
//! A program parses a packet, classifies it, and acts. [`classify`] makes the tables that the
//! second part reads, and the plan of the reads.

pub mod classify;
