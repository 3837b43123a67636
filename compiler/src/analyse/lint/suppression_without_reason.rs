//! POL702

use super::lint;

lint! {
    /// A comment `# polc: allow(…)` has no `reason`. It does silence the finding; but who reads it later cannot
    /// judge whether it still should.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow https log  # polc: allow(POL401)
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow https log  # polc: allow(POL401, reason="the log is read by a counter")
    ///   default deny
    /// }
    /// ```
    pub(super) static PAGE: "POL702" "suppression-without-reason" Warning, Default, Syntactic;
    "A comment silences a finding and does not say why."
}
