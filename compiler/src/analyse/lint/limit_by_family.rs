//! POL608

use super::page;

page! {
    /// The target counts for each family what the policy counts for both. iptables has a rate of its own for
    /// IPv4 and for IPv6: together they may take twice as much as the policy says. A rate per source or
    /// destination is not concerned, since no address is of both families.
    ///
    /// Found by `polc build --target iptables`.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow tcp/80 within 100/s
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow tcp/80 within 50/s only v4
    ///   allow tcp/80 within 50/s only v6
    ///   default deny
    /// }
    /// ```
    pub(super) static PAGE: FamilyScope Warning, Syntactic
}
