//! Sets of addresses, services, numbers.

use std::net::IpAddr;

use super::{KeyKind, Meta, Name, Spanned};

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
