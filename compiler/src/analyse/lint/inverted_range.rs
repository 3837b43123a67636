//! POL112

use super::page;

page! {
    /// The end of a range is smaller than its beginning. Other tools read such a range as empty, or as
    /// everything else; polc asks what is meant.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow tcp/8090-8080
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow tcp/8080-8090
    ///   default deny
    /// }
    /// ```
    pub(super) static PAGE: InvertedRange Error, Syntactic
}
