//! Fields of the Ethernet header and its VLAN tag.

use super::{ALL_STAGES, Field, FieldDef, Format, Header};

const fn field(name: &'static str, max: u64, format: Format) -> FieldDef {
    FieldDef {
        header: Header::Ethernet,
        ..FieldDef::plain(name, max, format, ALL_STAGES)
    }
}

const fn tag(name: &'static str, max: u64) -> FieldDef {
    FieldDef {
        header: Header::Vlan,
        ..field(name, max, Format::Decimal)
    }
}

/// `eth.saddr`
pub(crate) static SADDR: FieldDef = field("eth.saddr", 0xffff_ffff_ffff, Format::Mac);
/// `eth.daddr`
pub(crate) static DADDR: FieldDef = field("eth.daddr", 0xffff_ffff_ffff, Format::Mac);
/// `eth.type`: the type after any VLAN tags.
pub(crate) static TYPE: FieldDef = field(
    "eth.type",
    0xffff,
    Format::Names(&[("ip", 0x0800), ("arp", 0x0806), ("ip6", 0x86dd)]),
);
/// `vlan.id`: the outer tag's identifier.
pub(crate) static ID: FieldDef = tag("vlan.id", 0xfff);
/// `vlan.pcp`: the outer tag's priority.
pub(crate) static PCP: FieldDef = tag("vlan.pcp", 7);

/// [`Field`] of `eth.saddr`.
pub const ETH_SADDR: Field = Field::new(&SADDR);
/// [`Field`] of `eth.daddr`.
pub const ETH_DADDR: Field = Field::new(&DADDR);
/// [`Field`] of `eth.type`.
pub const ETH_TYPE: Field = Field::new(&TYPE);
/// [`Field`] of `vlan.id`.
pub const VLAN_ID: Field = Field::new(&ID);
/// [`Field`] of `vlan.pcp`.
pub const VLAN_PCP: Field = Field::new(&PCP);
