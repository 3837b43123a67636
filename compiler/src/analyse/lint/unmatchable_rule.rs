//! POL102

use super::page;

page! {
    /// The conditions of a rule, with those of the groups and the section around it, exclude one another: no
    /// packet can match. The rule reads as if it did something, and does nothing.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow tcp from 192.0.2.1 when ip.version == 6
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow tcp from 192.0.2.1 when ip.version == 4
    ///   default deny
    /// }
    /// ```
    pub(super) static PAGE: UnmatchableRule Error, Exact
}
