//! What a proof came to, in words.

use std::fmt::Write as _;

use polc_grammar::ast::ClaimKind;

use super::{ClaimResult, Proof, Shown};
use crate::analyse::model::Witness;
use crate::diagnostic::{Code, Diagnostic};
use crate::field::{
    DPORT, Field, Format, ICMP, ICMP_CODE, ICMP_TYPE, ICMPV6, IP_FRAGMENT, PROTOCOLS, SPORT,
    TCP_FLAGS,
};
use crate::interpret::{Packet, Place, Steered, Tokens, render};
use crate::ir::{Ir, print};
use crate::packet::IntervalSet;
use crate::policy::Policy;
use crate::source::SourceMap;

/// The diagnostic of a claim that is not proven; `None` for one that is.
pub fn diagnostic(
    result: &ClaimResult,
    policy: &Policy,
    ir: &Ir,
    sources: &SourceMap,
) -> Option<Diagnostic> {
    let claim = policy.claims.get(result.claim)?;
    Some(match &result.proof {
        Proof::Proven => return None,
        Proof::Fails(shown) => {
            let label = match claim.kind {
                ClaimKind::Never => "there is a packet with this outcome",
                ClaimKind::Ensure | ClaimKind::Protect => "there is a packet with another outcome",
            };
            let title = "the claim does not hold";
            let mut diagnostic = Diagnostic::error(Code::ClaimFails, title, claim.span).at(label);
            if let Some(rule) = shown.decision.by.and_then(|id| id.of(ir)) {
                diagnostic = diagnostic.and(rule.span, "this rule decides");
            }
            diagnostic.help(describe(shown, ir, sources))
        }
        Proof::Vacuous => {
            let title = "the claim is about no packet";
            Diagnostic::error(Code::VacuousClaim, title, claim.span)
                .help("its conditions exclude one another, or the zones that it names do")
        }
        Proof::Unknown(why) => {
            let title = "whether the claim holds is not known";
            Diagnostic::error(Code::ClaimUnknown, title, claim.span).help(why.clone())
        }
        Proof::Defect(shown) => {
            let title = "proof and interpreter disagree about this claim";
            let packet = describe(shown, ir, sources);
            Diagnostic::error(Code::Internal, title, claim.span).help(format!(
                "this is a defect of polc: please report it with the policy\n{packet}"
            ))
        }
    })
}

/// A packet and how it was judged, over several lines.
pub fn describe(shown: &Shown, ir: &Ir, sources: &SourceMap) -> String {
    let trace = render(&shown.decision, ir, sources, false);
    format!("{}\n{}", packet(shown, ir), trace.trim_end())
}

/// A packet in the words of a test, what must be so besides, and where it goes when steer gives it
/// another way.
pub fn packet(shown: &Shown, ir: &Ir) -> String {
    let packet = shown.witness.describe(ir);
    let detour = &shown.witness.packet.detour;
    match (shown.decision.steered, detour) {
        (Some(Steered::Dnat { .. } | Steered::Route { .. }), Place::Host) => {
            format!("{packet}, then to host")
        }
        (Some(Steered::Dnat { .. } | Steered::Route { .. }), Place::Iface(name)) => {
            format!("{packet}, then out {name}")
        }
        _ => packet,
    }
}

impl Witness {
    /// The packet in the words of a test, and what must be so besides.
    pub fn describe(&self, ir: &Ir) -> String {
        let mut parts = vec![line(&self.packet)];
        parts.extend(
            self.packet
                .principals
                .iter()
                .map(|(kind, name)| format!("by {} {name}", format!("{kind:?}").to_lowercase())),
        );
        for (field, value) in &self.packet.fields {
            parts.extend(remark(*field, *value));
        }
        for (bucket, within) in ir.buckets.iter().zip(&self.within) {
            let name = &bucket.name;
            match within {
                Tokens::Enough => {}
                Tokens::Left(0) => parts.push(format!("with no token left in `{name}`")),
                Tokens::Left(1) => parts.push(format!("with one token left in `{name}`")),
                Tokens::Left(n) => parts.push(format!("with {n} tokens left in `{name}`")),
                Tokens::Until(ask) => {
                    let rule = ask.rule.of(ir).map_or("?", |r| &r.name);
                    parts.push(format!("with no token left in `{name}` from `{rule}` on"));
                }
            }
        }
        for ((id, dest), member) in &self.members {
            if let (true, Some(set)) = (*member, ir.dynamic.get(*id)) {
                let end = if *dest { "destination" } else { "key" };
                parts.push(format!("with its {end} in @{}", set.name));
            }
        }
        parts.join(", ")
    }
}

/// `tcp 192.0.2.1:40000 -> 198.51.100.9:22 in eth0 to host`
fn line(packet: &Packet) -> String {
    let number = u64::from(packet.proto);
    let known = PROTOCOLS.iter().find(|(_, n)| *n == number);
    let mut text = known.map_or_else(|| format!("proto/{number}"), |(name, _)| (*name).to_owned());
    if [ICMP, ICMPV6].contains(&number)
        && let Some(kind) = packet.field(ICMP_TYPE)
    {
        let _ = write!(text, "/{kind}");
    }
    let end = |addr: std::net::IpAddr, port: Field| match packet.field(port) {
        Some(port) if addr.is_ipv6() => format!("[{addr}]:{port}"),
        Some(port) => format!("{addr}:{port}"),
        None => addr.to_string(),
    };
    let (from, to) = (end(packet.saddr, SPORT), end(packet.daddr, DPORT));
    let _ = write!(text, " {from} -> {to}");
    match &packet.ingress {
        Place::Host => text.push_str(" from host"),
        Place::Iface(name) => {
            let _ = write!(text, " in {name}");
        }
    }
    match &packet.egress {
        Place::Host => text.push_str(" to host"),
        Place::Iface(name) => {
            let _ = write!(text, " out {name}");
        }
    }
    text
}

/// What is remarkable about a field's value; `None` for what most packets have.
fn remark(field: Field, value: u64) -> Option<String> {
    const SYN: u64 = 2;
    let usual = [SPORT, DPORT, ICMP_TYPE].contains(&field)
        || (field == TCP_FLAGS && value == SYN)
        || ([ICMP_CODE, IP_FRAGMENT].contains(&field) && value == 0)
        || field.name().starts_with("ct.")
        || (field.name() == "meta.mark" && value == 0);
    let text = match field.def().format {
        Format::Bool => if value == 1 { "yes" } else { "no" }.to_owned(),
        format => print::values(&IntervalSet::one(value), format),
    };
    (!usual).then(|| format!("{} {text}", field.name()))
}
