//! POL303

use super::proxy_loop::{captures_own, exempts_a_sender};
use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::field::DPORT;
use crate::ir::{Rule, Verdict};
use crate::packet::IntervalSet;

lint! {
    /// A redirect leads back to itself.
    ///
    /// There are two ways to do that. One: this host's own flows are redirected to a port, to
    /// whatever address they go and whoever sends them. Then the program that listens there cannot
    /// connect to anybody: it reaches itself. Leave it out with `direct by user …` before the rule.
    ///
    /// The other: arriving flows for port 80 are redirected to 8080, and those for 8080 to 80. A flow
    /// is redirected once, so each service gets what is meant for the other one.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// steer { redirect tcp from host => :15001 }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// steer {
    ///   direct   by uid 1337
    ///   redirect tcp from host => :15001
    /// }
    /// ```
    pub(super) static LINT: "POL303" "redirect-loop" Error, Default, Exact;
    "A redirect leads back to itself."
}

/// A rule for fewer destinations than this is about some service.
const FEW: u128 = 1 << 24;

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let redirects = cx.ir.steer.iter().enumerate();
    let redirects = redirects.filter_map(|(at, rule)| match rule.verdict {
        Some(Verdict::Redirect { port: Some(port) }) => Some((at, rule, u64::from(port))),
        _ => None,
    });
    let redirects: Vec<_> = redirects.collect();
    for (at, rule, port) in &redirects {
        let earlier = cx.ir.steer.iter().take(*at);
        if captures_own(rule) && goes_anywhere(rule) && !exempts_a_sender(earlier) {
            let title = format!("what listens on port {port} is redirected to itself");
            let help = "leave it out: `direct by user …` before this rule";
            out.push(LINT.report(title, rule.span).help(help));
        }
    }
    for (at, rule, port) in redirects.iter().filter(|(_, rule, _)| arrives(rule)) {
        let back = redirects.iter().find(|(other, second, to)| {
            other < at && arrives(second) && takes(second, *port) && takes(rule, *to)
        });
        if let Some((_, second, to)) = back {
            let title =
                format!("this redirects to port {port}, and that port is redirected to {to}");
            out.push(
                LINT.report(title, rule.span)
                    .related(second.span, "here")
                    .help("a flow is redirected once: redirect to a port that is not redirected"),
            );
        }
    }
}

/// Whether the flows go to no limited set of addresses.
fn goes_anywhere(rule: &Rule) -> bool {
    rule.cubes.iter().any(|cube| {
        let wide = cube.daddr.v4.count() >= FEW || cube.daddr.v6.count() > 1 << 96;
        cube.ingress.host && wide && cube.field(DPORT).is_none_or(IntervalSet::is_full)
    })
}

fn arrives(rule: &Rule) -> bool {
    let mut cubes = rule.cubes.iter();
    cubes.any(|cube| !cube.ingress.ifaces.is_empty() && cube.fields.contains_key(&DPORT))
}

/// Whether the rule names the port, and not only all of them.
fn takes(rule: &Rule, port: u64) -> bool {
    let mut ports = rule.cubes.iter().filter_map(|cube| cube.field(DPORT));
    ports.any(|ports| ports.contains(port))
}
