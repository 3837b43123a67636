//! The fields of a packet that a policy can ask about.
//!
//! A field is a number from 0 to some maximum. It exists only in packets that have the header it stands in:
//! a comparison is false for the others, under `!=` too, and `not` turns a comparison into its
//! opposite, so that `not (tcp.dport == 80)` asks for a TCP packet with another port.
//!
//! Each file holds the fields of one header, or one field. A new field is a file with a `FieldDef`,
//! and its line in the table below.

mod compare;
mod place;

use std::cmp::Ordering;
use std::fmt;

pub use compare::{Comparison, FieldError, find, lower, names};
pub use ct::{CT_DIRECTION, CT_MARK, CT_STATE};
pub use eth::{ETH_DADDR, ETH_SADDR, ETH_TYPE, VLAN_ID, VLAN_PCP};
pub use icmp::{ICMP_CODE, ICMP_TYPE, type_names, type_numbers};
pub(crate) use ip::ttl_before_forwarding;
pub use ip::{IP_DSCP, IP_FRAGMENT, IP_LENGTH, IP_TTL};
pub use meta::{GID, META_LENGTH, META_MARK, META_PKTTYPE, UID};
pub use place::{IpBits, ip_bits};
pub use tcp::{TCP_FLAGS, TCP_MSS};
pub use time::{TIME_DAY, TIME_HOUR};
pub use transport::{DPORT, ICMP, ICMPV6, PROTOCOLS, SPORT, TCP, UDP, protocol_number};

use crate::ir::Cube;
use crate::ir::Stage;
use crate::packet::{Families, IntervalSet};

/// Declares the files of fields, and lists their fields.
macro_rules! fields {
    ($(mod $file:ident: $($field:ident),+;)*) => {
        $(mod $file;)*

        /// Every field that `when` knows, by name.
        pub(crate) const FIELDS: &[&FieldDef] = &[$($(&$file::$field),+),*];
    };
}

fields! {
    mod ip: VERSION, PROTOCOL, LENGTH, TTL, DSCP, FRAGMENT;
    mod ip_ecn: ECN;
    mod transport: TCP_SPORT, TCP_DPORT, UDP_SPORT, UDP_DPORT;
    mod tcp: FLAGS, MSS;
    mod icmp: TYPE, CODE;
    mod eth: SADDR, DADDR, TYPE, ID, PCP;
    mod meta: MARK, IIF, OIF, LENGTH, PKTTYPE;
    mod ct: STATE, MARK, DIRECTION;
    mod time: HOUR, DAY;
}

/// What is known of a field.
pub struct FieldDef {
    /// Its name in the language.
    pub name: &'static str,
    /// The largest value it can have; the smallest is 0.
    pub max: u64,
    /// How its values are written.
    pub format: Format,
    /// The protocols whose packets have it; empty: all.
    pub protocols: &'static [u64],
    /// What a packet must have to have the field.
    pub header: Header,
    /// The stages that can see it.
    pub stages: &'static [Stage],
    /// Where it stands, if it is some bits of the IP header and no more: then the interpreter and targets that read
    /// bytes need not be told how to read it.
    pub bits: Option<IpBits>,
    /// What a comparison with it means.
    pub(crate) meaning: Meaning,
}

/// What a packet must have to have a field. A packet has all fields of a header or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Header {
    /// Every packet has it.
    Network,
    /// The header of the protocol that stands behind IP. Later fragments do not have it, nor do
    /// packets that end in the middle of it.
    Transport,
    /// The option that announces TCP's maximum segment size.
    Mss,
    /// An Ethernet header: packets that came in by an Ethernet interface have one.
    Ethernet,
    /// A VLAN tag.
    Vlan,
    /// A process of this machine that sent it.
    Owner,
}

/// How a field's values are written.
#[derive(Clone, Copy)]
pub enum Format {
    /// In decimal.
    Decimal,
    /// In hexadecimal.
    Hex,
    /// By name, or in decimal.
    Names(&'static [(&'static str, u64)]),
    /// As a sum of bits (`syn+ack`), or `none`.
    Bits(&'static [(&'static str, u64)]),
    /// Yes or no.
    Bool,
    /// As an Ethernet address.
    Mac,
    /// As interface names.
    Iface,
}

/// What a comparison of a field with some values means.
#[derive(Clone, Copy)]
pub(crate) enum Meaning {
    /// The field's value is among them.
    Value,
    /// What the function says: alternatives.
    Custom(fn(&Comparison) -> Result<Vec<Cube>, FieldError>),
}

/// Every stage sees the field.
pub(crate) const ALL_STAGES: &[Stage] = &Stage::ALL;
/// Stages after the flow lookup see it.
pub(crate) const TRACKED: &[Stage] = &[Stage::Steer, Stage::Filter, Stage::Egress];

/// A field; compares by name.
#[derive(Clone, Copy)]
pub struct Field(&'static FieldDef);

impl Field {
    /// The field that `def` describes.
    pub(crate) const fn new(def: &'static FieldDef) -> Self {
        Self(def)
    }

    /// What is known of it.
    pub fn def(self) -> &'static FieldDef {
        self.0
    }

    /// Its name in the language.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// The largest value it can have.
    pub fn largest(self) -> u64 {
        self.0.max
    }

    /// Every value it can have.
    pub fn all(self) -> IntervalSet<u64> {
        IntervalSet::range(0, self.largest())
    }
}

impl FieldDef {
    /// A field that packets of every protocol have, and that is compared by its value.
    pub(crate) const fn plain(
        name: &'static str,
        max: u64,
        format: Format,
        stages: &'static [Stage],
    ) -> Self {
        Self {
            name,
            max,
            format,
            protocols: &[],
            header: Header::Network,
            stages,
            bits: None,
            meaning: Meaning::Value,
        }
    }

    /// A field that is some bits of the IP header.
    pub(crate) const fn of_ip(name: &'static str, format: Format, bits: IpBits) -> Self {
        Self {
            bits: Some(bits),
            ..Self::plain(name, bits.largest(), format, ALL_STAGES)
        }
    }

    /// Every packet that can have the field.
    pub(crate) fn carrier(&self) -> Cube {
        let any = Cube::any();
        if self.protocols.is_empty() {
            return any;
        }
        any.with_proto(&self.protocols.iter().map(|p| (*p, *p)).collect())
    }
}

impl PartialEq for Field {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0) || self.0.name == other.0.name
    }
}

impl Eq for Field {}

impl PartialOrd for Field {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Field {
    fn cmp(&self, other: &Self) -> Ordering {
        // A field that meets itself is known without its name.
        if std::ptr::eq(self.0, other.0) {
            return Ordering::Equal;
        }
        self.0.name.cmp(other.0.name)
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

/// The families of an IP version number.
pub(crate) fn version(number: u64) -> Option<Families> {
    match number {
        4 => Some(Families::V4),
        6 => Some(Families::V6),
        _ => None,
    }
}
