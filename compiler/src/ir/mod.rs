//! The normal form of a policy: per stage, an ordered list of rules.
//!
//! A rule is a disjunction of [`Cube`]s (conjunctions of per-field sets), rates, effects and at
//! most one verdict. The first rule of a stage that holds and has a verdict decides. Everything a
//! target needs is here; nothing of the syntax is.
//!
//! # Invariants
//!
//! [`verify`](mod@verify) checks them after every pass:
//!
//! 1. No cube is empty, and no rule is without a cube.
//! 2. A field is constrained only together with what it needs: a port with protocols that have
//!    ports, `tcp.flags` with TCP, an ICMP type with ICMP of one family.
//! 3. An address set that is not full restricts the cube's families: a family of the cube has at
//!    least one source, destination and original destination.
//! 4. The verdict belongs to the stage; guard has no egress side, steer and egress no `host`
//!    side that cannot be known there.
//! 5. Every index (bucket, set, proxy, block) points into its table.
//! 6. Rule names are unique within a policy.
//! 7. Each target of a NAT verdict has an entry for every family that its rule can see.
//! 8. Only `match` rules have no verdict; a default has one.

pub mod cube;
pub mod print;
pub mod verify;

use std::net::IpAddr;
use std::sync::Arc;

pub use cube::{Atom, Cube, Side};
pub use polc_grammar::ast::{Balance, Down, KeyKind, Sense, TimeUnit};

use crate::packet::AddrSet;
use crate::source::Span;

/// A stage of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Every packet, before connection tracking.
    Guard,
    /// Each new flow: where it goes.
    Steer,
    /// Each new flow: whether it may.
    Filter,
    /// Each new flow that leaves: its source address.
    Egress,
}

impl Stage {
    /// All, in the order in which a packet meets them.
    pub const ALL: [Self; 4] = [Self::Guard, Self::Steer, Self::Filter, Self::Egress];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::Steer => "steer",
            Self::Filter => "filter",
            Self::Egress => "egress",
        }
    }
}

/// A whole policy in normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ir {
    /// Its name.
    pub name: String,
    /// The date at which `expires` was judged, `YYYY-MM-DD`.
    pub as_of: String,
    /// The rules of each stage, in the order of [`Stage::ALL`].
    pub guard: Vec<Rule>,
    /// Steer.
    pub steer: Vec<Rule>,
    /// Filter.
    pub filter: Vec<Rule>,
    /// Egress.
    pub egress: Vec<Rule>,
    /// The blocks that rules stand in.
    pub blocks: Vec<Block>,
    /// Token buckets and flow limits.
    pub buckets: Vec<Bucket>,
    /// Sets that the data plane fills.
    pub dynamic: Vec<DynamicSet>,
    /// Transparent proxies.
    pub proxies: Vec<Proxy>,
    /// The directions that filter decides.
    pub governs: Governs,
    /// `strict icmp`: neighbour discovery and packet-too-big are judged like everything else.
    pub strict_icmp: bool,
    /// `strict tcp`: only a SYN opens a flow.
    pub strict_tcp: bool,
    /// Text for one target, verbatim.
    pub raw: Vec<Raw>,
}

impl Ir {
    /// The rules of a stage.
    pub fn stage(&self, stage: Stage) -> &[Rule] {
        match stage {
            Stage::Guard => &self.guard,
            Stage::Steer => &self.steer,
            Stage::Filter => &self.filter,
            Stage::Egress => &self.egress,
        }
    }

    /// The rules of a stage, to change them.
    pub fn stage_mut(&mut self, stage: Stage) -> &mut Vec<Rule> {
        match stage {
            Stage::Guard => &mut self.guard,
            Stage::Steer => &mut self.steer,
            Stage::Filter => &mut self.filter,
            Stage::Egress => &mut self.egress,
        }
    }

    /// Every rule with its stage, in order.
    pub fn rules(&self) -> impl Iterator<Item = (Stage, &Rule)> {
        Stage::ALL
            .into_iter()
            .flat_map(|s| self.stage(s).iter().map(move |r| (s, r)))
    }
}

/// The directions of traffic that filter decides. Traffic of other directions is not touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Governs {
    /// To this host.
    pub input: bool,
    /// Through this host.
    pub forward: bool,
    /// From this host.
    pub output: bool,
}

/// A block of the source: a section, a guard, a steer or egress block, or the file's own level
/// (top-level defaults).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// A name for it, such as `wan-to-host`; unique.
    pub label: Arc<str>,
    /// Its stage.
    pub stage: Stage,
    /// The packets it speaks of: what its own clauses say, as alternatives.
    pub scope: Vec<Cube>,
    /// Whether every packet is judged, without flow lookup.
    pub stateless: bool,
    /// Where it begins.
    pub span: Span,
}

/// An index into [`Ir::blocks`].
pub type BlockId = usize;
/// An index into [`Ir::buckets`].
pub type BucketId = usize;
/// An index into [`Ir::dynamic`].
pub type DynamicId = usize;
/// An index into [`Ir::proxies`].
pub type ProxyId = usize;

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its identity everywhere: the name after `as`, or `BLOCK#N`.
    pub name: Arc<str>,
    /// Whether the user named it.
    pub named: bool,
    /// Where it is written: the verb.
    pub span: Span,
    /// The block it stands in.
    pub block: BlockId,
    /// Whether it comes from a `default`.
    pub is_default: bool,
    /// It holds where any of these does (and every limit does). Cubes may overlap.
    pub cubes: Vec<Cube>,
    /// Rates, asked last and in order.
    pub limits: Vec<Limit>,
    /// What it does besides deciding.
    pub effects: Effects,
    /// What it decides; a `match` rule decides nothing.
    pub verdict: Option<Verdict>,
    /// `and allow`: the flow is admitted, filter is skipped.
    pub admit: bool,
    /// `owner`
    pub owner: Option<String>,
    /// `ticket`
    pub ticket: Option<String>,
    /// `note`
    pub note: Option<String>,
}

impl Rule {
    /// Every bucket that it asks, in order: its rates', and that of its log entries.
    pub fn buckets(&self) -> impl Iterator<Item = BucketId> + '_ {
        let log = self.effects.log.as_ref().and_then(|log| log.at);
        self.limits.iter().map(|l| l.bucket).chain(log)
    }
}

/// `within` or `over` a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Which of the two.
    pub sense: Sense,
    /// The bucket asked.
    pub bucket: BucketId,
}

/// What a rule does besides deciding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Write a log entry.
    pub log: Option<Log>,
    /// Count packets and bytes under the rule's name.
    pub count: bool,
    /// Set bits of the flow's mark.
    pub mark: Option<Mark>,
    /// Put the packet's key into a dynamic set.
    pub add: Option<DynamicId>,
}

/// A log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Its text; the rule's name when absent.
    pub text: Option<String>,
    /// The most entries.
    pub at: Option<BucketId>,
}

/// Bits of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// The bits to set; within the mask.
    pub value: u32,
    /// The bits it owns.
    pub mask: u32,
}

/// What a rule decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Guard: hand on. Filter: admit.
    Allow,
    /// Drop silently.
    Deny,
    /// Refuse with an answer.
    Reject(Reject),
    /// Guard: hand on, untracked.
    Notrack,
    /// Steer, egress: leave alone.
    Direct,
    /// Steer: to a port of this host.
    Redirect {
        /// The port; the flow's own when absent.
        port: Option<u16>,
    },
    /// Steer: to another destination.
    Dnat(Nat),
    /// Steer: to a transparent proxy.
    Proxy(ProxyId),
    /// Steer: by another routing table; the mark in [`Effects::mark`] selects it.
    Route {
        /// The table.
        table: u32,
    },
    /// Egress: from another source.
    Snat(Nat),
    /// Egress: from the outgoing interface's address.
    Masquerade,
}

impl Verdict {
    /// The verb that gives it.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Reject(_) => "reject",
            Self::Notrack => "notrack",
            Self::Direct => "direct",
            Self::Redirect { .. } => "redirect",
            Self::Dnat(_) => "dnat",
            Self::Proxy(_) => "proxy",
            Self::Route { .. } => "route",
            Self::Snat(_) => "snat",
            Self::Masquerade => "masquerade",
        }
    }
}

/// What a `reject` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reject {
    /// A reset to TCP, port-unreachable to the rest.
    Default,
    /// A TCP reset; the rule matches TCP only.
    TcpReset,
    /// ICMP port unreachable.
    PortUnreachable,
    /// ICMP host unreachable; on IPv6 address unreachable.
    HostUnreachable,
    /// ICMP administratively prohibited.
    AdminProhibited,
    /// ICMP network unreachable; on IPv6 no route.
    NoRoute,
}

/// Where NAT sends a flow, per family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nat {
    /// For IPv4.
    pub v4: Vec<NatTarget>,
    /// For IPv6.
    pub v6: Vec<NatTarget>,
    /// How one of several is chosen; `None` when no family has several.
    pub balance: Option<Balance>,
}

/// One target of NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatTarget {
    /// An address, and a port unless the flow keeps its own.
    Addr(IpAddr, Option<u16>),
    /// Another prefix of the same length as the one matched: `from` → `to`, `len` bits.
    Prefix {
        /// The prefix matched.
        from: IpAddr,
        /// The prefix put in its place.
        to: IpAddr,
        /// The length of both.
        len: u8,
    },
}

/// A token bucket, or a limit of live flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name, or that of the one rule that has it.
    pub name: Arc<str>,
    /// What it allows.
    pub rate: Rate,
    /// One bucket for each key; one for all when absent.
    pub key: Option<Key>,
    /// The most keys; the target's default when absent.
    pub max: Option<u32>,
    /// A key unused for so many milliseconds is forgotten; the target's default when absent.
    pub idle: Option<u64>,
    /// What a new key counts as when the table is full.
    pub full: Sense,
    /// Where it is written.
    pub span: Span,
}

impl Bucket {
    /// How often one packet can find a token in it; `None` when there is no limit. A limit of live
    /// flows takes nothing, and a packet without octets costs none.
    pub fn most_asks(&self) -> Option<u64> {
        let unlimited = self.key.is_some() && self.full == Sense::Within;
        match self.rate {
            Rate::Packets { burst, .. } if !unlimited => Some(burst),
            _ => None,
        }
    }
}

/// What a bucket allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// `count` packets (guard) or new flows (other stages) per `per`, at most `burst` at once.
    Packets {
        /// Tokens per time.
        count: u64,
        /// The time.
        per: TimeUnit,
        /// The bucket's size in tokens.
        burst: u64,
    },
    /// `count` bytes per second, at most `burst` at once.
    Bytes {
        /// Bytes per second.
        count: u64,
        /// The bucket's size in bytes.
        burst: u64,
    },
    /// At most so many live flows.
    Flows {
        /// How many.
        count: u32,
    },
}

/// What a key is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Source, destination, or both.
    pub kind: KeyKind,
    /// Leading bits of an IPv4 address that count, 1–32.
    pub v4: u8,
    /// Leading bits of an IPv6 address that count, 1–128.
    pub v6: u8,
}

/// A set that the data plane fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicSet {
    /// Its name in the policy.
    pub name: Arc<str>,
    /// What its elements are.
    pub key: KeyKind,
    /// The elements it starts with.
    pub initial: AddrSet,
    /// An element unused for so many milliseconds leaves.
    pub idle: Option<u64>,
    /// The most elements; the target's default when absent.
    pub max: Option<u32>,
    /// Where it is written.
    pub span: Span,
}

/// A transparent proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its name.
    pub name: Arc<str>,
    /// Whether it takes TCP.
    pub tcp: bool,
    /// Whether it takes UDP.
    pub udp: bool,
    /// Its IPv4 socket.
    pub v4: Option<(std::net::Ipv4Addr, u16)>,
    /// Its IPv6 socket.
    pub v6: Option<(std::net::Ipv6Addr, u16)>,
    /// The mark of its flows.
    pub mark: Mark,
    /// The routing table that delivers them locally.
    pub table: u32,
    /// Senders that are never captured, as alternatives.
    pub bypass: Vec<Cube>,
    /// What happens while nobody listens.
    pub down: Down,
    /// Where it is written.
    pub span: Span,
}

/// Text for one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// The target's word.
    pub target: String,
    /// The text.
    pub text: String,
    /// Where it is written.
    pub span: Span,
}
