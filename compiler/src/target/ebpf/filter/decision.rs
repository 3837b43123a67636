//! What a flow's entry says of where its packets go, and where they come from: behind mark and flags of
//! values that have it ([`flows`](super::flows)).

/// Where in a value the decision is.
pub(in super::super) const DECISION: i16 = 16;
/// Where the port is that the flow was opened to, if that was another one.
pub(in super::super) const OPENED_PORT: i16 = 20;
/// Where the port is that it leaves from, if that is another one.
pub(in super::super) const LEAVING_PORT: i16 = 22;
/// Where the address is that it was opened to, lower half first.
pub(in super::super) const OPENED_TO: i16 = 24;
/// Where the address is that it leaves from, lower half first.
pub(in super::super) const LEAVES_FROM: i16 = 40;

/// Steer has decided, the filter has not.
pub(in super::super) const PENDING: i32 = 1;
/// The flow goes to another destination than it was opened to.
pub(in super::super) const DNAT: i32 = 2;
/// The flow leaves from another source.
pub(in super::super) const SNAT: i32 = 4;
/// A proxy takes it: the number of the proxy is at [`PROXY_SHIFT`].
pub(in super::super) const PROXY: i32 = 8;
/// Egress has decided.
pub(in super::super) const SOURCED: i32 = 0x10;
/// It goes to this host, whose own it is, by the loopback interface.
pub(in super::super) const HOME: i32 = 0x20;
/// It leaves by another way than its first packet was routed: the number of the route is at
/// [`PROXY_SHIFT`].
pub(in super::super) const ROUTED: i32 = 0x40;
/// A socket of this host has opened it in another one's name: its answers are not addressed to this host.
pub(in super::super) const FOREIGN: i32 = 0x80;
/// This host has opened it, to another destination than it was opened to: answers come in. Such a flow has no
/// number at [`PROXY_SHIFT`].
pub(in super::super) const OWN: i32 = 0x1_0000;
/// Where the number of a proxy, or of a route, begins.
pub(in super::super) const PROXY_SHIFT: i32 = 8;
