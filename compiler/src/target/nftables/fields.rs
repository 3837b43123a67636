//! How nftables reads each field: one table.

use std::fmt;
use std::hash::{Hash, Hasher};

use polc_bundle::Family;

use super::tree::{Match, Values};
use crate::field::Field;
use crate::packet::IntervalSet;
use crate::target::Capability;

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

const fn key(expr: &'static str, style: Style) -> Key {
    Key {
        expr,
        style,
        family: None,
        transport: false,
    }
}

const fn of(expr: &'static str, style: Style, family: Family) -> Key {
    Key {
        family: Some(family),
        ..key(expr, style)
    }
}

const fn transport(expr: &'static str, style: Style, family: Option<Family>) -> Key {
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
const TH_SPORT: Key = key("th sport", Style::Decimal);
const FRAG_OFF: Key = of("ip frag-off", Style::Hex, Family::V4);

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

/// The port of one protocol, where nft has an expression for it.
fn port(field: &str, protocol: u64) -> Option<Key> {
    let expr = match (field, protocol) {
        ("dport", 6) => "tcp dport",
        ("sport", 6) => "tcp sport",
        ("dport", 17) => "udp dport",
        ("sport", 17) => "udp sport",
        ("dport", 33) => "dccp dport",
        ("sport", 33) => "dccp sport",
        ("dport", 132) => "sctp dport",
        ("sport", 132) => "sctp sport",
        ("dport", 136) => "udplite dport",
        ("sport", 136) => "udplite sport",
        _ => return None,
    };
    Some(transport(expr, Style::Decimal, None))
}

const PKTTYPES: Style = Style::Words(&["host", "broadcast", "multicast", "other"]);
const CT_STATES: Style = Style::Words(&["new", "established", "related", "untracked"]);
const DIRECTIONS: Style = Style::Words(&["original", "reply"]);

/// The expression for each field that is a plain comparison. A field of one family stands once for
/// each.
const FIELDS: &[(&str, Key)] = &[
    ("ip.length", of("ip length", Style::Decimal, Family::V4)),
    ("ip.length", of("ip6 length", Style::Decimal, Family::V6)),
    ("ip.ttl", of("ip ttl", Style::Decimal, Family::V4)),
    ("ip.ttl", of("ip6 hoplimit", Style::Decimal, Family::V6)),
    ("ip.dscp", of("ip dscp", Style::Decimal, Family::V4)),
    ("ip.dscp", of("ip6 dscp", Style::Decimal, Family::V6)),
    (
        "icmp.type",
        transport("icmp type", Style::Decimal, Some(Family::V4)),
    ),
    (
        "icmp.type",
        transport("icmpv6 type", Style::Decimal, Some(Family::V6)),
    ),
    (
        "icmp.code",
        transport("icmp code", Style::Decimal, Some(Family::V4)),
    ),
    (
        "icmp.code",
        transport("icmpv6 code", Style::Decimal, Some(Family::V6)),
    ),
    ("tcp.flags", transport("tcp flags", Style::TcpFlags, None)),
    ("tcp.mss", key("tcp option maxseg size", Style::Decimal)),
    ("eth.saddr", key("ether saddr", Style::Mac)),
    ("eth.daddr", key("ether daddr", Style::Mac)),
    ("meta.mark", key("meta mark", Style::Hex)),
    ("meta.length", key("meta length", Style::Decimal)),
    ("meta.pkttype", key("meta pkttype", PKTTYPES)),
    ("uid", key("meta skuid", Style::Decimal)),
    ("gid", key("meta skgid", Style::Decimal)),
    ("ct.state", key("ct state", CT_STATES)),
    ("ct.mark", key("ct mark", Style::Hex)),
    ("ct.direction", key("ct direction", DIRECTIONS)),
    // Seconds of the day: numbers are not moved to the local time zone, as times are.
    ("time.hour", key("meta hour", Style::Decimal)),
    ("time.day", key("meta day", Style::Decimal)),
];

/// Whether a field is read by another expression in each family.
pub(crate) fn depends_on_family(field: Field) -> bool {
    field.name() == "ip.fragment"
        || FIELDS
            .iter()
            .any(|(name, key)| *name == field.name() && key.family.is_some())
}

/// What a constraint of a field comes to.
pub(crate) enum Condition {
    /// Every packet satisfies it.
    Always,
    /// No packet does.
    Never,
    /// Those that match do.
    If(Match),
}

/// The condition that a field's value is in `set`, for packets of `family` and of `protocol` when
/// these are known.
pub(crate) fn condition(
    field: Field,
    set: &IntervalSet<u64>,
    family: Option<Family>,
    protocol: Option<u64>,
) -> Result<Condition, Capability> {
    let name = field.name();
    let found = match name {
        "vlan.id" | "vlan.pcp" => return Err(Capability::VlanTag),
        "ip.fragment" => return Ok(fragment(set, family)),
        "sport" | "dport" => Some(
            port(name, protocol.unwrap_or(0)).unwrap_or(if name == "sport" {
                TH_SPORT
            } else {
                TH_DPORT
            }),
        ),
        _ => FIELDS
            .iter()
            .find(|(n, key)| *n == name && (key.family.is_none() || key.family == family))
            .map(|(_, key)| *key),
    };
    let Some(key) = found else {
        return Err(Capability::EtherType);
    };
    let (set, max) = match (name, family) {
        // The IPv6 header states the length of what follows it.
        ("ip.length", Some(Family::V6)) => (shift_down(set, 40), field.largest()),
        ("time.hour", _) => (hours_to_seconds(set), 24 * 3600 - 1),
        _ => (set.clone(), field.largest()),
    };
    if set.complement_below(max).is_empty() && always_present(name) {
        return Ok(Condition::Always);
    }
    if set.is_empty() {
        return Ok(Condition::Never);
    }
    Ok(Condition::If(among(key, &set, max)))
}

/// Whether every packet has the field, so that a condition that every value satisfies is none.
fn always_present(name: &str) -> bool {
    name.starts_with("ip.") || name.starts_with("meta.") || name.starts_with("time.")
}

/// `key` is in `set`, in the shortest form.
pub(crate) fn among(key: Key, set: &IntervalSet<u64>, max: u64) -> Match {
    if key.style.is_bits()
        && let Some(test) = masked(key, set, max)
    {
        return test;
    }
    let rest = set.complement_below(max);
    let shorter = rest.ranges().len() < set.ranges().len() && !rest.is_empty();
    let (negate, set) = if shorter {
        (true, rest)
    } else {
        (false, set.clone())
    };
    Match::Test {
        key,
        negate,
        values: Values::Numbers(set),
    }
}

/// The set of bit patterns as `bits & mask == value` or its negation, when it is one.
fn masked(key: Key, set: &IntervalSet<u64>, max: u64) -> Option<Match> {
    let form = |set: &IntervalSet<u64>| {
        let (mut ones, mut zeros, mut count) = (max, max, 0u64);
        for value in set.ranges().iter().flat_map(|(a, b)| *a..=*b) {
            ones &= value;
            zeros &= !value;
            count += 1;
        }
        let mask = (ones | zeros) & max;
        (count > 0 && count == 1 << (max & !mask).count_ones()).then_some((mask, ones))
    };
    let test = |negate, (mask, value)| Match::Test {
        key,
        negate,
        values: if mask == max {
            Values::Numbers(IntervalSet::one(value))
        } else {
            Values::Masked { mask, value }
        },
    };
    form(set)
        .map(|parts| test(false, parts))
        .or_else(|| form(&set.complement_below(max)).map(|parts| test(true, parts)))
}

fn shift_down(set: &IntervalSet<u64>, by: u64) -> IntervalSet<u64> {
    set.ranges()
        .iter()
        .filter(|(_, last)| *last >= by)
        .map(|(first, last)| (first.saturating_sub(by), last - by))
        .collect()
}

fn hours_to_seconds(set: &IntervalSet<u64>) -> IntervalSet<u64> {
    set.ranges()
        .iter()
        .map(|(first, last)| (first * 3600, last * 3600 + 3599))
        .collect()
}

/// Whether the packet is a fragment: IPv4 has bits for it, IPv6 an extension header.
fn fragment(set: &IntervalSet<u64>, family: Option<Family>) -> Condition {
    let wanted = match (set.contains(0), set.contains(1)) {
        (true, true) => return Condition::Always,
        (_, one) => one,
    };
    Condition::If(match family {
        Some(Family::V6) => Match::Text(
            if wanted {
                "exthdr frag exists"
            } else {
                "exthdr frag missing"
            }
            .to_owned(),
        ),
        _ => Match::Test {
            key: FRAG_OFF,
            negate: wanted,
            values: Values::Masked {
                mask: 0x3fff,
                value: 0,
            },
        },
    })
}
