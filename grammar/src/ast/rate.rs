//! Rates, buckets and proxies.

use super::{MarkLit, Name, Num, Principal, Spanned, Target};

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
