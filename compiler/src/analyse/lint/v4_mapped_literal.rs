//! POL508

use std::net::{IpAddr, Ipv4Addr};

use super::literals::literals;
use super::{Context, lint};
use crate::diagnostic::{Diagnostic, Edit, Fix};
use crate::source::Span;

lint! {
    /// An IPv4 address is written as an IPv6 one: `::ffff:192.0.2.1`.
    ///
    /// That is how programs show IPv4 peers of an IPv6 socket. On the wire there are no such packets:
    /// the peer sends IPv4, and the rule does not match it.
    ///
    /// The whole prefix, `::ffff:0:0/96`, is right in a list of sources to deny.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow https from ::ffff:192.0.2.1
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow https from 192.0.2.1
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Fix
    ///
    /// The IPv4 address is written instead.
    pub(super) static LINT: "POL508" "v4-mapped-literal" Warning, Default, Syntactic, fix;
    "An IPv4 address is written as an IPv6 one."
}

/// How long the prefix of these addresses is.
const PREFIX: u8 = 96;

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let file = cx.policy.file;
    for literal in literals(cx.text(file)) {
        let Some(v4) = mapped(literal.addr) else {
            continue;
        };
        let text = match literal.len.map(|len| len.checked_sub(PREFIX)) {
            None => v4.to_string(),
            Some(Some(len)) if len > 0 => format!("{v4}/{len}"),
            Some(_) => continue,
        };
        let span = Span::new(file, literal.span);
        out.push(
            LINT.report("no packet has this address: it is an IPv4 one", span)
                .help(format!("write `{text}`"))
                .fix(Fix {
                    safe: true,
                    title: "write the IPv4 address".to_owned(),
                    edits: vec![Edit { span, text }],
                }),
        );
    }
}

fn mapped(addr: IpAddr) -> Option<Ipv4Addr> {
    match addr {
        IpAddr::V4(_) => None,
        IpAddr::V6(addr) => addr.to_ipv4_mapped(),
    }
}
