//! POL117

use super::page;

page! {
    /// A direction is governed, and some of its traffic reaches the end of the stage without a verdict. What
    /// becomes of it is not for the reader to guess: say it with a `default`.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host { allow https }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host { allow https  default deny }
    /// ```
    pub(super) static PAGE: MissingDefault Error, Exact
}
