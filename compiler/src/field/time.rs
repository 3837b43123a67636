//! The time at which a packet is judged, in UTC.

use super::{ALL_STAGES, Field, FieldDef, Format, Header, Meaning};

/// `time.hour`: 0–23.
pub(crate) static HOUR: FieldDef = FieldDef {
    name: "time.hour",
    max: 23,
    format: Format::Decimal,
    protocols: &[],
    header: Header::Network,
    stages: ALL_STAGES,
    meaning: Meaning::Value,
};

/// `time.day`: the day of the week, Sunday is 0.
pub(crate) static DAY: FieldDef = FieldDef {
    name: "time.day",
    max: 6,
    format: Format::Names(&[
        ("sunday", 0),
        ("monday", 1),
        ("tuesday", 2),
        ("wednesday", 3),
        ("thursday", 4),
        ("friday", 5),
        ("saturday", 6),
    ]),
    protocols: &[],
    header: Header::Network,
    stages: ALL_STAGES,
    meaning: Meaning::Value,
};

/// [`Field`] of `time.hour`.
pub const TIME_HOUR: Field = Field::new(&HOUR);
/// [`Field`] of `time.day`.
pub const TIME_DAY: Field = Field::new(&DAY);
