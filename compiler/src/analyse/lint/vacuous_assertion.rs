//! POL114

use super::page;

page! {
    /// A claim speaks of no packet: its conditions exclude one another, or its set is empty. It holds
    /// whatever the policy does, so it proves nothing, and whoever reads it believes that something is
    /// proven. `polc prove` and `polc check` report it.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow https
    ///   default deny
    /// }
    ///
    /// never allow https from 192.0.2.9 to host only v6
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   deny  https from 192.0.2.9
    ///   allow https
    ///   default deny
    /// }
    ///
    /// never allow https from 192.0.2.9 to host
    /// ```
    pub(super) static PAGE: VacuousClaim Error, Exact
}
