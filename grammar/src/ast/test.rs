//! Claims and inline tests.

use std::net::IpAddr;

use super::{Clause, Name, Principal, Service, Spanned, Target, Verb};

/// `never allow from @drop to host`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What is claimed.
    pub kind: Spanned<ClaimKind>,
    /// The outcome it speaks of.
    pub outcome: Spanned<Verb>,
    /// The services it speaks of; empty: all traffic.
    pub services: Vec<Spanned<Service>>,
    /// The packets it speaks of.
    pub clauses: Vec<Spanned<Clause>>,
}

/// The kinds of claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClaimKind {
    /// Every such packet has the outcome.
    Ensure,
    /// No such packet has it.
    Never,
    /// `ensure`, and the next policy must keep it too.
    Protect,
}

/// `test "…" { … }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// What it is about.
    pub title: Spanned<String>,
    /// What it expects, in order.
    pub steps: Vec<Spanned<TestStep>>,
}

/// A line of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestStep {
    /// One packet and its outcome.
    Expect {
        /// The outcome.
        outcome: Spanned<Verb>,
        /// The packet.
        flow: Flow,
        /// Where and from whom it comes, and what else must hold.
        qualifiers: Vec<Spanned<Qualifier>>,
    },
    /// Many flows in a stretch of time.
    Send {
        /// How many.
        count: u64,
        /// In how many milliseconds.
        within: u64,
        /// Each of them.
        flow: Flow,
        /// Where and from whom they come.
        qualifiers: Vec<Spanned<Qualifier>>,
        /// How many have which outcome.
        outcomes: Vec<(Spanned<Verb>, u64)>,
    },
}

/// `tcp reply 192.0.2.1:1 -> host:22`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The protocol's word, with an ICMP type after `/` when one is given.
    pub proto: Spanned<String>,
    /// Whether the packet answers a flow that was admitted the other way.
    pub reply: bool,
    /// Sender.
    pub source: Spanned<Endpoint>,
    /// Receiver.
    pub dest: Spanned<Endpoint>,
}

/// A side of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// An address; `None` is `host`.
    pub addr: Option<IpAddr>,
    /// The port, when given.
    pub port: Option<u16>,
}

/// What else a test says of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Qualifier {
    /// `in IFACE`
    In(Name),
    /// `out IFACE`
    Out(Name),
    /// `by PRINCIPAL`
    By(Principal),
    /// `flags syn+ack`
    Flags(Name),
    /// `=> socket`: where it must have been sent.
    Target(Spanned<Target>),
    /// `via NAME`: the proxy that must have got it.
    Via(Name),
    /// `rule NAME`: the rule that must have decided.
    Rule(Name),
}
