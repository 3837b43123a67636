//! The syntax tree of a `.pol` file.
//!
//! The tree says what was written, not what it means: names are unresolved, addresses are not
//! normalised, templates are not expanded. Every node that a diagnostic may point at carries its
//! [`Span`]. Comments are kept beside the tree, in source order.

mod rate;
mod rule;
mod set;
mod test;

pub use crate::span::{Span, Spanned};
pub use rate::{
    Bucket, BucketOption, Down, Key, KeyKind, Proxy, ProxyOption, Rate, RateLit, Sense, TimeUnit,
    Unit,
};
pub use rule::{
    Apply, Balance, Clause, CmpOp, DefaultStmt, End, Ends, Expr, Family, Group, MarkLit, Principal,
    PrincipalKind, Rule, Stmt, Target, Verb,
};
pub use set::{
    AddrLit, Element, Num, Port, Service, ServiceDecl, SetBody, SetDecl, SetExpr, SetOp, SetOption,
    SetTerm,
};
pub use test::{Claim, ClaimKind, Endpoint, Flow, Qualifier, Test, TestStep};

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

/// `strict icmp` or `strict tcp`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strict {
    /// Neighbour discovery and packet-too-big are judged like everything else.
    Icmp,
    /// Only a SYN opens a TCP flow.
    Tcp,
}

/// `raw nft "…"`: text for one target, which analysis does not see into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// The target's word.
    pub target: Name,
    /// The text, verbatim.
    pub text: Spanned<String>,
}
