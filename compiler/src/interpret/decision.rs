//! What becomes of a packet, and why.

use std::net::IpAddr;

use crate::ir::{DynamicId, ProxyId, Reject, Rule, Stage};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It passes.
    Allow,
    /// It is dropped.
    Deny,
    /// It is dropped and answered.
    Reject(Reject),
}

/// Where steer sends a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Steered {
    /// Where its own destination is.
    Direct,
    /// To a port of this machine.
    Redirect {
        /// The port; the flow's own when absent.
        port: Option<u16>,
    },
    /// To another destination.
    Dnat {
        /// The address.
        addr: IpAddr,
        /// The port; the flow's own when absent.
        port: Option<u16>,
    },
    /// To a transparent proxy.
    Proxy(ProxyId),
    /// By another routing table.
    Route {
        /// The table.
        table: u32,
    },
}

/// What source a flow gets when it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sourced {
    /// Its own.
    Own,
    /// The address of the interface.
    Masquerade,
    /// Another one.
    Snat(IpAddr),
}

/// A rule, by its stage and its place in the stage's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId {
    /// The stage.
    pub stage: Stage,
    /// The index into [`Ir::stage`](crate::ir::Ir::stage).
    pub index: usize,
}

impl RuleId {
    /// The rule itself.
    pub fn of(self, ir: &crate::ir::Ir) -> Option<&Rule> {
        ir.stage(self.stage).get(self.index)
    }
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it passes.
    pub outcome: Outcome,
    /// Where steer sent it; `None` when it did not get so far, or was denied there.
    pub steered: Option<Steered>,
    /// Its source when it leaves; `None` when it did not get so far.
    pub sourced: Option<Sourced>,
    /// The packet's mark in the end.
    pub mark: u32,
    /// The mark of its flow in the end, which packets of the flow get again; 0 without one.
    pub flow_mark: u32,
    /// Whether conntrack leaves it alone.
    pub notrack: bool,
    /// Rules that held, in order.
    pub held: Vec<RuleId>,
    /// Rules that wrote a log entry, in order.
    pub logged: Vec<RuleId>,
    /// Keys put into dynamic sets, by set.
    pub added: Vec<DynamicId>,
    /// The rule that decided the outcome; `None` when no rule had to.
    pub by: Option<RuleId>,
    /// The rule of steer that decided where it goes; `None` when none did, or did before.
    pub steered_by: Option<RuleId>,
    /// The rule of egress that decided its source; `None` when none did, or did before.
    pub sourced_by: Option<RuleId>,
    /// How it came to that.
    pub trace: Trace,
}

/// How a decision came about, in the order in which it did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The steps.
    pub steps: Vec<Step>,
}

/// One step of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A stage begins.
    Stage(Stage),
    /// A rule was asked.
    Rule {
        /// The rule.
        rule: RuleId,
        /// What it came to.
        answer: Answer,
    },
    /// Something that no rule says: a fact of the language.
    Fact(Fact),
}

/// What a rule came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It does not hold: what the packet is, and what the alternative of the rule that came
    /// furthest asks for.
    No(Mismatch),
    /// It holds, does what it does, and decides nothing.
    Effects,
    /// It decides.
    Decides,
}

/// Why a rule does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// What was asked: `source`, `destination`, `in`, `protocol`, a field's name, a bucket's.
    pub what: String,
    /// What the packet has.
    pub got: String,
    /// What the rule asks for.
    pub wanted: String,
}

/// What decides without a rule, or before rules are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fact {
    /// Loopback traffic is outside of the policy.
    Loopback,
    /// Neighbour discovery and packet-too-big always pass.
    UnconditionalIcmp,
    /// The packet belongs to a flow that was admitted.
    Established,
    /// The ICMP error belongs to a flow that was admitted.
    Related,
    /// It fits no flow and cannot open one.
    Invalid,
    /// `strict tcp`: no SYN opens it.
    NotSyn,
    /// Guard has no block for its interface.
    NotGuarded,
    /// No rule of steer or egress holds: it stays as it is.
    Implied,
    /// Steer has admitted it: filter is not asked.
    Admitted,
    /// The policy does not govern its direction.
    NotGoverned,
    /// Its proxy does not listen: what its `down` says becomes of it.
    ProxyDown,
    /// It comes from outside to the socket of a proxy, which takes only what steer gives it.
    ProxySocket,
    /// Guard has handed on a later fragment. It waits for the others: what becomes of it is what
    /// becomes of the whole packet.
    Reassembled,
}
