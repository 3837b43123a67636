//! What all formats say of a comparison.

use std::fmt::Write as _;

use num_bigint::BigUint;
use polc_compiler::Compilation;
use polc_compiler::analyse::describe::{self, Words};
use polc_compiler::analyse::diff::{Change, Decider, Diff, Example, Fate, Goes, Kind, Source};
use polc_compiler::analyse::model::Dim;
use polc_compiler::field::{DPORT, Field, ICMP_CODE, ICMP_TYPE, SPORT, TCP_FLAGS};
use polc_compiler::interpret::{Fact, Outcome, Packet, Place, Sourced, Steered};
use polc_compiler::ir::{Ir, Reject};

/// A comparison, and the policies that were compared.
pub(super) struct Report<'a> {
    pub(super) diff: &'a Diff,
    pub(super) sides: [(&'a Compilation, &'a Ir); 2],
}

impl<'a> Report<'a> {
    pub(super) fn words(&self) -> Words<'_> {
        let policies = self.sides.map(|(compilation, _)| &compilation.policy);
        Words::new(&self.diff.space, &policies)
    }

    /// The changes of a kind.
    pub(super) fn of(&self, kind: Kind) -> Vec<&'a Change> {
        self.diff
            .changes
            .iter()
            .filter(|c| c.kind == kind)
            .collect()
    }

    /// What becomes of the packets of a change under one policy, and who says so.
    pub(super) fn fate(&self, change: &Change, side: usize) -> (String, String) {
        let [old, new] = &change.fates;
        let (fate, rules) = if side == 0 {
            (old, &change.rules[0])
        } else {
            (new, &change.rules[1])
        };
        let by: Vec<String> = rules.iter().map(|by| self.decider(*by, side)).collect();
        (outcome(fate, change.kind), by.join(", "))
    }

    /// A rule's name and place.
    pub(super) fn decider(&self, by: Decider, side: usize) -> String {
        match by {
            Decider::Rule(id) => {
                let [old, new] = self.sides;
                let (compilation, ir) = if side == 0 { old } else { new };
                let Some(rule) = id.of(ir) else {
                    return String::new();
                };
                let place = compilation.sources.describe(rule.span);
                format!("`{}` ({place})", rule.name)
            }
            Decider::Fact(fact) => self::fact(fact).to_owned(),
            Decider::Nobody => "no rule".to_owned(),
        }
    }

    /// Boxes in words, each once: one that only differs in its family from another is written with
    /// it.
    pub(super) fn boxes(&self, change: &Change) -> Vec<String> {
        let words = self.words();
        let mut out: Vec<String> = Vec::new();
        for region in &change.boxes {
            let text = words.region(region);
            let other =
                |from: &str, to: &str| text.contains(from).then(|| text.replacen(from, to, 1));
            let twin = other(" only v4", " only v6").or_else(|| other(" only v6", " only v4"));
            match twin.and_then(|twin| out.iter().position(|known| *known == twin)) {
                Some(at) => {
                    if let Some(known) = out.get_mut(at) {
                        *known = known
                            .replacen(" only v4", "", 1)
                            .replacen(" only v6", "", 1);
                    }
                }
                None if !out.contains(&text) => out.push(text),
                None => {}
            }
        }
        out
    }

    /// An example in the syntax of tests, with what the new policy makes of it.
    pub(super) fn test_line(&self, change: &Change, example: &Example) -> String {
        let [_, new] = &example.decisions;
        let [_, (_, ir)] = self.sides;
        let packet = &example.witnesses[1].packet;
        // Writing to a `String` cannot fail.
        let mut line = String::from(verb(new.outcome, new.steered));
        line.push(' ');
        line.push_str(&self.flow(change, example));
        let proxy = match new.steered {
            Some(Steered::Proxy(id)) => ir.proxies.get(id),
            _ => None,
        };
        match new.steered.filter(|_| new.outcome == Outcome::Allow) {
            Some(Steered::Dnat { addr, port }) => {
                let port = port.map(u64::from).or(packet.field(DPORT));
                let _ = write!(line, " => {}", endpoint(Some(addr), port));
            }
            Some(Steered::Redirect { port: Some(port) }) => {
                let _ = write!(line, " => :{port}");
            }
            _ => {}
        }
        if let Some(proxy) = proxy {
            let _ = write!(line, " via {}", proxy.name);
        }
        if let Some(rule) = new.by.and_then(|id| id.of(ir)) {
            if rule.named {
                let _ = write!(line, " rule {}", rule.name);
            } else {
                let _ = write!(line, " rule \"{}\"", rule.name);
            }
        }
        let region = change.boxes.iter().find(|r| r.contains(&example.point));
        let answers = region.map(|r| self.words().answers(r)).unwrap_or_default();
        let said = |text: &String| !text.starts_with("by user") && !text.starts_with("by group");
        let answers: Vec<String> = answers.into_iter().filter(said).collect();
        if answers.is_empty() {
            return line;
        }
        // A test begins with full buckets and with the sets' first elements: what needs others is
        // a comment.
        format!("# {line}, {}", answers.join(", "))
    }

    /// `tcp 192.0.2.1:40000 -> host:22 in eth0`
    pub(super) fn flow(&self, change: &Change, example: &Example) -> String {
        let packet = &example.witnesses[1].packet;
        let region = change.boxes.iter().find(|r| r.contains(&example.point));
        let space = &self.diff.space;
        // `host` stands for any address of this host, where the address makes no difference.
        let any = |dim: Dim| {
            region.is_some_and(|r| {
                let full = space.full(&dim, space.family(r));
                space.values(r, &dim) == Some(&full)
            })
        };
        let own = |place: &Place, dim: Dim| *place == Place::Host && any(dim);
        let source = (!own(&packet.ingress, Dim::Source)).then_some(packet.saddr);
        let dest = (!own(&packet.egress, Dim::Destination)).then_some(packet.daddr);
        let mut text = format!(
            "{} {} -> {}",
            protocol(packet),
            endpoint(source, packet.field(SPORT)),
            endpoint(dest, packet.field(DPORT))
        );
        if let Place::Iface(name) = &packet.ingress {
            let _ = write!(text, " in {name}");
        }
        let moved =
            |s: Option<Steered>| matches!(s, Some(Steered::Dnat { .. } | Steered::Route { .. }));
        let way = if moved(example.decisions[1].steered) {
            &packet.detour
        } else {
            &packet.egress
        };
        if let Place::Iface(name) = way {
            let _ = write!(text, " out {name}");
        }
        for (kind, name) in &packet.principals {
            let word = format!("{kind:?}").to_lowercase();
            let _ = write!(text, " by {word} \"{name}\"");
        }
        if let Some(flags) = packet.field(TCP_FLAGS).filter(|f| *f != SYN) {
            let set = polc_compiler::packet::IntervalSet::one(flags);
            let words = polc_compiler::ir::print::field_values(TCP_FLAGS, &set);
            let _ = write!(text, " flags {words}");
        }
        text
    }

    /// Why not everything is known, if it is not.
    pub(super) fn unknown(&self) -> Option<&'static str> {
        self.diff
            .unknown
            .map(polc_compiler::analyse::diff::Unknown::reason)
    }

    /// What changed that is no change of any packet's fate.
    pub(super) fn footer(&self) -> Vec<String> {
        let mut out = Vec::new();
        let renamed = self.diff.renamed.iter();
        let renamed: Vec<String> = renamed
            .map(|(old, new)| format!("`{old}` to `{new}`"))
            .collect();
        if !renamed.is_empty() {
            out.push(format!("renamed only: {}", renamed.join(", ")));
        }
        let annotated = self.diff.annotated.iter();
        let annotated: Vec<String> = annotated.map(|name| format!("`{name}`")).collect();
        if !annotated.is_empty() {
            out.push(format!(
                "only owner, ticket, note or counter changed: {}",
                annotated.join(", ")
            ));
        }
        out
    }
}

const SYN: u64 = 0x02;

/// The protocol in a test's words.
fn protocol(packet: &Packet) -> String {
    let number = u64::from(packet.proto);
    let name = describe::protocol(number);
    match packet.field(ICMP_TYPE).filter(|_| name.starts_with("icmp")) {
        Some(kind) => format!("{name}/{}", describe::icmp_type(number, kind)),
        None => name,
    }
}

fn endpoint(addr: Option<std::net::IpAddr>, port: Option<u64>) -> String {
    match (addr, port) {
        (None, None) => "host".to_owned(),
        (None, Some(port)) => format!("host:{port}"),
        (Some(addr), None) => addr.to_string(),
        (Some(addr), Some(port)) if addr.is_ipv4() => format!("{addr}:{port}"),
        (Some(addr), Some(port)) => format!("[{addr}]:{port}"),
    }
}

/// The verb of a test.
fn verb(outcome: Outcome, steered: Option<Steered>) -> &'static str {
    match (outcome, steered) {
        (Outcome::Deny, _) => "deny",
        (Outcome::Reject(_), _) => "reject",
        (Outcome::Allow, Some(Steered::Dnat { .. })) => "dnat",
        (Outcome::Allow, Some(Steered::Redirect { .. })) => "redirect",
        (Outcome::Allow, Some(Steered::Proxy(_))) => "proxy",
        (Outcome::Allow, Some(Steered::Route { .. })) => "route",
        (Outcome::Allow, _) => "allow",
    }
}

/// What becomes of a packet, as far as the kind of change is about it.
fn outcome(fate: &Fate, kind: Kind) -> String {
    let reject = |kind: Reject| match kind {
        Reject::Default => "reject",
        Reject::TcpReset => "reject with tcp-reset",
        Reject::PortUnreachable => "reject with port-unreachable",
        Reject::HostUnreachable => "reject with host-unreachable",
        Reject::AdminProhibited => "reject with admin-prohibited",
        Reject::NoRoute => "reject with no-route",
    };
    let mut parts = Vec::new();
    match fate.outcome() {
        Outcome::Deny => parts.push("deny".to_owned()),
        Outcome::Reject(how) => parts.push(reject(how).to_owned()),
        Outcome::Allow => {
            match fate.goes {
                Goes::Direct => parts.push("allow".to_owned()),
                Goes::Redirect(None) => parts.push("redirect to this host".to_owned()),
                Goes::Redirect(Some(port)) => parts.push(format!("redirect to :{port}")),
                Goes::Dnat(target) => parts.push(format!("dnat to {}", describe::target(target))),
                Goes::Proxy { socket, .. } => parts.push(match socket {
                    Some((addr, port)) => {
                        format!("proxy at {}", std::net::SocketAddr::new(addr, port))
                    }
                    None => "proxy".to_owned(),
                }),
                Goes::Route(table) => parts.push(format!("route by table {table}")),
            }
            match fate.source {
                Source::Own => {}
                Source::Masquerade => parts.push("masquerade".to_owned()),
                Source::Snat(target) => {
                    parts.push(format!("snat to {}", describe::target(target)));
                }
            }
        }
    }
    if kind == Kind::Marked {
        parts.push(match (fate.mark.mask, fate.notrack) {
            (_, true) => "untracked".to_owned(),
            (0, false) => "no mark".to_owned(),
            (mask, false) => format!("mark {:#x}/{mask:#x}", fate.mark.value),
        });
    }
    if kind == Kind::Effects {
        let entry = |e: &polc_compiler::analyse::diff::Entry| format!("log {:?}", e.text);
        let mut left: Vec<String> = fate.logged.iter().map(entry).collect();
        left.extend(fate.added.iter().map(|set| format!("add @{set}")));
        parts.push(if left.is_empty() {
            "no log".to_owned()
        } else {
            left.join(", ")
        });
    }
    parts.join(", ")
}

fn fact(fact: Fact) -> &'static str {
    match fact {
        Fact::Loopback => "loopback traffic is outside of the policy",
        Fact::UnconditionalIcmp => "neighbour discovery and packet-too-big always pass",
        Fact::NotSyn => "`strict tcp`: no SYN opens it",
        Fact::NotGoverned => "the policy does not govern its direction",
        Fact::ProxySocket => "a proxy's socket takes only what steer gives it",
        Fact::Reassembled => "guard hands on the fragment",
        Fact::Established
        | Fact::Related
        | Fact::Invalid
        | Fact::NotGuarded
        | Fact::Implied
        | Fact::Admitted
        | Fact::ProxyDown => "the language",
    }
}

/// A count that people can read: exact while it is short, then as a power of ten.
pub(super) fn readable(count: Option<&BigUint>) -> String {
    const SHORT: usize = 7;
    let Some(count) = count else {
        return "very many".to_owned();
    };
    let digits = count.to_string();
    if digits.len() <= SHORT {
        return digits;
    }
    let (head, rest) = digits.split_at(1);
    let (tenths, _) = rest.split_at(1);
    format!("{head}.{tenths}e{}", digits.len() - 1)
}

/// `1 packet`, `5 packets`; what has none is made of later fragments.
pub(super) fn packets(count: Option<&BigUint>) -> String {
    match count.map(BigUint::to_string).as_deref() {
        Some("0") => "later fragments".to_owned(),
        Some("1") => "1 packet".to_owned(),
        _ => format!("{} packets", readable(count)),
    }
}

/// Every decided thing of a packet, for JSON.
pub(super) fn fields(packet: &Packet) -> impl Iterator<Item = (Field, u64)> + '_ {
    packet
        .fields
        .iter()
        .map(|(field, value)| (*field, *value))
        .filter(|(field, _)| *field != ICMP_CODE || packet.field(ICMP_TYPE).is_some())
}

/// The source of a decision in words.
pub(super) fn sourced(source: Option<Sourced>) -> Option<String> {
    match source? {
        Sourced::Own => None,
        Sourced::Masquerade => Some("masquerade".to_owned()),
        Sourced::Snat(addr) => Some(addr.to_string()),
    }
}
