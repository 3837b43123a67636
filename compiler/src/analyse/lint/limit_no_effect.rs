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
    /// bucket few = 60/min per source max 65536
    ///
    /// to host {
    ///   allow https within few  as site
    ///   deny  https             as too-many
    ///   allow tcp/440-449       as rest
    ///   default deny
    /// }
    /// ```
    pub(super) static PAGE: LimitNoEffect Error, Exact
}
