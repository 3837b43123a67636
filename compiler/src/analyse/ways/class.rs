//! What can be said of a packet's outcome.

use polc_grammar::ast::Verb;

use crate::interpret::{Decision, Outcome, Sourced, Steered};
use crate::ir::Verdict;

/// A class of outcomes: what a claim, a test or a query speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Admitted, by whatever way.
    Allow,
    /// Dropped in any stage.
    Deny,
    /// Refused with an answer.
    Reject,
    /// Admitted, and steer has left it as it was.
    Direct,
    /// Redirected to this host.
    Redirect,
    /// Admitted, and sent to another destination.
    Dnat,
    /// Handed to a transparent proxy.
    Proxy,
    /// Admitted, and sent by another routing table.
    Route,
    /// Admitted, and leaves with another source.
    Snat,
    /// Admitted, and leaves with the source of the interface.
    Masquerade,
}

impl Class {
    /// The class that a claim's verb means; `None` for verbs that are no outcome.
    pub fn of(verb: Verb) -> Option<Self> {
        Some(match verb {
            Verb::Allow => Self::Allow,
            Verb::Deny => Self::Deny,
            Verb::Reject => Self::Reject,
            Verb::Direct => Self::Direct,
            Verb::Redirect => Self::Redirect,
            Verb::Dnat => Self::Dnat,
            Verb::Proxy => Self::Proxy,
            Verb::Route => Self::Route,
            Verb::Snat => Self::Snat,
            Verb::Masquerade => Self::Masquerade,
            Verb::Match | Verb::Notrack => return None,
        })
    }

    /// The verb for it.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Reject => "reject",
            Self::Direct => "direct",
            Self::Redirect => "redirect",
            Self::Dnat => "dnat",
            Self::Proxy => "proxy",
            Self::Route => "route",
            Self::Snat => "snat",
            Self::Masquerade => "masquerade",
        }
    }

    /// Whether it takes egress to tell.
    pub(super) fn asks_egress(self) -> bool {
        matches!(self, Self::Snat | Self::Masquerade)
    }

    /// Whether an ending is of this class.
    pub fn has(self, ending: Ending) -> bool {
        match ending {
            Ending::Refused(how) => self == how,
            Ending::Admitted { steered, sourced } => {
                self == Self::Allow || self == steered || Some(self) == sourced
            }
        }
    }
}

/// What a packet's way comes to, as far as classes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    /// Refused: [`Class::Deny`] or [`Class::Reject`].
    Refused(Class),
    /// Admitted.
    Admitted {
        /// What steer has decided.
        steered: Class,
        /// What egress has decided, when it gave another source.
        sourced: Option<Class>,
    },
}

impl Ending {
    /// What a decision comes to.
    pub fn of(decision: &Decision) -> Self {
        match decision.outcome {
            Outcome::Deny => Self::Refused(Class::Deny),
            Outcome::Reject(_) => Self::Refused(Class::Reject),
            Outcome::Allow => Self::Admitted {
                steered: match decision.steered {
                    None | Some(Steered::Direct) => Class::Direct,
                    Some(Steered::Redirect { .. }) => Class::Redirect,
                    Some(Steered::Dnat { .. }) => Class::Dnat,
                    Some(Steered::Proxy(_)) => Class::Proxy,
                    Some(Steered::Route { .. }) => Class::Route,
                },
                sourced: match decision.sourced {
                    None | Some(Sourced::Own) => None,
                    Some(Sourced::Masquerade) => Some(Class::Masquerade),
                    Some(Sourced::Snat(_)) => Some(Class::Snat),
                },
            },
        }
    }

    /// Whether the two are the same, but for the source with which the packets leave.
    pub fn same(self, other: Self) -> bool {
        match (self, other) {
            (Self::Admitted { steered: a, .. }, Self::Admitted { steered: b, .. }) => a == b,
            (a, b) => a == b,
        }
    }

    /// What a verdict that refuses comes to; `None` for others.
    pub(super) fn refused(verdict: &Verdict) -> Option<Self> {
        match verdict {
            Verdict::Deny => Some(Self::Refused(Class::Deny)),
            Verdict::Reject(_) => Some(Self::Refused(Class::Reject)),
            _ => None,
        }
    }
}

/// Which packets a search is for: those whose outcome is of a class, or those whose is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Outcomes of the class.
    Has(Class),
    /// All others.
    HasNot(Class),
    /// Every outcome.
    Any,
}

impl Goal {
    /// Whether the search is for packets that end so.
    pub fn wants(self, ending: Ending) -> bool {
        match self {
            Self::Has(class) => class.has(ending),
            Self::HasNot(class) => !class.has(ending),
            Self::Any => true,
        }
    }

    /// The class that it speaks of.
    pub fn class(self) -> Option<Class> {
        match self {
            Self::Has(class) | Self::HasNot(class) => Some(class),
            Self::Any => None,
        }
    }

    /// Whether it takes egress to tell.
    pub(super) fn asks_egress(self) -> bool {
        match self {
            Self::Has(class) | Self::HasNot(class) => class.asks_egress(),
            Self::Any => false,
        }
    }

    /// Whether a packet that steer has decided about so, and nobody has refused, may end in a way
    /// that is wanted.
    pub(super) fn may_admit(self, steered: Class) -> bool {
        let sources = [None, Some(Class::Snat), Some(Class::Masquerade)];
        let ends = |sourced| self.wants(Ending::Admitted { steered, sourced });
        if self.asks_egress() {
            sources.into_iter().any(ends)
        } else {
            ends(None)
        }
    }

    /// Whether some refusal is wanted.
    pub(super) fn may_refuse(self) -> bool {
        [Class::Deny, Class::Reject]
            .into_iter()
            .any(|how| self.wants(Ending::Refused(how)))
    }
}
