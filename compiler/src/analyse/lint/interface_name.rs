//! POL607

use super::page;

page! {
    /// An interface name that no kernel would accept: longer than 15 bytes, or with characters that names
    /// cannot have. A rule for it would match nothing. A `*` stands at the end only.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// zone wan = enp130s0f1np1.4094
    ///
    /// from wan to host { default deny }
    ///
    /// default deny
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// zone wan = enp130s0f1np1
    ///
    /// from wan to host { default deny }
    ///
    /// default deny
    /// ```
    pub(super) static PAGE: InterfaceName Error, Syntactic
}
