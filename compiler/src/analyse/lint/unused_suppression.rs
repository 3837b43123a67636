//! POL701

use super::lint;

lint! {
    /// A comment `# polc: allow(…)` names a code that is not found where it stands. Perhaps what it answered
    /// for has been mended since. Left there, it hides the next finding of this code, for which its reason was
    /// not given.
    ///
    /// Codes that are turned off, or that are for another persona, do not count as unused. Nor are comments of
    /// a library judged: whether they are of use depends on the policy.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   # polc: allow(POL401, reason="the log is read by a counter")
    ///   allow https
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   # polc: allow(POL401, reason="the log is read by a counter")
    ///   allow https log
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Fix
    ///
    /// The code is taken out of the comment, or the comment out of the file.
    pub(super) static PAGE: "POL701" "unused-suppression" Warning, Default, Syntactic, fix;
    "A comment silences what is not found."
}
