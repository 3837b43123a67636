//! Statements and their clauses.

use std::net::IpAddr;

use super::{AddrLit, Ifaces, Meta, Name, Num, Rate, Sense, Service, SetBody, Spanned, Value};

/// A statement of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stmt {
    /// `allow tcp/22 from @admins as ssh`
    Rule(Rule),
    /// `from @x { … }`: clauses that hold for each statement inside.
    Group(Group),
    /// `default deny log`
    Default(DefaultStmt),
    /// `apply NAME(…)`
    Apply(Apply),
}

/// A verb, services and clauses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What to do.
    pub verb: Spanned<Verb>,
    /// With which services; empty: all traffic.
    pub services: Vec<Spanned<Service>>,
    /// Conditions, effects, target and metadata in source order.
    pub clauses: Vec<Spanned<Clause>>,
}

/// Clauses around statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The clauses, in source order.
    pub clauses: Vec<Spanned<Clause>>,
    /// The statements inside.
    pub body: Vec<Spanned<Stmt>>,
}

/// `default VERDICT clause…`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultStmt {
    /// The verdict of whatever no rule decided.
    pub verb: Spanned<Verb>,
    /// Effects and metadata.
    pub clauses: Vec<Spanned<Clause>>,
}

/// `apply NAME(args)`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apply {
    /// The template.
    pub name: Name,
    /// Its arguments, by position.
    pub args: Vec<Spanned<Value>>,
}

/// The first word of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Admit.
    Allow,
    /// Drop silently.
    Deny,
    /// Refuse with an answer.
    Reject,
    /// Effects only.
    Match,
    /// Steer: leave alone.
    Direct,
    /// Steer: to a port of this host.
    Redirect,
    /// Steer: to another destination.
    Dnat,
    /// Egress: rewrite the source.
    Snat,
    /// Egress: rewrite the source to the outgoing interface's address.
    Masquerade,
    /// Steer: hand to a transparent proxy.
    Proxy,
    /// Steer: choose a routing table.
    Route,
    /// Guard: hand on without connection tracking.
    Notrack,
}

impl Verb {
    /// The verb as it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Reject => "reject",
            Self::Match => "match",
            Self::Direct => "direct",
            Self::Redirect => "redirect",
            Self::Dnat => "dnat",
            Self::Snat => "snat",
            Self::Masquerade => "masquerade",
            Self::Proxy => "proxy",
            Self::Route => "route",
            Self::Notrack => "notrack",
        }
    }
}

/// A clause of a rule, group or section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clause {
    /// `from ends`
    From(Ends),
    /// `to ends`
    To(Ends),
    /// `to original ends`: the destination before steer.
    ToOriginal(Ends),
    /// `in ifaces`
    In(Ifaces),
    /// `out ifaces`
    Out(Ifaces),
    /// `by PRINCIPAL`
    By(Principal),
    /// `within rate` or `over rate`
    Limit(Sense, Spanned<Rate>),
    /// `when expr`
    When(Spanned<Expr>),
    /// `except services`
    Except(Vec<Spanned<Service>>),
    /// `only v4` or `only v6`
    Only(Spanned<Family>),
    /// `=> targets balance HOW`
    Target {
        /// The targets.
        targets: Vec<Spanned<Target>>,
        /// How one of several is chosen.
        balance: Option<Spanned<Balance>>,
    },
    /// `via NAME`: a proxy.
    Via(Name),
    /// `via table N`
    ViaTable(Spanned<Num>),
    /// `with KIND`: what a `reject` answers (`tcp-reset`, `port-unreachable`, …).
    With(Name),
    /// `mark n/m`
    Mark(MarkLit),
    /// `add @set`
    Add(Name),
    /// `log "text" at rate`
    Log {
        /// The text that marks the entry; the rule's name when absent.
        text: Option<Spanned<String>>,
        /// The most entries.
        at: Option<Spanned<Rate>>,
    },
    /// `count`
    Count,
    /// `and allow`: admitted, filter is skipped.
    AndAllow,
    /// `as NAME`
    As(Name),
    /// Owner, note and the like.
    Meta(Meta),
}

/// `n/m`: a mark and its mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkLit {
    /// The bits to set.
    pub value: Spanned<Num>,
    /// The bits it owns; all when absent.
    pub mask: Option<Spanned<Num>>,
}

/// `user NAME`, `gid 1337`, `cgroup "path"`: who sent a locally generated packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// What kind of name follows.
    pub kind: Spanned<PrincipalKind>,
    /// The names, numbers or paths, as written.
    pub names: Vec<Name>,
}

/// The kinds of principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PrincipalKind {
    /// A user by name.
    User,
    /// A group by name.
    Group,
    /// A user by number.
    Uid,
    /// A group by number.
    Gid,
    /// A control group by its path below the cgroup2 root.
    Cgroup,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

/// How one of several targets is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Balance {
    /// By a hash of the source address: a client keeps its server.
    Source,
    /// At random for each flow.
    Random,
    /// In turn.
    RoundRobin,
}

/// `not? end, …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Whether the whole list is negated.
    pub not: bool,
    /// The ends; any of them may hold.
    pub list: Vec<Spanned<End>>,
}

/// Where traffic comes from or goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// `any`
    Any,
    /// `host`
    Host,
    /// A zone, or a parameter.
    Name(String),
    /// `@set`
    Ref(String),
    /// A bare address, prefix or range.
    Addr(AddrLit),
    /// `{ … }`
    Body(SetBody),
}

/// A target after `=>`, or a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `:15006`
    Port(Num),
    /// An address.
    Addr(IpAddr),
    /// An address and a port.
    Socket(IpAddr, Num),
    /// The addresses of `@set`.
    Ref(String),
    /// `net 2001:db8::/64`: rewrite the prefix, keep the rest.
    Net(IpAddr, u8),
    /// A parameter.
    Name(String),
}

/// A condition on fields of the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// Both hold.
    And(Box<Spanned<Expr>>, Box<Spanned<Expr>>),
    /// At least one holds.
    Or(Box<Spanned<Expr>>, Box<Spanned<Expr>>),
    /// It does not hold.
    Not(Box<Spanned<Expr>>),
    /// A yes-or-no field standing alone (`ip.fragment`).
    Is(Name),
    /// `field OP value`
    Cmp {
        /// The field's dotted name.
        field: Name,
        /// The operator.
        op: Spanned<CmpOp>,
        /// One value, or the values of `{ … }`; each as written (`syn+fin`, `0x2a`, `67-68`).
        values: Vec<Spanned<String>>,
    },
}

/// A comparison of a `when` expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CmpOp {
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `in { … }`
    In,
    /// `has`: every bit named is set.
    Has,
}
