//! How iptables reads each field: one table, beside what the fields themselves say.
//!
//! What a constraint of a field comes to are alternatives, no two of which hold for one packet.

mod eth;
mod icmp;
mod ip;
mod meta;
mod shape;
mod tcp;

use polc_bundle::Family;

use super::tree::Test;
use crate::field::Field;
use crate::packet::IntervalSet;
use crate::target::Capability;
use shape::MOST;

pub(super) use icmp::icmp;
pub(super) use ip::is_fragment;

/// What a constraint comes to.
#[derive(Debug)]
pub(super) enum Condition {
    /// Every packet satisfies it.
    Always,
    /// No packet does.
    Never,
    /// Those for which all tests of one alternative hold.
    OneOf(Vec<Vec<Test>>),
}

type Found = Result<Condition, Capability>;

/// How a field is asked for.
#[derive(Clone, Copy)]
enum Way {
    /// As a function says.
    Own(fn(&Asked) -> Condition),
    /// As a function says that can ask for a few values and not for many.
    Few(fn(&Asked) -> Found),
    /// Not at all.
    Lacks(Capability),
}

/// What is asked of a packet: that a field's value is in a set.
struct Asked<'a> {
    field: Field,
    /// Not empty.
    set: &'a IntervalSet<u64>,
    family: Family,
}

/// How each field is asked for. Ports, and what ICMP has, stand elsewhere; bits of the IP header are all read
/// alike.
const FIELDS: &[(&str, Way)] = &[
    ("ip.length", Way::Own(ip::length)),
    ("ip.fragment", Way::Own(ip::fragment)),
    ("tcp.flags", Way::Own(tcp::flags)),
    ("tcp.mss", Way::Own(tcp::mss)),
    ("eth.saddr", Way::Few(eth::source)),
    ("eth.daddr", Way::Lacks(Capability::DestEther)),
    ("eth.type", Way::Lacks(Capability::EtherType)),
    ("vlan.id", Way::Lacks(Capability::VlanTag)),
    ("vlan.pcp", Way::Lacks(Capability::VlanTag)),
    ("meta.mark", Way::Own(meta::mark)),
    ("meta.length", Way::Lacks(Capability::PacketLength)),
    ("meta.pkttype", Way::Own(meta::pkttype)),
    ("uid", Way::Own(meta::owner)),
    ("gid", Way::Own(meta::owner)),
    ("ct.state", Way::Own(meta::state)),
    ("ct.mark", Way::Own(meta::ct_mark)),
    ("ct.direction", Way::Own(meta::direction)),
    ("time.hour", Way::Own(meta::hour)),
    ("time.day", Way::Own(meta::day)),
];

fn own(field: Field) -> Option<Way> {
    let named = FIELDS.iter().find(|(name, _)| *name == field.name());
    named.map(|(_, way)| *way)
}

/// The condition that a field's value is in `set`, for packets of `family`.
pub(super) fn condition(field: Field, set: &IntervalSet<u64>, family: Family) -> Found {
    if set.is_empty() {
        return Ok(Condition::Never);
    }
    let (name, max) = (field.name(), field.largest());
    let asked = Asked { field, set, family };
    let found = match (own(field), field.def().bits) {
        (Some(Way::Own(ask)), _) => ask(&asked),
        (Some(Way::Few(ask)), _) => ask(&asked)?,
        (Some(Way::Lacks(capability)), _) => return Err(capability),
        (None, Some(bits)) => ip::bits(&asked, bits),
        (None, None) => return Err(Capability::EtherType),
    };
    let found = match found {
        Condition::OneOf(_) if set.complement_below(max).is_empty() && always_present(name) => {
            Condition::Always
        }
        found => found,
    };
    match found {
        Condition::OneOf(list) if list.len() > MOST => Err(Capability::ManyValues),
        Condition::OneOf(list) if list.is_empty() => Ok(Condition::Never),
        found => Ok(found),
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
    fn every_field_that_is_asked_for_by_value_is_known() {
        let by_value = |def: &&FieldDef| matches!(def.meaning, Meaning::Value);
        for def in KNOWN.iter().copied().filter(by_value) {
            let known = def.bits.is_some() || own(Field::new(def)).is_some();
            assert!(known, "{}", def.name);
        }
    }
}
