//! The typed policy: names resolved, templates expanded, sets computed; groups still nested.

use std::net::IpAddr;
use std::sync::Arc;

use polc_grammar::ast::{self, Balance, ClaimKind, Sense, Spanned, Verb};

use crate::ir::{Bucket, Cube, DynamicSet, Key, Mark, Proxy, Rate, Raw, Reject, Stage};
use crate::packet::{AddrSet, IfaceSet};
use crate::source::{FileId, Span};

/// A policy that means something: everything in it is defined and of the right type.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Its own file, not one that it uses.
    pub file: FileId,
    /// Owner, note and the like of the policy itself.
    pub meta: Meta,
    /// Its shared buckets.
    pub buckets: Vec<Bucket>,
    /// Its sets that the data plane fills.
    pub dynamic: Vec<DynamicSet>,
    /// Its proxies.
    pub proxies: Vec<Proxy>,
    /// Its blocks in source order.
    pub blocks: Vec<Block>,
    /// The top-level default.
    pub default: Option<Rule>,
    /// `strict icmp`
    pub strict_icmp: bool,
    /// `strict tcp`
    pub strict_tcp: bool,
    /// Text for one target.
    pub raw: Vec<Raw>,
    /// What must hold for every packet.
    pub claims: Vec<Claim>,
    /// The inline tests; every name in them exists.
    pub tests: Vec<Test>,
    /// What its files define, by file and in source order; without the prelude.
    pub definitions: Vec<Definition>,
}

/// A definition that is right.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Its name, without a file's prefix.
    pub name: String,
    /// What it stands for.
    pub value: Value,
    /// Whether anything uses it.
    pub used: bool,
    /// Where the name stands.
    pub span: Span,
}

/// What a definition stands for.
#[derive(Clone, Debug)]
pub enum Value {
    /// Addresses.
    Set(AddrSet),
    /// An index into [`Policy::dynamic`].
    Dynamic(usize),
    /// Packets of some protocols, as alternatives.
    Service(Vec<Cube>),
    /// Interfaces, and the addresses behind them.
    Zone(Zone),
    /// An index into [`Policy::buckets`].
    Bucket(usize),
    /// An index into [`Policy::proxies`].
    Proxy(usize),
    /// Statements with parameters.
    Template,
    /// A value from outside.
    Param,
}

/// A zone.
#[derive(Clone, Debug)]
pub struct Zone {
    /// Its interfaces.
    pub ifaces: IfaceSet,
    /// The addresses behind it, when stated.
    pub net: Option<AddrSet>,
    /// Where it is written.
    pub span: Span,
}

/// A section, guard, steer or egress block.
#[derive(Clone, Debug)]
pub struct Block {
    /// Its name, unique.
    pub label: Arc<str>,
    /// Its stage.
    pub stage: Stage,
    /// Whether every packet is judged.
    pub stateless: bool,
    /// What holds for everything in it.
    pub clauses: Clauses,
    /// Its statements.
    pub body: Vec<Stmt>,
    /// Where it begins.
    pub span: Span,
}

/// A statement.
#[derive(Clone, Debug)]
pub enum Stmt {
    /// A rule.
    Rule(Rule),
    /// Clauses around statements.
    Group(Clauses, Vec<Stmt>),
    /// `default`
    Default(Rule),
}

/// A rule before its surroundings are taken into account.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What to do.
    pub verb: Verb,
    /// Where the verb stands.
    pub span: Span,
    /// Which services, as alternatives; `None` is all traffic.
    pub services: Option<Vec<Cube>>,
    /// Its clauses.
    pub clauses: Clauses,
}

/// The clauses of a rule, group or block.
#[derive(Clone, Debug, Default)]
pub struct Clauses {
    /// Conditions, all of which must hold.
    pub conditions: Vec<Condition>,
    /// Services taken out again, as alternatives.
    pub except: Vec<Cube>,
    /// Rates, in source order.
    pub limits: Vec<Limit>,
    /// What follows `=>`.
    pub targets: Option<Targets>,
    /// What follows `via`.
    pub via: Option<Via>,
    /// What follows `with`.
    pub reject: Option<(Reject, Span)>,
    /// What follows `mark`.
    pub mark: Option<(Mark, Span)>,
    /// What follows `add`: an index into [`Policy::dynamic`].
    pub add: Option<(usize, Span)>,
    /// What follows `log`.
    pub log: Option<Log>,
    /// `count`
    pub count: bool,
    /// `and allow`
    pub admit: Option<Span>,
    /// What follows `as`.
    pub name: Option<Spanned<String>>,
    /// Where the name stands.
    pub name_span: Option<Span>,
    /// Owner, note and the like.
    pub meta: Meta,
    /// Whether one of them is wrong and has been reported: what is missing may be that one.
    pub broken: bool,
}

/// A condition: one of its cubes must hold.
#[derive(Clone, Debug)]
pub struct Condition {
    /// The alternatives; none: nothing can hold.
    pub cubes: Vec<Cube>,
    /// Whether an empty set made it so that nothing can hold.
    pub empty_set: bool,
    /// Where it is written.
    pub span: Span,
}

/// A rate that a rule asks.
#[derive(Clone, Debug)]
pub struct Limit {
    /// `within` or `over`.
    pub sense: Sense,
    /// The rate.
    pub rate: RateRef,
    /// Where it is written.
    pub span: Span,
}

/// A shared bucket or a rate of the rule's own.
#[derive(Clone, Debug)]
pub enum RateRef {
    /// An index into [`Policy::buckets`].
    Shared(usize),
    /// Rate and key.
    Own(Rate, Option<Key>),
}

/// `log "text" at rate`
#[derive(Clone, Debug)]
pub struct Log {
    /// Its text.
    pub text: Option<String>,
    /// The most entries.
    pub at: Option<RateRef>,
    /// Where it is written.
    pub span: Span,
}

/// What follows `=>`.
#[derive(Clone, Debug)]
pub struct Targets {
    /// The targets.
    pub list: Vec<Target>,
    /// How one of several is chosen.
    pub balance: Option<Balance>,
    /// Where it is written.
    pub span: Span,
}

/// One target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A port of this host.
    Port(u16),
    /// An address, and a port.
    Addr(IpAddr, Option<u16>),
    /// A prefix.
    Net(IpAddr, u8),
}

/// What follows `via`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// An index into [`Policy::proxies`], and where it is written.
    Proxy(usize, Span),
    /// A routing table, and where it is written.
    Table(u32, Span),
}

/// Facts that change no verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// `owner`
    pub owner: Option<String>,
    /// `ticket`
    pub ticket: Option<String>,
    /// `note`
    pub note: Option<String>,
}

impl Meta {
    /// `self`, completed by what surrounds it.
    #[must_use]
    pub fn or(&self, outer: &Self) -> Self {
        Self {
            owner: self.owner.clone().or_else(|| outer.owner.clone()),
            ticket: self.ticket.clone().or_else(|| outer.ticket.clone()),
            note: self.note.clone().or_else(|| outer.note.clone()),
        }
    }
}

/// Something that must hold for every packet.
#[derive(Clone, Debug)]
pub struct Claim {
    /// What is claimed.
    pub kind: ClaimKind,
    /// The outcome it speaks of.
    pub outcome: Verb,
    /// The packets it speaks of, as alternatives.
    pub cubes: Vec<Cube>,
    /// Where it is written.
    pub span: Span,
}

/// An inline test.
#[derive(Clone, Debug)]
pub struct Test {
    /// The test as written.
    pub test: ast::Test,
    /// Where it is written.
    pub span: Span,
}
