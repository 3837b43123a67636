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
    /// to host { default deny log "in" at 3/s }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host { default deny log "in" at 3/s per source }
    /// ```
    pub(super) static PAGE: FamilyScope Warning, Syntactic
}
