//! POL310

use super::page;

page! {
    /// The tables 0 and 253 to 255 are the system's own: unspecified, default, main and local. A policy's
    /// routes do not belong in them.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// steer { route from 192.0.2.1 via table 254 mark 0x1/0xff }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// steer { route from 192.0.2.1 via table 100 mark 0x1/0xff }
    /// ```
    pub(super) static PAGE: RouteTable Error, Syntactic
}
