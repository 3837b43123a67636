//! POL202

use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::field::{DPORT, TCP};
use crate::ir::{Cube, Key, KeyKind, Rate, Rule, Sense};
use crate::packet::IntervalSet;

lint! {
    /// Anybody can reach a port by which machines are administered: a shell, a remote desktop, the
    /// control of a cluster, a database.
    ///
    /// Scanners find such a port within minutes. What is behind it often trusts whoever has got so far,
    /// and its holes are used on the day they become known.
    ///
    /// The ports are those of `admin_ports` in the settings. "Anybody" is who comes from the world: by
    /// an interface of a world zone, and not from a limited set of addresses. Port 22 is left alone
    /// where a rate admits few flows of each source, which keeps guessers out.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow postgresql
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// set clients = { 203.0.113.0/28, 2001:db8:ad::/48 }
    ///
    /// to host {
    ///   allow postgresql from @clients
    ///   default deny
    /// }
    /// ```
    pub(super) static LINT: "POL202" "world-to-admin-port" Error, Default, Exact;
    "Anybody can reach a port of administration."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    for (id, rule) in cx.opening_ports().filter(|(_, rule)| speaks_of_tcp(rule)) {
        let mut ports = cx.settings.admin_ports.clone();
        if slows_each_sender(cx, rule) {
            ports = ports.difference(&IntervalSet::one(SSH));
        }
        let asked = Cube::any()
            .with_proto(&IntervalSet::one(TCP))
            .with_field(DPORT, &ports);
        let Some(opening) = cx.allowed_from_world(id, &asked) else {
            continue;
        };
        let model = cx.model();
        let port = model.example(&opening.region).packet.field(DPORT);
        let title = match port {
            Some(port) => format!("anybody can reach tcp/{port}"),
            None => "anybody can reach a port of administration".to_owned(),
        };
        let help = format!(
            "say from where with `from`; for example, this gets in: {}",
            opening.example
        );
        out.push(LINT.report(title, rule.span).help(help));
    }
}

const SSH: u64 = 22;

/// Whether the rule is about TCP more than about other protocols. What allows everything is another
/// lint's business.
fn speaks_of_tcp(rule: &Rule) -> bool {
    let is_tcp =
        |cube: &Cube| cube.proto.contains(TCP) && !Cube::any().proto.is_subset(&cube.proto);
    !rule.is_default && rule.cubes.iter().any(is_tcp)
}

/// Whether a rate admits a limited number of flows from each source.
fn slows_each_sender(cx: &Context, rule: &Rule) -> bool {
    let within = rule.limits.iter().filter(|l| l.sense == Sense::Within);
    let mut buckets = within.filter_map(|l| cx.ir.buckets.get(l.bucket));
    buckets.any(|bucket| {
        let by_source = |key: Key| matches!(key.kind, KeyKind::Source | KeyKind::Pair);
        matches!(bucket.rate, Rate::Packets { .. }) && bucket.key.is_some_and(by_source)
    })
}
