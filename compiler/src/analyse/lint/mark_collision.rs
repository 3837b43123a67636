//! POL021

use super::page;

page! {
    /// Two proxies or routes share a mark, another rule sets bits of it, or two masks share some of their
    /// bits. The kernel finds a routing table by the mark: the flow of one would take the way of the other.
    ///
    /// Give each its own value below the same mask, or masks that share no bit.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// steer {
    ///   route from 192.0.2.1 via table 100 mark 0x1/0xff
    ///   route from 192.0.2.2 via table 101 mark 0x1/0xff
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// steer {
    ///   route from 192.0.2.1 via table 100 mark 0x1/0xff
    ///   route from 192.0.2.2 via table 101 mark 0x2/0xff
    /// }
    /// ```
    pub(super) static PAGE: MarkCollision Error, Exact
}
