//! POL205

use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::field::{DPORT, TCP, UDP};
use crate::ir::{Cube, Rule};
use crate::packet::IntervalSet;

lint! {
    /// A rule opens more than 1024 ports of TCP or UDP to anybody.
    ///
    /// Nothing needs so many. Whatever listens on one of them, now or after the next update, is on the
    /// Internet. Answers to one's own connections need no open ports: they follow their flow.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow udp/20000-40000
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow udp/20000-20099
    ///   default deny
    /// }
    /// ```
    pub(super) static LINT: "POL205" "wide-port-range" Warning, Default, Exact;
    "A rule opens more than 1024 ports to anybody."
}

/// So many ports are taken for granted.
const MANY: u128 = 1024;

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    for (id, rule) in cx.opening_ports() {
        for (protocol, name) in [(TCP, "tcp"), (UDP, "udp")] {
            let ports = ports(rule, protocol);
            if ports.count() <= MANY {
                continue;
            }
            let asked = Cube::any()
                .with_proto(&IntervalSet::one(protocol))
                .with_field(DPORT, &ports);
            if let Some(opening) = cx.allowed_from_world(id, &asked) {
                let title = format!("this opens {} ports of {name} to anybody", ports.count());
                let help = format!(
                    "name the ports that are needed, or the sources; for example, this gets in: {}",
                    opening.example
                );
                out.push(LINT.report(title, rule.span).help(help));
            }
        }
    }
}

/// The ports of a protocol that a rule names.
fn ports(rule: &Rule, protocol: u64) -> IntervalSet<u64> {
    let cubes = rule.cubes.iter().filter(|c| c.proto.contains(protocol));
    let named = cubes.filter_map(|c| c.field(DPORT));
    named.fold(IntervalSet::empty(), |all, ports| all.union(ports))
}
