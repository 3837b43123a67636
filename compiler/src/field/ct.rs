//! What connection tracking knows about a packet's flow.

use super::{Field, FieldDef, Format, TRACKED};

const fn field(name: &'static str, max: u64, format: Format) -> FieldDef {
    FieldDef::plain(name, max, format, TRACKED)
}

/// `ct.state`: what the flow lookup said. The numbers are the language's own.
pub(crate) static STATE: FieldDef = field(
    "ct.state",
    3,
    Format::Names(&[
        ("new", 0),
        ("established", 1),
        ("related", 2),
        ("untracked", 3),
    ]),
);
/// `ct.mark`: the flow's mark.
pub(crate) static MARK: FieldDef = field("ct.mark", 0xffff_ffff, Format::Hex);
/// `ct.direction`: whether the packet goes the way of the flow's first one.
pub(crate) static DIRECTION: FieldDef = field(
    "ct.direction",
    1,
    Format::Names(&[("original", 0), ("reply", 1)]),
);

/// [`Field`] of `ct.state`.
pub const CT_STATE: Field = Field::new(&STATE);
/// [`Field`] of `ct.mark`.
pub const CT_MARK: Field = Field::new(&MARK);
/// [`Field`] of `ct.direction`.
pub const CT_DIRECTION: Field = Field::new(&DIRECTION);
