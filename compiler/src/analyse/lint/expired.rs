//! POL703

use super::page;

page! {
    /// The date of an `expires` has passed. The rule was meant to be there for a time only, and somebody must
    /// decide whether it goes or stays. A `review` whose date has passed is a warning. So is the policy built
    /// reproducibly: nothing vanishes from it by itself.
    ///
    /// The date that counts is `--as-of`, or today. An `until` in a comment that silences a finding is judged
    /// the same way.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow https from 192.0.2.1 expires 2026-03-31
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow https from 192.0.2.1 expires 2028-03-31
    ///   default deny
    /// }
    /// ```
    pub(super) static PAGE: Expired Error, Syntactic
}
