//! POL706

use super::page;

page! {
    /// A name that nothing defines, or a definition that is made of itself. A misspelt name would otherwise
    /// be an empty set, and a rule that matches nothing.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// set admins = { 192.0.2.0/28 }
    ///
    /// to host {
    ///   allow https from @admin
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
    ///   allow https from @admins
    ///   default deny
    /// }
    /// ```
    pub(super) static PAGE: Undefined Error, Syntactic
}
