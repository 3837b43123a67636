//! What nftables can read, and how it writes values.

use std::fmt;
use std::hash::{Hash, Hasher};

use polc_bundle::Family;

/// Something that nftables can read from a packet. Compares by its expression.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// The expression.
    pub(crate) expr: &'static str,
    /// How its values are written.
    pub(crate) style: Style,
    /// The family it exists in, when it is one only.
    pub(crate) family: Option<Family>,
    /// Whether reading it implies the cube's protocol.
    pub(crate) transport: bool,
}

impl Key {
    /// Whether its values can stand in a verdict map, alone or joined with others.
    pub(crate) fn joins(&self) -> bool {
        let address = self.expr.ends_with("addr") && !self.expr.starts_with("ct ");
        address || self.expr.ends_with("port") || [IIFNAME, OIFNAME, L4PROTO].contains(self)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.expr == other.expr
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expr.hash(state);
    }
}

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Decimal,
    Hex,
    Mac,
    Protocol,
    TcpFlags,
    Words(&'static [&'static str]),
    /// Addresses and names, which are not numbers.
    Other,
}

/// The bits of `tcp flags`, lowest first.
const TCP_FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"];

/// Protocols that nft knows without looking into a file of the machine.
const PROTOCOLS: &[(u64, &str)] = &[
    (1, "icmp"),
    (6, "tcp"),
    (17, "udp"),
    (33, "dccp"),
    (50, "esp"),
    (51, "ah"),
    (58, "icmpv6"),
    (132, "sctp"),
    (136, "udplite"),
];

impl Style {
    /// Writes one value.
    pub(crate) fn write(self, f: &mut fmt::Formatter<'_>, value: u64) -> fmt::Result {
        match self {
            Self::Decimal | Self::Other => write!(f, "{value}"),
            Self::Hex => write!(f, "{value:#x}"),
            Self::Mac => {
                for shift in [40, 32, 24, 16, 8, 0] {
                    let colon = if shift == 40 { "" } else { ":" };
                    write!(f, "{colon}{:02x}", (value >> shift) & 0xff)?;
                }
                Ok(())
            }
            Self::Protocol => match PROTOCOLS.iter().find(|(n, _)| *n == value) {
                Some((_, name)) => f.write_str(name),
                None => write!(f, "{value}"),
            },
            Self::TcpFlags if value == 0 => f.write_str("0x0"),
            Self::TcpFlags => {
                let names: Vec<&str> = TCP_FLAGS
                    .iter()
                    .enumerate()
                    .filter(|(bit, _)| value >> bit & 1 == 1)
                    .map(|(_, name)| *name)
                    .collect();
                match names.as_slice() {
                    [one] => f.write_str(one),
                    many => write!(f, "({})", many.join("|")),
                }
            }
            Self::Words(words) => match usize::try_from(value).ok().and_then(|i| words.get(i)) {
                Some(word) => f.write_str(word),
                None => write!(f, "{value}"),
            },
        }
    }

    /// Whether nft takes a bare value for "has one of these bits", so that `==` must be written.
    pub(crate) fn is_bits(self) -> bool {
        self == Self::TcpFlags
    }

    /// Whether ranges of values can be written.
    pub(crate) fn has_ranges(self) -> bool {
        !matches!(self, Self::TcpFlags | Self::Words(_))
    }
}

pub(super) const fn key(expr: &'static str, style: Style) -> Key {
    Key {
        expr,
        style,
        family: None,
        transport: false,
    }
}

pub(super) const fn of(expr: &'static str, style: Style, family: Family) -> Key {
    Key {
        family: Some(family),
        ..key(expr, style)
    }
}

pub(super) const fn transport(expr: &'static str, style: Style, family: Option<Family>) -> Key {
    Key {
        expr,
        style,
        family,
        transport: true,
    }
}

pub(crate) const IIFNAME: Key = key("iifname", Style::Other);
pub(crate) const OIFNAME: Key = key("oifname", Style::Other);
pub(crate) const FIB_OIFNAME: Key = key("fib daddr oifname", Style::Other);
pub(crate) const IIF: Key = key("iif", Style::Decimal);
pub(crate) const L4PROTO: Key = transport("meta l4proto", Style::Protocol, None);
pub(crate) const NFPROTO: Key = key("meta nfproto", Style::Other);
pub(crate) const TH_DPORT: Key = key("th dport", Style::Decimal);
pub(super) const TH_SPORT: Key = key("th sport", Style::Decimal);

/// The source, destination and original destination address of a family.
pub(crate) fn address(which: Address, family: Family) -> Key {
    let expr = match (which, family) {
        (Address::Source, Family::V4) => "ip saddr",
        (Address::Source, Family::V6) => "ip6 saddr",
        (Address::Dest, Family::V4) => "ip daddr",
        (Address::Dest, Family::V6) => "ip6 daddr",
        (Address::Original, Family::V4) => "ct original ip daddr",
        (Address::Original, Family::V6) => "ct original ip6 daddr",
    };
    match which {
        // nft does not test the family before it reads the flow.
        Address::Original => key(expr, Style::Other),
        _ => of(expr, Style::Other, family),
    }
}

/// One of a packet's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Source,
    Dest,
    /// Destination before steer.
    Original,
}
