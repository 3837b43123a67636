//! Fields of the IP header, of both versions.

use polc_grammar::ast::CmpOp;

use super::transport::PROTOCOLS;
use super::{
    ALL_STAGES, Comparison, Field, FieldDef, FieldError, Format, IpBits, Meaning, version,
};
use crate::ir::Cube;
use crate::packet::IntervalSet;

/// `ip.version`: 4 or 6. Becomes the cube's families.
pub(crate) static VERSION: FieldDef = FieldDef {
    meaning: Meaning::Custom(by_version),
    ..FieldDef::plain("ip.version", 15, Format::Decimal, ALL_STAGES)
};

/// `ip.protocol`: the IPv4 protocol, or the IPv6 next header after all extension headers.
/// Becomes the cube's protocols.
pub(crate) static PROTOCOL: FieldDef = FieldDef {
    meaning: Meaning::Custom(by_protocol),
    ..FieldDef::plain("ip.protocol", 0xff, Format::Names(PROTOCOLS), ALL_STAGES)
};

/// `ip.length`: octets of the whole packet, header included, as the header states them.
pub(crate) static LENGTH: FieldDef =
    FieldDef::plain("ip.length", 0xffff, Format::Decimal, ALL_STAGES);

/// `ip.ttl`: time to live, or hop limit.
pub(crate) static TTL: FieldDef = FieldDef::of_ip(
    "ip.ttl",
    Format::Decimal,
    IpBits {
        count: 8,
        v4: 64,
        v6: 56,
    },
);

/// `ip.dscp`: the differentiated-services code point (RFC 2474).
pub(crate) static DSCP: FieldDef = FieldDef::of_ip(
    "ip.dscp",
    Format::Names(DSCP_NAMES),
    IpBits {
        count: 6,
        v4: 8,
        v6: 4,
    },
);

/// `ip.fragment`: whether the packet is a fragment, the first included.
pub(crate) static FRAGMENT: FieldDef = FieldDef::plain("ip.fragment", 1, Format::Bool, ALL_STAGES);

/// [`Field`] of `ip.length`.
pub const IP_LENGTH: Field = Field::new(&LENGTH);
/// [`Field`] of `ip.ttl`.
pub const IP_TTL: Field = Field::new(&TTL);
/// The values of [`IP_TTL`] with which packets come that have one of `seen` once they are sent on: one
/// more, and of 0 also 0.
pub(crate) fn ttl_before_forwarding(seen: &IntervalSet<u64>) -> IntervalSet<u64> {
    let more = |n: u64| n.saturating_add(1);
    let ranges = seen.ranges().iter().map(|(first, last)| match *first {
        0 => (0, more(*last)),
        first => (more(first), more(*last)),
    });
    let before: IntervalSet<u64> = ranges.collect();
    before.intersection(&IP_TTL.all())
}

/// [`Field`] of `ip.dscp`.
pub const IP_DSCP: Field = Field::new(&DSCP);
/// [`Field`] of `ip.fragment`.
pub const IP_FRAGMENT: Field = Field::new(&FRAGMENT);

/// Code points by name (RFC 2474, 2597, 3246, 8622).
const DSCP_NAMES: &[(&str, u64)] = &[
    ("cs0", 0),
    ("cs1", 8),
    ("cs2", 16),
    ("cs3", 24),
    ("cs4", 32),
    ("cs5", 40),
    ("cs6", 48),
    ("cs7", 56),
    ("le", 1),
    ("af11", 10),
    ("af12", 12),
    ("af13", 14),
    ("af21", 18),
    ("af22", 20),
    ("af23", 22),
    ("af31", 26),
    ("af32", 28),
    ("af33", 30),
    ("af41", 34),
    ("af42", 36),
    ("af43", 38),
    ("ef", 46),
];

fn by_version(comparison: &Comparison) -> Result<Vec<Cube>, FieldError> {
    if !matches!(comparison.op, CmpOp::Eq | CmpOp::Ne | CmpOp::In) {
        return Err(comparison.bad_operator(Format::Names(&[])));
    }
    let set = comparison.set(Format::Decimal)?;
    let known: IntervalSet<u64> = [(4, 4), (6, 6)].into_iter().collect();
    if comparison.op != CmpOp::Ne && !set.is_subset(&known) {
        return Err(comparison.bad_value(0, Format::Decimal));
    }
    let versions = [4, 6]
        .into_iter()
        .filter(|v| set.contains(*v))
        .filter_map(version);
    Ok(versions
        .map(|families| Cube::any().with_families(families))
        .collect())
}

fn by_protocol(comparison: &Comparison) -> Result<Vec<Cube>, FieldError> {
    let set = comparison.set(Format::Names(PROTOCOLS))?;
    Ok(vec![Cube::any().with_proto(&set)])
}
