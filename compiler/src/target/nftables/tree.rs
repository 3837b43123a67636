//! A table of nftables as typed data: what the lowering builds, the optimiser rewrites and the
//! template prints.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use polc_bundle::Family;

use super::fields::Key;
use super::time::Time;
use crate::ir::BlockId;
use crate::packet::IntervalSet;
use crate::packet::addr::{range4, range6};

/// The table of a policy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) sets: Vec<Set>,
    pub(crate) limits: Vec<NamedLimit>,
    pub(crate) counters: Vec<Arc<str>>,
    pub(crate) chains: Vec<Chain>,
    /// Text of the user, verbatim.
    pub(crate) raw: Vec<String>,
}

/// A named set.
#[derive(Clone, Debug)]
pub(crate) struct Set {
    pub(crate) name: Arc<str>,
    /// What the policy calls it.
    pub(crate) policy_name: Option<Arc<str>>,
    /// The type of its elements.
    pub(crate) ty: &'static str,
    pub(crate) elements: Elements,
    /// Present in sets that the data plane fills.
    pub(crate) dynamic: Option<Dynamic>,
}

/// What a named set is loaded with.
#[derive(Clone, Debug)]
pub(crate) enum Elements {
    /// Nothing.
    None,
    /// Single addresses: a hash table. Ranges are written out.
    Hosts4(IntervalSet<u32>),
    Hosts6(IntervalSet<u128>),
    /// Prefixes and ranges: a tree.
    Ranges4(IntervalSet<u32>),
    Ranges6(IntervalSet<u128>),
}

/// The parameters of a set that the data plane fills.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dynamic {
    pub(crate) size: u32,
    /// Milliseconds.
    pub(crate) timeout: Option<u64>,
}

/// A named token bucket.
#[derive(Clone, Debug)]
pub(crate) struct NamedLimit {
    pub(crate) name: Arc<str>,
    pub(crate) rate: String,
}

/// A chain.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) name: Arc<str>,
    pub(crate) base: Option<Base>,
    pub(crate) rules: Vec<Rule>,
}

/// Where a base chain is hooked in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base {
    pub(crate) kind: &'static str,
    pub(crate) hook: &'static str,
    pub(crate) priority: i32,
    /// Whether packets that reach its end are dropped.
    pub(crate) drop: bool,
}

/// A rule: when every match holds, the statements are executed and the verdict given.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rule {
    pub(crate) matches: Vec<Match>,
    pub(crate) statements: Vec<String>,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) comment: Option<Arc<str>>,
    /// The policy's block it comes from.
    pub(crate) block: Option<BlockId>,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Match {
    /// The key's value is among the values, or with `negate` exists and is not.
    Test {
        key: Key,
        negate: bool,
        values: Values,
    },
    /// The keys' values are together one of the entries.
    Tuple {
        keys: Vec<Key>,
        entries: Vec<Vec<Values>>,
    },
    /// A condition without side effects in nft's own words.
    Text(String),
    /// A question whose answer changes with asking: a bucket.
    Ask(String),
}

/// Values of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Values {
    Numbers(IntervalSet<u64>),
    V4(IntervalSet<u32>),
    V6(IntervalSet<u128>),
    /// Exact interface names.
    Names(BTreeSet<String>),
    /// Interface names with this prefix.
    Prefix(String),
    /// A named set.
    Set(Arc<str>),
    /// `bits & mask == value`
    Masked {
        mask: u64,
        value: u64,
    },
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(Arc<str>),
    Goto(Arc<str>),
    /// A statement that ends evaluation, such as `reject` or `masquerade`.
    Final(String),
    /// The verdict of the entry that the keys' values are equal to; none: evaluation goes on.
    Map(Vec<Key>, Vec<(Vec<Values>, Verdict)>),
}

impl Verdict {
    /// Whether evaluation of the whole base chain ends here.
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self, Self::Accept | Self::Drop | Self::Final(_))
    }
}

impl Rule {
    /// A rule without comment.
    pub(crate) fn new(matches: Vec<Match>, verdict: Verdict) -> Self {
        Self {
            matches,
            verdict: Some(verdict),
            ..Self::default()
        }
    }

    /// A rule that asks in nft's own words.
    pub(crate) fn text(condition: &str, verdict: Verdict) -> Self {
        let matches = if condition.is_empty() {
            vec![]
        } else {
            vec![Match::Text(condition.to_owned())]
        };
        Self::new(matches, verdict)
    }

    /// Whether it takes every packet and ends evaluation.
    pub(crate) fn is_final(&self) -> bool {
        let ends = match &self.verdict {
            Some(Verdict::Goto(_)) => true,
            Some(v) => v.is_terminal(),
            None => false,
        };
        self.matches.is_empty() && ends
    }
}

impl Match {
    /// The key's value is among `values`.
    pub(crate) fn is(key: Key, values: Values) -> Self {
        Self::Test {
            key,
            negate: false,
            values,
        }
    }

    /// The key's value is the number.
    #[cfg(test)]
    pub(crate) fn number(key: Key, value: u64) -> Self {
        Self::is(key, Values::Numbers(IntervalSet::one(value)))
    }

    /// The family that the condition implies.
    pub(crate) fn family(&self) -> Option<Family> {
        match self {
            Self::Test { key, .. } => key.family,
            Self::Tuple { keys, .. } => keys.iter().find_map(|k| k.family),
            Self::Text(_) | Self::Ask(_) => None,
        }
    }
}

impl Values {
    /// Whether it is one number.
    fn single(&self) -> bool {
        matches!(self, Self::Numbers(set) if set.single().is_some())
    }
}

/// Writes `items` as one value, or as an anonymous set.
fn list<T>(
    f: &mut fmt::Formatter<'_>,
    items: impl ExactSizeIterator<Item = T>,
    mut one: impl FnMut(&mut fmt::Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    let many = items.len() != 1;
    if many {
        f.write_str("{ ")?;
    }
    for (i, item) in items.enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        one(f, item)?;
    }
    if many { f.write_str(" }") } else { Ok(()) }
}

/// Values in the notation of their key.
struct In<'a>(&'a Key, &'a Values);

impl fmt::Display for In<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(key, values) = self;
        match values {
            Values::Numbers(set) if !key.style.has_ranges() => {
                let values: Vec<u64> = set.ranges().iter().flat_map(|(a, b)| *a..=*b).collect();
                list(f, values.into_iter(), |f, value| key.style.write(f, value))
            }
            Values::Numbers(set) => list(f, set.ranges().iter(), |f, (first, last)| {
                key.style.write(f, *first)?;
                if first == last {
                    return Ok(());
                }
                f.write_str("-")?;
                key.style.write(f, *last)
            }),
            Values::V4(set) => list(f, set.ranges().iter(), |f, (a, b)| {
                f.write_str(&range4(*a, *b))
            }),
            Values::V6(set) => list(f, set.ranges().iter(), |f, (a, b)| {
                f.write_str(&range6(*a, *b))
            }),
            Values::Names(names) => list(f, names.iter(), |f, name| write!(f, "\"{name}\"")),
            Values::Prefix(prefix) => write!(f, "\"{prefix}*\""),
            Values::Set(name) => write!(f, "@{name}"),
            Values::Masked { value, .. } => key.style.write(f, *value),
        }
    }
}

impl Match {
    /// Whether it says what a header field with neighbours is not: one number.
    fn excludes_one(&self) -> bool {
        const HEADERS: [&str; 7] = ["th", "tcp", "udp", "sctp", "icmp", "icmpv6", "ether"];
        match self {
            Self::Test {
                key,
                negate: true,
                values,
            } => {
                let header = key.expr.split(' ').next();
                let has_neighbours = header.is_some_and(|header| HEADERS.contains(&header));
                has_neighbours && values.single() && key.style.has_ranges()
            }
            _ => false,
        }
    }

    /// Writes it; one number as a range, if that is wanted.
    fn write(&self, f: &mut fmt::Formatter<'_>, range: bool) -> fmt::Result {
        match self {
            Self::Test {
                key,
                values: values @ Values::Numbers(_),
                ..
            } if range => {
                let value = In(key, values);
                write!(f, "{} != {value}-{value}", key.expr)
            }
            Self::Test {
                key,
                negate,
                values,
            } => {
                f.write_str(key.expr)?;
                if let Values::Masked { mask, .. } = values {
                    f.write_str(" & ")?;
                    key.style.write(f, *mask)?;
                }
                let masked = matches!(values, Values::Masked { .. });
                let explicit = masked || key.style.is_bits() && values.single();
                f.write_str(match (negate, explicit) {
                    (true, _) => " != ",
                    (false, true) => " == ",
                    (false, false) => " ",
                })?;
                write!(f, "{}", In(key, values))
            }
            Self::Tuple { keys, entries } => {
                write_keys(f, keys)?;
                f.write_str(" { ")?;
                for (i, entry) in entries.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    write_entry(f, keys, entry)?;
                }
                f.write_str(" }")
            }
            Self::Text(text) | Self::Ask(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, false)
    }
}

fn write_keys(f: &mut fmt::Formatter<'_>, keys: &[Key]) -> fmt::Result {
    for (i, key) in keys.iter().enumerate() {
        write!(f, "{}{}", if i > 0 { " . " } else { "" }, key.expr)?;
    }
    Ok(())
}

fn write_entry(f: &mut fmt::Formatter<'_>, keys: &[Key], entry: &[Values]) -> fmt::Result {
    for (i, (key, value)) in keys.iter().zip(entry).enumerate() {
        write!(f, "{}{}", if i > 0 { " . " } else { "" }, In(key, value))?;
    }
    Ok(())
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Goto(chain) => write!(f, "goto {chain}"),
            Self::Final(text) => f.write_str(text),
            Self::Map(keys, entries) => {
                write_keys(f, keys)?;
                f.write_str(" vmap {\n")?;
                for (entry, verdict) in entries {
                    f.write_str("\t\t\t")?;
                    write_entry(f, keys, entry)?;
                    writeln!(f, " : {verdict},")?;
                }
                f.write_str("\t\t}")
            }
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = "";
        // Of `udp sport != 1 udp dport != 2`, nft makes one comparison of four bytes, which `1 . 3` is not equal to, either
        // (seen with 1.0.6). Ranges it leaves alone.
        let excluding = self.matches.iter().filter(|m| m.excludes_one()).count();
        for part in &self.matches {
            f.write_str(space)?;
            part.write(f, excluding > 1 && part.excludes_one())?;
            space = " ";
        }
        for part in &self.statements {
            write!(f, "{space}{part}")?;
            space = " ";
        }
        if let Some(verdict) = &self.verdict {
            write!(f, "{space}{verdict}")?;
            space = " ";
        }
        match &self.comment {
            Some(comment) => write!(f, "{space}comment \"{comment}\""),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = if self.drop { "drop" } else { "accept" };
        writeln!(
            f,
            "\t\ttype {} hook {} priority {}",
            self.kind, self.hook, self.priority
        )?;
        write!(f, "\t\tpolicy {policy}")
    }
}

/// The elements of the named set one a line, each with `before` and `after` around it.
pub(crate) struct Lines<'a> {
    pub(crate) elements: &'a Elements,
    pub(crate) before: &'static str,
    pub(crate) after: &'static str,
}

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { before, after, .. } = self;
        match self.elements {
            Elements::None => Ok(()),
            Elements::Hosts4(set) => {
                for addr in set.ranges().iter().flat_map(|(a, b)| *a..=*b) {
                    writeln!(f, "{before}{}{after}", std::net::Ipv4Addr::from(addr))?;
                }
                Ok(())
            }
            Elements::Hosts6(set) => {
                for addr in set.ranges().iter().flat_map(|(a, b)| *a..=*b) {
                    writeln!(f, "{before}{}{after}", std::net::Ipv6Addr::from(addr))?;
                }
                Ok(())
            }
            Elements::Ranges4(set) => {
                for (first, last) in set.ranges() {
                    writeln!(f, "{before}{}{after}", range4(*first, *last))?;
                }
                Ok(())
            }
            Elements::Ranges6(set) => {
                for (first, last) in set.ranges() {
                    writeln!(f, "{before}{}{after}", range6(*first, *last))?;
                }
                Ok(())
            }
        }
    }
}

impl Elements {
    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        let count = match self {
            Self::None => 0,
            Self::Hosts4(set) => set.count(),
            Self::Hosts6(set) => set.count(),
            Self::Ranges4(set) => set.ranges().len() as u128,
            Self::Ranges6(set) => set.ranges().len() as u128,
        };
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    /// Whether they are ranges.
    pub(crate) fn is_interval(&self) -> bool {
        matches!(self, Self::Ranges4(_) | Self::Ranges6(_))
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tset {} {{", self.name)?;
        writeln!(f, "\t\ttype {}", self.ty)?;
        if let Some(dynamic) = self.dynamic {
            writeln!(f, "\t\tsize {}", dynamic.size)?;
            match dynamic.timeout {
                Some(ms) => {
                    writeln!(f, "\t\tflags dynamic,timeout")?;
                    writeln!(f, "\t\ttimeout {}", Time(ms))?;
                }
                None => writeln!(f, "\t\tflags dynamic")?,
            }
        }
        if self.elements.is_interval() {
            writeln!(f, "\t\tflags interval")?;
        }
        if self.elements.count() > 0 {
            writeln!(f, "\t\telements = {{")?;
            let lines = Lines {
                elements: &self.elements,
                before: "\t\t\t",
                after: ",",
            };
            writeln!(f, "{lines}\t\t}}")?;
        }
        f.write_str("\t}")
    }
}
