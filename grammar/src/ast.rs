//! The syntax tree of a `.pol` file.
//!
//! The tree says what was written, not what it means: names are unresolved, addresses are not
//! normalised, templates are not expanded. Every node that a diagnostic may point at carries its
//! [`Span`]. Comments are kept beside the tree, in source order.

use std::net::IpAddr;

pub use crate::span::{Span, Spanned};

/// A name, possibly qualified by the alias of a `use` (`lib.web`).
pub type Name = Spanned<String>;

/// One source file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// The items in source order.
    pub items: Vec<Spanned<Item>>,
    /// Every comment, in source order, those inside items too.
    pub comments: Vec<Comment>,
}

/// A `#` comment, up to the end of its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comment {
    /// The text with its `#`, without trailing blanks.
    pub text: Spanned<String>,
    /// Whether nothing but blanks stands before it on its line.
    pub own_line: bool,
}

/// A top-level item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// `policy NAME meta…`
    Policy(Policy),
    /// `use "path" as NAME`
    Use(Use),
    /// `param NAME: TYPE = value`
    Param(Param),
    /// `set NAME = …`
    Set(SetDecl),
    /// `service NAME = …`
    Service(ServiceDecl),
    /// `zone NAME = …`
    Zone(Zone),
    /// `bucket NAME = …`
    Bucket(Bucket),
    /// `proxy NAME { … }`
    Proxy(Proxy),
    /// `template NAME(…) { … }`
    Template(Template),
    /// `guard on … { … }`
    Guard(Guard),
    /// `steer { … }`
    Steer(Vec<Spanned<Stmt>>),
    /// `egress { … }`
    Egress(Vec<Spanned<Stmt>>),
    /// `from X to Y { … }`
    Section(Section),
    /// `default VERDICT clause…`
    Default(DefaultStmt),
    /// `strict icmp` or `strict tcp`
    Strict(Spanned<Strict>),
    /// `apply NAME(…)`
    Apply(Apply),
    /// `ensure`, `never` or `protect`
    Claim(Claim),
    /// `test "…" { … }`
    Test(Test),
    /// `raw TARGET "…"`
    Raw(Raw),
}

/// `policy NAME meta…`: what the file is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The policy's name.
    pub name: Name,
    /// Owner, note and the like.
    pub meta: Vec<Spanned<Meta>>,
}

/// Facts about a rule or a definition that change no verdict (`expires` excepted: see the
/// reference).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meta {
    /// `note "…"`
    Note(Spanned<String>),
    /// `owner WORD`
    Owner(Name),
    /// `ticket WORD`
    Ticket(Name),
    /// `expires YYYY-MM-DD`; the text is checked by the compiler.
    Expires(Spanned<String>),
    /// `review YYYY-MM-DD`
    Review(Spanned<String>),
}

/// `use "path" as NAME`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// Path relative to the file that says `use`.
    pub path: Spanned<String>,
    /// The prefix under which its names are seen; none: they are seen bare.
    pub alias: Option<Name>,
}

/// `param NAME: TYPE = value`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// The parameter's name.
    pub name: Name,
    /// The type's name, as written.
    pub ty: Name,
    /// The value when nobody binds it.
    pub default: Option<Spanned<Value>>,
}

/// A value of a parameter or a template argument, by its shape. The parameter's type decides
/// what a bare word means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A bare word: a name, an interface pattern such as `wg*`, a service, a user.
    Word(String),
    /// A number, suffix applied (`4k` is 4000).
    Number(u64),
    /// `"…"`
    Str(String),
    /// An address, prefix or range.
    Addr(AddrLit),
    /// `@name` or `{ … }` or a sum of terms.
    Set(SetExpr),
    /// Something with a protocol: `tcp/{80,443}`, or several services.
    Services(Vec<Spanned<Service>>),
    /// `192.0.2.1:80`, `[2001:db8::1]:80` or `:80`.
    Target(Target),
    /// A rate such as `10/s burst 20`.
    Rate(RateLit),
    /// A duration in milliseconds.
    Duration(u64),
}

/// An address, prefix or range as written. Host bits are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddrLit {
    /// One address.
    Addr(IpAddr),
    /// Address and prefix length in bits; the parser has checked the length against the family.
    Prefix(IpAddr, u8),
    /// First and last address, of one family; the parser has not compared them.
    Range(IpAddr, IpAddr),
}

/// A number, or the name of a parameter that holds one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Num {
    /// A literal, suffix applied, hexadecimal read.
    Lit(u64),
    /// A parameter's name.
    Name(String),
}

/// `set NAME as KEY = expr …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetDecl {
    /// The set's name, without `@`.
    pub name: Name,
    /// What an element of a `dynamic` set is made of (`as source`).
    pub key: Option<Spanned<KeyKind>>,
    /// Its elements.
    pub expr: SetExpr,
    /// `dynamic`, `idle`, `max`, meta, in source order.
    pub options: Vec<Spanned<SetOption>>,
}

/// An option of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetOption {
    /// `dynamic`: the data plane adds elements.
    Dynamic,
    /// `idle DURATION`, in milliseconds.
    Idle(u64),
    /// `max N`: the most elements it may hold.
    Max(Spanned<Num>),
    /// Owner, note and the like.
    Meta(Meta),
}

/// Terms joined by `+`, `-` and `&`, evaluated from left to right with equal precedence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetExpr {
    /// The first term.
    pub first: Spanned<SetTerm>,
    /// The operators and terms that follow.
    pub rest: Vec<(SetOp, Spanned<SetTerm>)>,
}

/// An operator between set terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetOp {
    /// `+`
    Union,
    /// `-`
    Difference,
    /// `&`
    Intersection,
}

/// A term of a set expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetTerm {
    /// `{ elements }`
    Body(SetBody),
    /// `@name`
    Ref(String),
    /// A bare address, prefix or range.
    Addr(AddrLit),
    /// `file("…", …)`
    File(Vec<Spanned<String>>),
}

/// `{ … }`: a list of addresses and other sets, separated by commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetBody {
    /// The elements in source order.
    pub elements: Vec<Spanned<Element>>,
}

/// An element of a set body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// An address, prefix or range.
    Addr(AddrLit),
    /// Another set, `@name`.
    Ref(String),
}

/// `service NAME = services`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceDecl {
    /// The service's name.
    pub name: Name,
    /// What it stands for.
    pub services: Vec<Spanned<Service>>,
}

/// One service of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// A defined service, or a parameter.
    Name(String),
    /// A protocol, with ports (or ICMP types, or protocol numbers after `proto/`) or without.
    Proto {
        /// The protocol's word: `tcp`, `udp`, `icmp`, `proto`, …
        proto: Spanned<String>,
        /// What stands after `/`.
        ports: Option<Vec<Spanned<Port>>>,
    },
}

/// A port, range of ports, or a name (ICMP type, parameter).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// `443`
    Num(u64),
    /// `67-68`
    Range(u64, u64),
    /// `echo-request`, or a parameter of type `port`.
    Name(String),
}

/// `zone NAME = ifaces net set`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// The zone's name.
    pub name: Name,
    /// Interfaces.
    pub ifaces: Ifaces,
    /// The addresses behind it, when the policy states them.
    pub net: Option<SetExpr>,
}

/// `not? name, …`: interface names, patterns with a final `*`, zones or parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ifaces {
    /// Whether the list is negated.
    pub not: bool,
    /// The names.
    pub names: Vec<Name>,
}

/// `bucket NAME = rate …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The bucket's name.
    pub name: Name,
    /// Rate, burst and key.
    pub rate: Spanned<RateLit>,
    /// `max`, `idle`, `full`.
    pub options: Vec<Spanned<BucketOption>>,
}

/// An option of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BucketOption {
    /// `max N`: capacity of the table of keys.
    Max(Spanned<Num>),
    /// `idle DURATION` in milliseconds: a key unused for so long is forgotten.
    Idle(u64),
    /// `full over` or `full within`: what a new key counts as when the table is full.
    Full(Sense),
}

/// Whether a rate holds (`within`) or is exceeded (`over`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sense {
    /// A token was there.
    Within,
    /// None was.
    Over,
}

/// `proxy NAME { … }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// The proxy's name.
    pub name: Name,
    /// What its body says, in source order.
    pub options: Vec<Spanned<ProxyOption>>,
}

/// A line of a proxy's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyOption {
    /// `listen tcp, udp at 127.0.0.1:1, [::1]:1`
    Listen {
        /// The protocols' words.
        protocols: Vec<Name>,
        /// Where it listens.
        at: Vec<Spanned<Target>>,
    },
    /// `mark n/m`
    Mark(MarkLit),
    /// `table N`
    Table(Spanned<Num>),
    /// `bypass PRINCIPAL`
    Bypass(Principal),
    /// `down deny` or `down direct`
    Down(Spanned<Down>),
}

/// What happens to a proxy's traffic while nobody listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Down {
    /// It is dropped.
    Deny,
    /// It goes on unproxied.
    Direct,
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

/// `template NAME(params) { … }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The template's name.
    pub name: Name,
    /// Its parameters.
    pub params: Vec<Param>,
    /// Items, or statements, or both; where it is applied decides which are allowed.
    pub body: Vec<Spanned<TemplateNode>>,
}

/// What a template's body is made of. What can be read as an item is one (`from x { … }`,
/// `default deny`, `apply …`): the compiler turns it into a statement where one is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateNode {
    /// An item.
    Item(Item),
    /// A statement.
    Stmt(Stmt),
}

/// `guard on ifaces { … }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The interfaces it watches; all when absent.
    pub on: Option<Ifaces>,
    /// Its statements.
    pub body: Vec<Spanned<Stmt>>,
}

/// `stateless from X to Y clause… { … }`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Whether every packet is judged, replies too.
    pub stateless: bool,
    /// `from` and `to` and any other clause, in source order.
    pub clauses: Vec<Spanned<Clause>>,
    /// Its statements.
    pub body: Vec<Spanned<Stmt>>,
}

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

/// A rate: written out, or the name of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Written out: the rule has a bucket of its own.
    Lit(RateLit),
    /// A shared bucket.
    Bucket(String),
}

/// `10 packets/s burst 20 per source/24,/56`, or `20 flows per source` (live flows).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLit {
    /// How many.
    pub count: Spanned<Num>,
    /// Of what; the stage's own unit when absent.
    pub unit: Option<Unit>,
    /// In what time; absent: a count of live flows.
    pub per: Option<TimeUnit>,
    /// Capacity of the bucket.
    pub burst: Option<Spanned<Num>>,
    /// One bucket for each key.
    pub key: Option<Key>,
}

/// What a rate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// Packets.
    Packets,
    /// Bytes of the IP packet, header included.
    Bytes,
    /// Flows.
    Flows,
}

/// The time of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimeUnit {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day.
    Day,
}

/// `per source/24,/56`: what a key of a bucket is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Source, destination or both.
    pub kind: KeyKind,
    /// Bits of an IPv4 address that count; all when absent.
    pub v4: Option<u8>,
    /// Bits of an IPv6 address that count; all when absent.
    pub v6: Option<u8>,
}

/// What a key is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// The source address.
    Source,
    /// The destination address.
    Dest,
    /// Both.
    Pair,
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

/// `strict icmp` or `strict tcp`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strict {
    /// Neighbour discovery and packet-too-big are judged like everything else.
    Icmp,
    /// Only a SYN opens a TCP flow.
    Tcp,
}

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

/// `raw nft "…"`: text for one target, which analysis does not see into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// The target's word.
    pub target: Name,
    /// The text, verbatim.
    pub text: Spanned<String>,
}
