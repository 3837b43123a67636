//! POL711

use super::lint;

lint! {
    /// A comment begins with `# polc:` and polc cannot follow it: it is written wrongly, names a code that does
    /// not exist, or one that no comment can silence. Those are the codes about such comments themselves
    /// (POL701, POL702, POL711) and those below `never_suppress` in `polc.yaml`.
    ///
    /// It is an error because its author believes that something is silenced.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow https log at 3/s  # polc: allow(POL999, reason="the log is read by a counter")
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
    pub(super) static PAGE: "POL711" "bad-suppression" Error, Default, Syntactic;
    "A comment for polc that it does not understand or may not follow."
}
