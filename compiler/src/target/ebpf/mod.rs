//! What programs in the kernel's own bytecode are made of.
//!
//! A program parses a packet, classifies it, and acts, in three parts that can be told apart in its
//! listing: `parse` writes what the rules ask for into a `record`, [`classify`] makes tables and the
//! plan of reading them, which `lookup` turns into instructions, and `act` does what the answer says.

mod act;
pub mod classify;
mod guard;
mod hook;
mod lookup;
mod parse;
mod record;
mod rows;
