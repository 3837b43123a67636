//! A decision with names in place of numbers, to be written as JSON or as text.

use serde::Serialize;

use super::decision::{Answer, Decision, Fact, Mismatch, Outcome, RuleId, Sourced, Steered, Step};
use crate::ir::{Ir, Reject};
use crate::source::SourceMap;

/// A decision, explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// `allow`, `deny` or `reject`.
    pub outcome: &'static str,
    /// What a `reject` answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with: Option<&'static str>,
    /// The rule that decided the outcome.
    pub rule: Option<RulePlace>,
    /// Where the flow goes, when steer was asked: `direct`, `dnat to 192.0.2.1:80`.
    pub steered: Option<String>,
    /// From which source it leaves, when egress was asked.
    pub sourced: Option<String>,
    /// The packet's mark in the end.
    pub mark: u32,
    /// Whether it is not tracked.
    pub notrack: bool,
    /// The names of rules that wrote a log entry.
    pub logged: Vec<String>,
    /// The names of the dynamic sets that its key was put into.
    pub added: Vec<String>,
    /// How it came to that.
    pub steps: Vec<Why>,
}

/// A rule and where it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RulePlace {
    /// Its stage.
    pub stage: &'static str,
    /// Its name.
    pub name: String,
    /// Its verb.
    pub verb: &'static str,
    /// `file:line`.
    pub at: String,
}

/// One step of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Why {
    /// A stage begins.
    Stage {
        /// Its name.
        name: &'static str,
    },
    /// A rule was asked.
    Rule {
        /// The rule.
        rule: RulePlace,
        /// What it came to: `no`, `effects` or `decides`.
        answer: &'static str,
        /// Why it does not hold.
        #[serde(skip_serializing_if = "Option::is_none")]
        because: Option<Because>,
    },
    /// Something that no rule says.
    Fact {
        /// A word for it.
        name: &'static str,
        /// What it means.
        text: &'static str,
    },
}

/// Why a rule does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Because {
    /// What was asked.
    pub what: String,
    /// What the packet has.
    pub got: String,
    /// What the rule asks for.
    pub wanted: String,
}

/// Puts names into a decision of `ir`.
pub fn explain(decision: &Decision, ir: &Ir, sources: &SourceMap) -> Explanation {
    let name = |id: &RuleId| id.of(ir).map_or_else(String::new, |r| r.name.to_string());
    let set = |id: &usize| {
        ir.dynamic
            .get(*id)
            .map_or_else(String::new, |s| s.name.to_string())
    };
    let (outcome, with) = match decision.outcome {
        Outcome::Allow => ("allow", None),
        Outcome::Deny => ("deny", None),
        Outcome::Reject(with) => ("reject", answer_of(with)),
    };
    Explanation {
        outcome,
        with,
        rule: decision.by.map(|id| place(id, ir, sources)),
        steered: decision.steered.map(|s| steered(s, ir)),
        sourced: decision.sourced.map(sourced),
        mark: decision.mark,
        notrack: decision.notrack,
        logged: decision.logged.iter().map(name).collect(),
        added: decision.added.iter().map(set).collect(),
        steps: decision
            .trace
            .steps
            .iter()
            .map(|s| why(s, ir, sources))
            .collect(),
    }
}

fn place(id: RuleId, ir: &Ir, sources: &SourceMap) -> RulePlace {
    let rule = id.of(ir);
    RulePlace {
        stage: id.stage.name(),
        name: rule.map_or_else(String::new, |r| r.name.to_string()),
        verb: rule
            .and_then(|r| r.verdict.as_ref())
            .map_or("match", |v| v.verb()),
        at: rule.map_or_else(String::new, |r| sources.describe(r.span)),
    }
}

fn why(step: &Step, ir: &Ir, sources: &SourceMap) -> Why {
    match step {
        Step::Stage(stage) => Why::Stage { name: stage.name() },
        Step::Rule { rule, answer } => {
            let (answer, because) = match answer {
                Answer::No(mismatch) => ("no", Some(Because::from(mismatch))),
                Answer::Effects => ("effects", None),
                Answer::Decides => ("decides", None),
            };
            Why::Rule {
                rule: place(*rule, ir, sources),
                answer,
                because,
            }
        }
        Step::Fact(fact) => {
            let (name, text) = describe(*fact);
            Why::Fact { name, text }
        }
    }
}

impl From<&Mismatch> for Because {
    fn from(mismatch: &Mismatch) -> Self {
        Self {
            what: mismatch.what.clone(),
            got: mismatch.got.clone(),
            wanted: mismatch.wanted.clone(),
        }
    }
}

fn answer_of(reject: Reject) -> Option<&'static str> {
    match reject {
        Reject::Default => None,
        Reject::TcpReset => Some("tcp-reset"),
        Reject::PortUnreachable => Some("port-unreachable"),
        Reject::HostUnreachable => Some("host-unreachable"),
        Reject::AdminProhibited => Some("admin-prohibited"),
        Reject::NoRoute => Some("no-route"),
    }
}

fn steered(steered: Steered, ir: &Ir) -> String {
    match steered {
        Steered::Direct => "direct".to_owned(),
        Steered::Redirect { port: None } => "redirect".to_owned(),
        Steered::Redirect { port: Some(port) } => format!("redirect to :{port}"),
        Steered::Dnat { addr, port: None } => format!("dnat to {addr}"),
        Steered::Dnat {
            addr,
            port: Some(port),
        } => format!("dnat to {}", std::net::SocketAddr::new(addr, port)),
        Steered::Proxy(id) => {
            let name = ir.proxies.get(id).map_or("?", |p| &p.name);
            format!("proxy via {name}")
        }
        Steered::Route { table } => format!("route via table {table}"),
    }
}

fn sourced(sourced: Sourced) -> String {
    match sourced {
        Sourced::Own => "its own".to_owned(),
        Sourced::Masquerade => "masquerade".to_owned(),
        Sourced::Snat(addr) => format!("snat to {addr}"),
    }
}

fn describe(fact: Fact) -> (&'static str, &'static str) {
    match fact {
        Fact::Loopback => ("loopback", "loopback traffic is outside of the policy"),
        Fact::UnconditionalIcmp => (
            "unconditional-icmp",
            "neighbour discovery and packet-too-big always pass",
        ),
        Fact::Established => ("established", "it belongs to a flow that was admitted"),
        Fact::Related => ("related", "the error is about a flow that was admitted"),
        Fact::Invalid => ("invalid", "it fits no flow and cannot open one"),
        Fact::NotSyn => ("not-syn", "`strict tcp`: only a SYN opens a flow"),
        Fact::NotGuarded => ("not-guarded", "no guard block decides about it: handed on"),
        Fact::Implied => ("implied", "no rule takes it: it stays as it is"),
        Fact::Admitted => ("admitted", "steer has admitted it: filter is not asked"),
        Fact::NotGoverned => ("not-governed", "the policy does not govern its direction"),
        Fact::ProxyDown => ("proxy-down", "its proxy does not listen"),
        Fact::ProxySocket => (
            "proxy-socket",
            "the socket of a proxy takes only what steer gives it",
        ),
        Fact::Reassembled => ("reassembled", "handed on; the whole packet is judged later"),
    }
}
