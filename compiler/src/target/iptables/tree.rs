//! The rules of one family as typed data: what the lowering builds and the template prints.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use polc_bundle::Family;

use crate::ir::BlockId;

/// A table of the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Table {
    Raw,
    Nat,
    Mangle,
    Filter,
}

impl Table {
    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Nat => "nat",
            Self::Mangle => "mangle",
            Self::Filter => "filter",
        }
    }
}

/// The own chains of one family by table.
pub(crate) type Chains = BTreeMap<Table, Vec<Chain>>;

/// A chain.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) name: Arc<str>,
    /// The kernel's chain from which it is entered.
    pub(crate) builtin: Option<&'static str>,
    pub(crate) lines: Vec<Line>,
}

/// A kernel rule: when every test holds, its target is carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Line {
    pub(crate) tests: Vec<Test>,
    pub(crate) then: Option<Then>,
    pub(crate) comment: Option<Comment>,
    /// The policy's block it comes from.
    pub(crate) block: Option<BlockId>,
}

/// What a line is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Comment {
    /// The policy's rule, as it can stand in a comment.
    pub(crate) rule: Arc<str>,
    /// Whether the rule holds for each packet that the line counts, and for no other.
    pub(crate) counts: bool,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Test {
    /// The name of the interface by which the packet came in; `+` at its end stands for anything.
    In { negate: bool, name: String },
    /// The same for the one by which it leaves.
    Out { negate: bool, name: String },
    /// The protocol's number.
    Protocol { negate: bool, number: u64 },
    /// In iptables' own words; asking changes nothing.
    Text(String),
    /// A question to a bucket; asking takes from it. All lines that ask the same share it.
    Ask(String),
    /// A question to something that each line has for itself.
    AskOwn(String),
    /// Whose turn it is. Flows that come in and those of this host take turns apart.
    Turn(String),
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Then {
    /// The table is done with it.
    Accept,
    /// The policy is done with it in this table, and other rules of the kernel's chain go on.
    Leave,
    Drop,
    Return,
    Jump(Arc<str>),
    Goto(Arc<str>),
    /// A target behind which evaluation goes on.
    Do(String),
    /// A target that ends it.
    Final(String),
}

impl Line {
    /// A line without comment.
    pub(crate) fn new(tests: Vec<Test>, then: Then) -> Self {
        Self {
            tests,
            then: Some(then),
            ..Self::default()
        }
    }

    /// A line that asks in iptables' own words.
    pub(crate) fn text(condition: &str, then: Then) -> Self {
        Self::new(vec![Test::Text(condition.to_owned())], then)
    }

    /// Sets a bit of the flow's label.
    pub(crate) fn label(bit: u8) -> Self {
        Self {
            tests: vec![Test::Text(format!("-m connlabel --label {bit} --set"))],
            ..Self::default()
        }
    }

    /// Whether it takes every packet and ends evaluation.
    pub(crate) fn is_final(&self) -> bool {
        let ends = matches!(
            self.then,
            Some(Then::Accept | Then::Leave | Then::Drop | Then::Goto(_) | Then::Final(_))
        );
        self.tests.is_empty() && ends
    }

    /// The chain that it leads to.
    pub(crate) fn next(&self) -> Option<&Arc<str>> {
        match &self.then {
            Some(Then::Jump(chain) | Then::Goto(chain)) => Some(chain),
            _ => None,
        }
    }

    /// Whether it has something that each line has for itself.
    pub(crate) fn has_own(&self) -> bool {
        self.tests
            .iter()
            .any(|t| matches!(t, Test::AskOwn(_) | Test::Turn(_)))
    }
}

impl Test {
    /// The protocol is this one.
    pub(crate) fn protocol(number: u64) -> Self {
        Self::Protocol {
            negate: false,
            number,
        }
    }
}

/// Protocols that iptables knows without looking into a file of the machine.
const PROTOCOLS: &[(u64, &str)] = &[
    (1, "icmp"),
    (6, "tcp"),
    (17, "udp"),
    (50, "esp"),
    (51, "ah"),
    (58, "ipv6-icmp"),
    (132, "sctp"),
    (136, "udplite"),
];

fn not(negate: bool) -> &'static str {
    if negate { "! " } else { "" }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In { negate, name } => write!(f, "{}-i {name}", not(*negate)),
            Self::Out { negate, name } => write!(f, "{}-o {name}", not(*negate)),
            Self::Protocol { negate, number } => {
                match PROTOCOLS.iter().find(|(n, _)| n == number) {
                    Some((_, word)) => write!(f, "{}-p {word}", not(*negate)),
                    None => write!(f, "{}-p {number}", not(*negate)),
                }
            }
            Self::Text(text) | Self::Ask(text) | Self::AskOwn(text) | Self::Turn(text) => {
                f.write_str(text)
            }
        }
    }
}

impl fmt::Display for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("-j ACCEPT"),
            Self::Drop => f.write_str("-j DROP"),
            Self::Leave | Self::Return => f.write_str("-j RETURN"),
            Self::Jump(chain) => write!(f, "-j {chain}"),
            Self::Goto(chain) => write!(f, "-g {chain}"),
            Self::Do(text) | Self::Final(text) => write!(f, "-j {text}"),
        }
    }
}

impl fmt::Display for Comment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No rule's name has a space.
        let part = if self.counts { "" } else { " (part)" };
        write!(f, "-m comment --comment \"{}{part}\"", self.rule)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for test in &self.tests {
            write!(f, " {test}")?;
        }
        if let Some(comment) = &self.comment {
            write!(f, " {comment}")?;
        }
        match &self.then {
            Some(then) => write!(f, " {then}"),
            None => Ok(()),
        }
    }
}

/// `v4` or `v6`.
pub(crate) fn suffix(family: Family) -> &'static str {
    match family {
        Family::V4 => "v4",
        Family::V6 => "v6",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_as_iptables_writes_it() {
        let name = "wan+".to_owned();
        let tests = vec![
            Test::In { negate: true, name },
            Test::protocol(6),
            Test::Text("-m tcp --dport 80".to_owned()),
        ];
        let line = Line {
            comment: Some(Comment {
                rule: "web".into(),
                counts: true,
            }),
            ..Line::new(tests, Then::Goto("POLC-web".into()))
        };
        let text = " ! -i wan+ -p tcp -m tcp --dport 80 -m comment --comment \"web\" -g POLC-web";
        assert_eq!(line.to_string(), text);
        assert_eq!(Test::protocol(33).to_string(), "-p 33");
    }
}
