//! POL211

use super::services::Ports;
use super::{Context, lint};
use crate::diagnostic::Diagnostic;

lint! {
    /// A rule lets the world use a protocol that sends passwords and data in the clear: FTP, Telnet,
    /// TFTP, POP3, IMAP, LDAP, SNMP, rexec, rlogin, rsh.
    ///
    /// Everybody on the way can read along, and mostly change what is sent. Use the encrypted
    /// counterpart (`ssh`, `imaps`, `pop3s`, `ldaps`, `ftps`), or allow known sources only.
    ///
    /// That it is such a service is told by its port.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow ftp
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow ftp from 192.0.2.0/28
    ///   default deny
    /// }
    /// ```
    pub(super) static LINT: "POL211" "plaintext-service" Warning, Default, Heuristic;
    "The world may use a service that sends passwords in the clear."
}

const SERVICES: &[(u64, &[u64])] = &[
    (6, &[21, 23, 110, 143, 389, 512, 513, 514]),
    (17, &[69, 161, 389]),
];

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let services = Ports::of(SERVICES);
    for (rule, opening) in cx.services_from_world(&services) {
        let title = "this lets the world use a service that sends passwords in the clear";
        let help = format!(
            "use its encrypted counterpart, or say from whom; for example it allows {}",
            opening.example
        );
        out.push(LINT.report(title, rule.span).help(help));
    }
}
