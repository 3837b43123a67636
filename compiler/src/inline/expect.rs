//! What a step expects, and whether it came to that.

use std::net::IpAddr;

use polc_grammar::ast::{Num, Qualifier, Spanned, Target, Verb};

use super::{Judged, Problem};
use crate::field::DPORT;
use crate::interpret::{Answer, Decision, Outcome, Packet, RuleId, Sourced, Steered, Step};
use crate::ir::{Ir, Reject};

/// An outcome and what must hold besides.
pub(super) struct Expectation<'a> {
    pub(super) outcome: Verb,
    target: Option<&'a Target>,
    via: Option<&'a str>,
    rule: Option<&'a str>,
}

impl<'a> Expectation<'a> {
    pub(super) fn of(outcome: Verb, qualifiers: &'a [Spanned<Qualifier>]) -> Result<Self, Problem> {
        let mut expectation = Self {
            outcome,
            target: None,
            via: None,
            rule: None,
        };
        for qualifier in qualifiers {
            match &qualifier.node {
                Qualifier::Target(target) => {
                    let literal = match &target.node {
                        Target::Port(n) | Target::Socket(_, n) => matches!(n, Num::Lit(_)),
                        Target::Addr(_) => true,
                        Target::Ref(_) | Target::Net(..) | Target::Name(_) => false,
                    };
                    if !literal {
                        let message = "a test says where a flow goes by address or port";
                        return Err(Problem::at(target.span, message));
                    }
                    expectation.target = Some(&target.node);
                }
                Qualifier::Via(name) => expectation.via = Some(&name.node),
                Qualifier::Rule(name) => expectation.rule = Some(&name.node),
                Qualifier::In(_) | Qualifier::Out(_) | Qualifier::By(_) | Qualifier::Flags(_) => {}
            }
        }
        Ok(expectation)
    }

    /// The rule that must have decided.
    pub(super) fn rule(&self) -> Option<&'a str> {
        self.rule
    }

    /// Whether it came to that.
    pub(super) fn holds(&self, ir: &Ir, judged: &Judged) -> bool {
        let decision = &judged.decision;
        judged.asked
            && has_outcome(decision, self.outcome)
            && self.target.is_none_or(|t| went_to(t, ir, judged))
            && self.via.is_none_or(|name| went_via(name, ir, decision))
            && self.rule.is_none_or(|name| decided(name, ir, decision))
    }

    /// As it is written.
    pub(super) fn text(&self) -> String {
        let target = self.target.map(|t| format!(" => {}", target_text(t)));
        let via = self.via.map(|name| format!(" via {name}"));
        let rule = self.rule.map(|name| format!(" by rule `{name}`"));
        let [target, via, rule] = [target, via, rule].map(Option::unwrap_or_default);
        format!("`{}{target}{via}`{rule}", self.outcome.word())
    }
}

/// Whether a decision is the outcome that a verb stands for.
pub(super) fn has_outcome(decision: &Decision, verb: Verb) -> bool {
    let passes = decision.outcome == Outcome::Allow;
    let steered = decision.steered;
    match verb {
        Verb::Allow => passes,
        Verb::Deny => decision.outcome == Outcome::Deny,
        Verb::Reject => matches!(decision.outcome, Outcome::Reject(_)),
        Verb::Direct => passes && matches!(steered, None | Some(Steered::Direct)),
        Verb::Redirect => passes && matches!(steered, Some(Steered::Redirect { .. })),
        Verb::Dnat => passes && matches!(steered, Some(Steered::Dnat { .. })),
        Verb::Proxy => passes && matches!(steered, Some(Steered::Proxy(_))),
        Verb::Route => passes && matches!(steered, Some(Steered::Route { .. })),
        Verb::Snat => passes && matches!(decision.sourced, Some(Sourced::Snat(_))),
        Verb::Masquerade => passes && decision.sourced == Some(Sourced::Masquerade),
        Verb::Notrack => passes && decision.notrack,
        // No packet ends in effects alone.
        Verb::Match => false,
    }
}

/// Whether the packet went to `target`: where steer sent it, or for `snat` what its source became.
fn went_to(target: &Target, ir: &Ir, judged: &Judged) -> bool {
    let Some((addr, port)) = destination(ir, &judged.packet, &judged.decision) else {
        return false;
    };
    let number = |n: &Num| matches!(n, Num::Lit(n) if port.map(u64::from) == Some(*n));
    match target {
        Target::Port(n) => number(n),
        Target::Addr(wanted) => addr == Some(*wanted),
        Target::Socket(wanted, n) => addr == Some(*wanted) && number(n),
        Target::Ref(_) | Target::Net(..) | Target::Name(_) => false,
    }
}

/// Address and port, as far as the decision changes or names them.
fn destination(
    ir: &Ir,
    packet: &Packet,
    decision: &Decision,
) -> Option<(Option<IpAddr>, Option<u16>)> {
    let own = packet.field(DPORT).and_then(|p| u16::try_from(p).ok());
    match (decision.steered, decision.sourced) {
        (Some(Steered::Redirect { port }), _) => Some((None, port.or(own))),
        (Some(Steered::Dnat { addr, port }), _) => Some((Some(addr), port.or(own))),
        (Some(Steered::Proxy(id)), _) => {
            let proxy = ir.proxies.get(id)?;
            let socket = if packet.daddr.is_ipv6() {
                proxy.v6.map(|(a, p)| (a.into(), p))
            } else {
                proxy.v4.map(|(a, p)| (a.into(), p))
            };
            socket.map(|(addr, port)| (Some(addr), Some(port)))
        }
        (_, Some(Sourced::Snat(addr))) => Some((Some(addr), None)),
        _ => None,
    }
}

fn went_via(name: &str, ir: &Ir, decision: &Decision) -> bool {
    let Some(Steered::Proxy(id)) = decision.steered else {
        return false;
    };
    ir.proxies.get(id).is_some_and(|p| &*p.name == name)
}

/// Whether a rule of that name decided the outcome, or what its stage had to decide.
fn decided(name: &str, ir: &Ir, decision: &Decision) -> bool {
    let named = |id: RuleId| id.of(ir).is_some_and(|r| &*r.name == name);
    let stages = decision.trace.steps.iter().filter_map(|step| match step {
        Step::Rule {
            rule,
            answer: Answer::Decides,
        } => Some(*rule),
        _ => None,
    });
    decision.by.into_iter().chain(stages).any(named)
}

/// What became of a packet, in the language's words: `` `dnat => 10.1.0.80:443` by rule `web-in` ``.
pub fn describe(ir: &Ir, packet: &Packet, decision: &Decision) -> String {
    let outcome = outcome_text(ir, packet, decision);
    match deciding(decision).and_then(|id| id.of(ir)) {
        Some(rule) => format!("`{outcome}` by rule `{}`", rule.name),
        None => format!("`{outcome}` without a rule"),
    }
}

/// The rule that decided the outcome, or without one the rule that steered the flow there.
pub fn deciding(decision: &Decision) -> Option<RuleId> {
    decision.by.or(decision.steered_by)
}

/// The outcome alone, as [`describe`] has it.
pub fn outcome_text(ir: &Ir, packet: &Packet, decision: &Decision) -> String {
    match decision.outcome {
        Outcome::Deny => return "deny".to_owned(),
        Outcome::Reject(Reject::Default) => return "reject".to_owned(),
        Outcome::Reject(answer) => return format!("reject with {}", answer_word(answer)),
        Outcome::Allow => {}
    }
    let socket = |addr: IpAddr, port: Option<u16>| match port {
        Some(port) => std::net::SocketAddr::new(addr, port).to_string(),
        None => addr.to_string(),
    };
    let own = || packet.field(DPORT).and_then(|p| u16::try_from(p).ok());
    let steered = match decision.steered {
        Some(Steered::Redirect { port }) => match port.or_else(own) {
            Some(port) => format!("redirect => :{port}"),
            None => "redirect".to_owned(),
        },
        Some(Steered::Dnat { addr, port }) => {
            format!("dnat => {}", socket(addr, port.or_else(own)))
        }
        Some(Steered::Proxy(id)) => {
            format!("proxy via {}", ir.proxies.get(id).map_or("", |p| &p.name))
        }
        Some(Steered::Route { table }) => format!("route via table {table}"),
        Some(Steered::Direct) | None => "allow".to_owned(),
    };
    match decision.sourced {
        Some(Sourced::Masquerade) => format!("{steered}, masquerade"),
        Some(Sourced::Snat(addr)) => format!("{steered}, snat => {addr}"),
        Some(Sourced::Own) | None => steered,
    }
}

fn answer_word(answer: Reject) -> &'static str {
    match answer {
        Reject::Default => "default",
        Reject::TcpReset => "tcp-reset",
        Reject::PortUnreachable => "port-unreachable",
        Reject::HostUnreachable => "host-unreachable",
        Reject::AdminProhibited => "admin-prohibited",
        Reject::NoRoute => "no-route",
    }
}

fn target_text(target: &Target) -> String {
    let number = |n: &Num| match n {
        Num::Lit(n) => n.to_string(),
        Num::Name(name) => name.clone(),
    };
    match target {
        Target::Port(port) => format!(":{}", number(port)),
        Target::Addr(addr) => addr.to_string(),
        Target::Socket(IpAddr::V6(addr), port) => format!("[{addr}]:{}", number(port)),
        Target::Socket(addr, port) => format!("{addr}:{}", number(port)),
        Target::Ref(name) => format!("@{name}"),
        Target::Net(addr, len) => format!("net {addr}/{len}"),
        Target::Name(name) => name.clone(),
    }
}
