//! POL402

use super::page;

page! {
    /// `allow … within` refuses nothing by itself: what exceeds the rate goes on to the rules behind. When
    /// those allow all of it, the rate has no effect.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow ssh within 6/min per source  as ssh
    ///   allow tcp                          as rest
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow ssh within 6/min per source  as ssh
    ///   deny  ssh                          as too-many
    ///   allow tcp/1024-65535               as rest
    ///   default deny
    /// }
    /// ```
    pub(super) static PAGE: LimitNoEffect Error, Exact
}
