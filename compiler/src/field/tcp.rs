//! Fields of the TCP header.

use super::{ALL_STAGES, Field, FieldDef, Format, Header, TCP};

/// `tcp.flags`: `==` compares all eight, `has` asks for some.
pub(crate) static FLAGS: FieldDef = FieldDef {
    protocols: &[TCP],
    header: Header::Transport,
    ..FieldDef::plain("tcp.flags", 0xff, Format::Bits(FLAG_NAMES), ALL_STAGES)
};

/// `tcp.mss`: the maximum-segment-size option; packets without it do not match.
pub(crate) static MSS: FieldDef = FieldDef {
    protocols: &[TCP],
    header: Header::Mss,
    ..FieldDef::plain("tcp.mss", 0xffff, Format::Decimal, ALL_STAGES)
};

/// [`Field`] of `tcp.flags`.
pub const TCP_FLAGS: Field = Field::new(&FLAGS);
/// [`Field`] of `tcp.mss`.
pub const TCP_MSS: Field = Field::new(&MSS);

const FLAG_NAMES: &[(&str, u64)] = &[
    ("fin", 0x01),
    ("syn", 0x02),
    ("rst", 0x04),
    ("psh", 0x08),
    ("ack", 0x10),
    ("urg", 0x20),
    ("ece", 0x40),
    ("cwr", 0x80),
];
