//! The bits of a flow's label (`ct label`, of which there are 128).

/// Flows that steer has admitted.
pub(crate) const ADMITTED: u8 = 126;

/// The most bits for answers that a mangle chain leaves for a NAT chain.
pub(crate) const ANSWERS: usize = 100;

/// Flows that this host has opened, where that cannot be asked later.
pub(crate) const OWN: u8 = 125;
