//! Protocols, and the ports that some of them have.

use super::{ALL_STAGES, Comparison, Field, FieldDef, FieldError, Format, Header, Meaning};
use crate::ir::Cube;
use crate::packet::IntervalSet;

/// ICMP for IPv4.
pub const ICMP: u64 = 1;
/// TCP.
pub const TCP: u64 = 6;
/// UDP.
pub const UDP: u64 = 17;
/// ICMP for IPv6.
pub const ICMPV6: u64 = 58;

/// Protocol numbers by name (IANA). `icmp` here is the number 1; the service `icmp` means ICMP of
/// both families.
pub const PROTOCOLS: &[(&str, u64)] = &[
    ("icmp", ICMP),
    ("igmp", 2),
    ("tcp", TCP),
    ("udp", UDP),
    ("dccp", 33),
    ("ipv6", 41),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", ICMPV6),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("sctp", 132),
    ("udplite", 136),
];

/// Protocols whose headers begin with two ports.
const WITH_PORTS: &[u64] = &[TCP, UDP, 33, 132, 136];

/// The number of a protocol by name.
pub fn protocol_number(name: &str) -> Option<u64> {
    PROTOCOLS
        .iter()
        .find(|(n, _)| *n == name)
        .map(|(_, number)| *number)
}

const fn port(name: &'static str) -> FieldDef {
    FieldDef {
        protocols: WITH_PORTS,
        header: Header::Transport,
        ..FieldDef::plain(name, 0xffff, Format::Decimal, ALL_STAGES)
    }
}

const fn port_of(
    name: &'static str,
    meaning: fn(&Comparison) -> Result<Vec<Cube>, FieldError>,
) -> FieldDef {
    FieldDef {
        meaning: Meaning::Custom(meaning),
        ..port(name)
    }
}

static SOURCE: FieldDef = port("sport");
static DEST: FieldDef = port("dport");

/// The source port, of any protocol that has one.
pub const SPORT: Field = Field::new(&SOURCE);
/// The destination port, of any protocol that has one.
pub const DPORT: Field = Field::new(&DEST);

/// `tcp.sport`
pub(crate) static TCP_SPORT: FieldDef = port_of("tcp.sport", |c| on(c, TCP, SPORT));
/// `tcp.dport`
pub(crate) static TCP_DPORT: FieldDef = port_of("tcp.dport", |c| on(c, TCP, DPORT));
/// `udp.sport`
pub(crate) static UDP_SPORT: FieldDef = port_of("udp.sport", |c| on(c, UDP, SPORT));
/// `udp.dport`
pub(crate) static UDP_DPORT: FieldDef = port_of("udp.dport", |c| on(c, UDP, DPORT));

fn on(comparison: &Comparison, protocol: u64, field: Field) -> Result<Vec<Cube>, FieldError> {
    let set = comparison.set(Format::Decimal)?;
    Ok(vec![
        Cube::any()
            .with_proto(&IntervalSet::one(protocol))
            .with_field(field, &set),
    ])
}
