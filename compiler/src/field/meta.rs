//! What the kernel knows about a packet beside its bytes.

use polc_grammar::ast::CmpOp;

use super::{ALL_STAGES, Comparison, Field, FieldDef, FieldError, Format, Header, Meaning};
use crate::ir::{Cube, Side, Stage};
use crate::packet::{IfaceSet, Pattern};

const fn field(name: &'static str, max: u64, format: Format) -> FieldDef {
    FieldDef::plain(name, max, format, ALL_STAGES)
}

const fn owner(name: &'static str) -> FieldDef {
    FieldDef {
        header: Header::Owner,
        ..field(name, 0xffff_ffff, Format::Decimal)
    }
}

/// `meta.mark`: the packet's mark as it enters the stage.
pub(crate) static MARK: FieldDef = field("meta.mark", 0xffff_ffff, Format::Hex);
/// `meta.length`: octets of the packet from the IP header on, as received.
pub(crate) static LENGTH: FieldDef = field("meta.length", 0xffff_ffff, Format::Decimal);
/// `meta.pkttype`: how the frame was addressed.
pub(crate) static PKTTYPE: FieldDef = field(
    "meta.pkttype",
    3,
    Format::Names(&[
        ("host", 0),
        ("broadcast", 1),
        ("multicast", 2),
        ("other", 3),
    ]),
);
/// `meta.iif`: the ingress interface. Becomes the cube's ingress side.
pub(crate) static IIF: FieldDef = FieldDef {
    meaning: Meaning::Custom(by_ingress),
    ..field("meta.iif", 1, Format::Iface)
};
/// `meta.oif`: the egress interface. Becomes the cube's egress side.
pub(crate) static OIF: FieldDef = FieldDef {
    meaning: Meaning::Custom(by_egress),
    stages: &[Stage::Steer, Stage::Filter, Stage::Egress],
    ..field("meta.oif", 1, Format::Iface)
};

static UID_DEF: FieldDef = owner("uid");
static GID_DEF: FieldDef = owner("gid");

/// [`Field`] of `meta.mark`.
pub const META_MARK: Field = Field::new(&MARK);
/// [`Field`] of `meta.length`.
pub const META_LENGTH: Field = Field::new(&LENGTH);
/// [`Field`] of `meta.pkttype`.
pub const META_PKTTYPE: Field = Field::new(&PKTTYPE);
/// The number of the user whose process sent the packet (`by uid`).
pub const UID: Field = Field::new(&UID_DEF);
/// The number of the group whose process sent the packet (`by gid`).
pub const GID: Field = Field::new(&GID_DEF);

fn by_ingress(comparison: &Comparison) -> Result<Vec<Cube>, FieldError> {
    let ifaces = ifaces(comparison)?;
    Ok(vec![Cube {
        ingress: Side::ifaces(ifaces),
        ..Cube::any()
    }])
}

fn by_egress(comparison: &Comparison) -> Result<Vec<Cube>, FieldError> {
    let ifaces = ifaces(comparison)?;
    Ok(vec![Cube {
        egress: Side::ifaces(ifaces),
        ..Cube::any()
    }])
}

fn ifaces(comparison: &Comparison) -> Result<IfaceSet, FieldError> {
    let mut values = comparison.values.iter();
    if let Some(index) = values.position(|v| Pattern::problem(v).is_some()) {
        return Err(comparison.bad_value(index, Format::Iface));
    }
    let patterns = comparison.values.iter().map(|v| Pattern::parse(v));
    match comparison.op {
        CmpOp::Eq | CmpOp::In => Ok(IfaceSet::of(patterns)),
        CmpOp::Ne => Ok(IfaceSet::not(patterns)),
        _ => Err(comparison.bad_operator(Format::Iface)),
    }
}
