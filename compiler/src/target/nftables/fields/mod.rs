//! How nftables reads each field: one table.

mod among;
mod ip;
mod key;
mod ports;
mod time;

use polc_bundle::Family;

use super::tree::Match;
use crate::field::Field;
use crate::packet::IntervalSet;
use crate::target::Capability;
use key::{key, of, transport};

pub(crate) use among::among;
pub(crate) use key::{
    Address, FIB_OIFNAME, IIF, IIFNAME, Key, L4PROTO, NFPROTO, OIFNAME, Style, TH_DPORT, address,
};

/// How a field is asked for.
enum Way {
    /// By one expression.
    One(Key),
    /// By an expression of each family, IPv4 first.
    Each([Key; 2]),
    /// As a function says, for each family or for both at once.
    Own(Ask),
    /// As a function says, for each family.
    OwnEach(Ask),
    /// Not at all.
    Lacks(Capability),
}

type Ask = fn(&Asked) -> Condition;

const PKTTYPES: Style = Style::Words(&["host", "broadcast", "multicast", "other"]);
const CT_STATES: Style = Style::Words(&["new", "established", "related", "untracked"]);
const DIRECTIONS: Style = Style::Words(&["original", "reply"]);

/// How each field is asked for.
const FIELDS: &[(&str, Way)] = &[
    ("ip.length", Way::OwnEach(ip::length)),
    ("ip.ttl", each("ip ttl", "ip6 hoplimit")),
    ("ip.dscp", each("ip dscp", "ip6 dscp")),
    ("ip.ecn", each("ip ecn", "ip6 ecn")),
    ("ip.fragment", Way::OwnEach(ip::fragment)),
    ("sport", Way::Own(ports::port)),
    ("dport", Way::Own(ports::port)),
    ("icmp.type", each_icmp("icmp type", "icmpv6 type")),
    ("icmp.code", each_icmp("icmp code", "icmpv6 code")),
    ("tcp.flags", tcp("tcp flags", Style::TcpFlags)),
    ("tcp.mss", one("tcp option maxseg size", Style::Decimal)),
    ("eth.saddr", one("ether saddr", Style::Mac)),
    ("eth.daddr", one("ether daddr", Style::Mac)),
    ("eth.type", Way::Lacks(Capability::EtherType)),
    ("vlan.id", Way::Lacks(Capability::VlanTag)),
    ("vlan.pcp", Way::Lacks(Capability::VlanTag)),
    ("meta.mark", one("meta mark", Style::Hex)),
    ("meta.length", one("meta length", Style::Decimal)),
    ("meta.pkttype", one("meta pkttype", PKTTYPES)),
    ("uid", one("meta skuid", Style::Decimal)),
    ("gid", one("meta skgid", Style::Decimal)),
    ("ct.state", one("ct state", CT_STATES)),
    ("ct.mark", one("ct mark", Style::Hex)),
    ("ct.direction", one("ct direction", DIRECTIONS)),
    ("time.hour", Way::Own(time::hour)),
    ("time.day", one("meta day", Style::Decimal)),
];

const fn one(expr: &'static str, style: Style) -> Way {
    Way::One(key(expr, style))
}

/// Numbers of the IP header.
const fn each(v4: &'static str, v6: &'static str) -> Way {
    Way::Each([
        of(v4, Style::Decimal, Family::V4),
        of(v6, Style::Decimal, Family::V6),
    ])
}

/// Numbers of the header of each family's ICMP.
const fn each_icmp(v4: &'static str, v6: &'static str) -> Way {
    Way::Each([
        transport(v4, Style::Decimal, Some(Family::V4)),
        transport(v6, Style::Decimal, Some(Family::V6)),
    ])
}

const fn tcp(expr: &'static str, style: Style) -> Way {
    Way::One(transport(expr, style, None))
}

fn way(field: Field) -> Option<&'static Way> {
    let named = FIELDS.iter().find(|(name, _)| *name == field.name());
    named.map(|(_, way)| way)
}

/// Whether a field is read by another expression in each family.
pub(crate) fn depends_on_family(field: Field) -> bool {
    matches!(way(field), Some(Way::Each(_) | Way::OwnEach(_)))
}

/// What is asked of a packet: that a field's value is in a set.
struct Asked<'a> {
    field: Field,
    set: &'a IntervalSet<u64>,
    /// Its family, when it is known.
    family: Option<Family>,
    /// Its protocol, when it is known.
    protocol: Option<u64>,
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
    let asked = Asked {
        field,
        set,
        family,
        protocol,
    };
    match (way(field), family) {
        (Some(Way::One(key)), _) => Ok(asked.value(*key)),
        (Some(Way::Each([v4, _])), Some(Family::V4)) => Ok(asked.value(*v4)),
        (Some(Way::Each([_, v6])), Some(Family::V6)) => Ok(asked.value(*v6)),
        (Some(Way::Own(ask) | Way::OwnEach(ask)), _) => Ok(ask(&asked)),
        (Some(Way::Lacks(capability)), _) => Err(*capability),
        _ => Err(Capability::EtherType),
    }
}

impl Asked<'_> {
    /// The condition that an expression gives one of the values.
    fn value(&self, key: Key) -> Condition {
        self.among(key, self.set, self.field.largest())
    }

    /// As [`Asked::value`], for an expression that gives other numbers, up to `max`.
    fn among(&self, key: Key, set: &IntervalSet<u64>, max: u64) -> Condition {
        if set.complement_below(max).is_empty() && always_present(self.field.name()) {
            return Condition::Always;
        }
        if set.is_empty() {
            return Condition::Never;
        }
        Condition::If(among(key, set, max))
    }
}

/// Whether every packet has the field, so that a condition that every value satisfies is none.
fn always_present(name: &str) -> bool {
    name.starts_with("ip.") || name.starts_with("meta.") || name.starts_with("time.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::{FIELDS as KNOWN, FieldDef, Meaning};

    #[test]
    fn the_table_has_every_field_that_is_asked_for_by_value() {
        let by_value = |def: &&FieldDef| matches!(def.meaning, Meaning::Value);
        for def in KNOWN.iter().copied().filter(by_value) {
            assert!(way(Field::new(def)).is_some(), "{}", def.name);
        }
    }
}
