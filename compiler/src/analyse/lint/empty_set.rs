//! POL110

use super::page;

page! {
    /// A rule asks for a set that has no element: it matches nothing, or with `not`, everything.
    ///
    /// The list may be missing that should have filled the set, or nobody has written it yet.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// set admins = {}
    ///
    /// to host {
    ///   allow https
    ///   allow ssh from @admins
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// set admins = { 192.0.2.0/28 }
    ///
    /// to host {
    ///   allow https
    ///   allow ssh from @admins
    ///   default deny
    /// }
    /// ```
    pub(super) static PAGE: EmptySet Warning, Syntactic
}
