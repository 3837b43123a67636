//! The time at which a packet is judged, in UTC.

use super::{ALL_STAGES, Field, FieldDef, Format};

/// `time.hour`: 0–23.
pub(crate) static HOUR: FieldDef = FieldDef::plain("time.hour", 23, Format::Decimal, ALL_STAGES);

/// `time.day`: the day of the week, Sunday is 0.
pub(crate) static DAY: FieldDef = FieldDef::plain(
    "time.day",
    6,
    Format::Names(&[
        ("sunday", 0),
        ("monday", 1),
        ("tuesday", 2),
        ("wednesday", 3),
        ("thursday", 4),
        ("friday", 5),
        ("saturday", 6),
    ]),
    ALL_STAGES,
);

/// [`Field`] of `time.hour`.
pub const TIME_HOUR: Field = Field::new(&HOUR);
/// [`Field`] of `time.day`.
pub const TIME_DAY: Field = Field::new(&DAY);
