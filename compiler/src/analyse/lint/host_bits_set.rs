//! POL113

use super::page;

page! {
    /// An address with a prefix length has bits beyond that length. It is read as the whole prefix; perhaps
    /// the one address was meant.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// set admins = { 192.0.2.1/24 }
    ///
    /// to host {
    ///   allow ssh from @admins
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// set admins = { 192.0.2.0/24 }
    ///
    /// to host {
    ///   allow ssh from @admins
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Fix
    ///
    /// The bits are cleared: the policy stays what it is.
    pub(super) static PAGE: HostBits Warning, Syntactic, fix
}
