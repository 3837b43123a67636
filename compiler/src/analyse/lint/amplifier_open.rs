//! POL212

use super::services::Ports;
use super::{Context, lint};
use crate::diagnostic::Diagnostic;

lint! {
    /// A rule opens a UDP service to the world that answers small questions with large answers:
    /// chargen, DNS, NTP, `NetBIOS`, SNMP, LDAP, SSDP, mDNS, memcached, portmapper.
    ///
    /// Who sends such questions with somebody else's address as their source has the answers flood
    /// that one. An open DNS resolver is found and used within a day. Allow known sources only, or
    /// bound what each source gets. A rate `per source` is enough to silence this.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow ntp
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow ntp within 10/s per source
    ///   default deny
    /// }
    /// ```
    pub(super) static LINT: "POL212" "amplifier-open" Warning, Default, Exact;
    "The world may use a service that amplifies floods."
}

const SERVICES: &[(u64, &[u64])] = &[(17, &[19, 53, 111, 123, 137, 161, 389, 1900, 5353, 11211])];

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let services = Ports::of(SERVICES);
    for (rule, opening) in cx.services_from_world(&services) {
        if cx.is_limited_by_key(rule) {
            continue;
        }
        let title = "this opens a service to the world that amplifies floods";
        let help = format!(
            "say from whom, or how much: `within 10/s per source`; for example it allows {}",
            opening.example
        );
        out.push(LINT.report(title, rule.span).help(help));
    }
}
