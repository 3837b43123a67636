//! What the value of a flow says about its translation, in policies that translate.
//!
//! | at | |
//! |---|---|
//! | 16 | what was decided: the bits below |
//! | 20 | port of the destination that the client sees |
//! | 24 | that destination, its lower half first, as in a record |
//!
//! Numbers are in host order, as in a record.

/// Where in a value the decision is.
pub(in super::super) const DECISION: i16 = 16;
/// Where in a value the port of the visible destination is.
pub(in super::super) const VISIBLE_PORT: i16 = 20;
/// Where in a value the visible destination is.
pub(in super::super) const VISIBLE: i16 = 24;

/// The client sees another destination than that of the flow's key.
pub(in super::super) const DNAT: i32 = 2;
/// The flow was handed to a proxy, which has the visible destination for its own address.
pub(in super::super) const PROXY: i32 = 8;
