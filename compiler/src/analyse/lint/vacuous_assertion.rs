//! POL114

use super::page;

page! {
    /// A claim speaks of no packet: its set is empty, or its conditions exclude one another. It holds
    /// whatever the policy does, so it proves nothing, and whoever reads it believes that something is
    /// proven. `polc prove` and `polc check` report it.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// set retired = { 192.0.2.9 } - 192.0.2.0/24
    ///
    /// to host {
    ///   allow ssh
    ///   default deny
    /// }
    ///
    /// never allow ssh from @retired to host
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// set retired = { 192.0.2.9 }
    ///
    /// to host {
    ///   deny  ssh from @retired
    ///   allow ssh from 192.0.2.0/24
    ///   default deny
    /// }
    ///
    /// never allow ssh from @retired to host
    /// ```
    pub(super) static PAGE: VacuousClaim Error, Exact
}
