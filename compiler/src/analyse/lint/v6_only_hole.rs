//! POL502

use super::{Context, lint, v4_only_hole};
use crate::diagnostic::Diagnostic;
use crate::packet::Families;

lint! {
    /// A rule refuses something on IPv6 only, and on IPv4 the same is allowed.
    ///
    /// There may be a reason, such as a service that should not be found by its new address yet. More
    /// often a hole was closed in a hurry, and only where it had been seen.
    ///
    /// Rules are meant that are limited to IPv6 by `only v6`, or by sources or destinations that are all
    /// of IPv6; not those about certain addresses.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   deny  tcp/8080 only v6
    ///   allow tcp/8000-8099
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   deny  tcp/8080
    ///   allow tcp/8000-8099
    ///   default deny
    /// }
    /// ```
    pub(super) static LINT: "POL502" "v6-only-hole" Warning, Default, Exact;
    "What is refused on IPv6 is allowed on IPv4."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    v4_only_hole::holes(cx, &LINT, Families::V6, out);
}
