//! POL601

use super::page;

page! {
    /// A target cannot express what the policy says. Nothing is left out in silence: the policy is not built
    /// for this target.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// guard on eth0 {
    ///   deny when vlan.id == 30
    ///   default allow
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// guard on eth0.30 { default deny }
    ///
    /// guard on eth0 { default allow }
    /// ```
    pub(super) static PAGE: Unsupported Error, Syntactic
}
