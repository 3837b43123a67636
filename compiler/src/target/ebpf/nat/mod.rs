//! Translation: packets get another source or destination, as do the packets that ICMP errors quote.
//!
//! Checksums are corrected, never computed anew: a packet that was damaged on its way stays so, and of a
//! fragment that is all that can be done.

mod checksum;
mod quoted;
mod rewrite;
#[cfg(test)]
mod tests;

pub(super) use self::rewrite::{End, Rewrite};
