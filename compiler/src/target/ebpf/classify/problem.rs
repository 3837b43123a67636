//! What is to be classified: fields, rows, and the answer of each row.
//!
//! For example, two fields, an IPv4 source and a port, and two rows: `10.0.0.0/8 × 22` answers 7,
//! everything answers 9. The point `(10.1.2.3, 22)` is in both rows and the first one counts: 7.

use crate::packet::{Region, Values};

/// What kind of number a field has: which tables are worth trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An IPv4 address, in host order.
    Address4,
    /// An IPv6 address, in host order.
    Address6,
    /// A port.
    Port,
    /// Any other number: a protocol, a mark, an interface index.
    Number,
}

/// A field of the points.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldSpec {
    /// What messages call it.
    pub name: String,
    /// How wide it is, from 1 to 128.
    pub bits: u8,
    /// What kind of number it has.
    pub kind: Kind,
}

impl FieldSpec {
    /// A field of that kind and as wide as the kind is.
    fn of(name: &str, bits: u8, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            bits,
            kind,
        }
    }

    /// An IPv4 address.
    pub fn address4(name: &str) -> Self {
        Self::of(name, 32, Kind::Address4)
    }

    /// An IPv6 address.
    pub fn address6(name: &str) -> Self {
        Self::of(name, 128, Kind::Address6)
    }

    /// A port.
    pub fn port(name: &str) -> Self {
        Self::of(name, 16, Kind::Port)
    }

    /// Any other number of so many bits.
    pub fn number(name: &str, bits: u8) -> Self {
        Self::of(name, bits, Kind::Number)
    }

    /// Whether its numbers are addresses.
    pub fn is_address(&self) -> bool {
        matches!(self.kind, Kind::Address4 | Kind::Address6)
    }

    /// The largest number it can have.
    pub fn max(&self) -> u128 {
        u128::MAX >> (128 - u32::from(self.bits.clamp(1, 128)))
    }

    /// Every number it can have.
    pub fn full(&self) -> Values {
        Values::Range(0, self.max())
    }
}

/// Points, and what the answer is for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The points: one set for each field.
    pub region: Region,
    /// The answer.
    pub rule: u32,
}

/// What is to be classified: the answer for a point is that of the first row that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    fields: Vec<FieldSpec>,
    rows: Vec<Row>,
    default: u32,
}

/// Why fields and rows make no problem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProblemError {
    /// A field has no bits, or more than the widest number has.
    #[error("field `{field}` has {bits} bits; there can be 1 to 128")]
    Bits {
        /// Which.
        field: String,
        /// How many.
        bits: u8,
    },
    /// A row has more or fewer sets than there are fields.
    #[error("row {row} has {found} sets for {expected} fields")]
    Dimensions {
        /// Which row, from 0.
        row: usize,
        /// How many it has.
        found: usize,
        /// How many fields there are.
        expected: usize,
    },
    /// A row asks for a number that the field is too narrow for.
    #[error("row {row} asks for {value} in field `{field}`, which is narrower")]
    Wide {
        /// Which row, from 0.
        row: usize,
        /// Which field.
        field: String,
        /// The number.
        value: u128,
    },
}

impl Problem {
    /// The rows in order of precedence; a point in none of them gets `default`.
    pub fn new(fields: Vec<FieldSpec>, rows: Vec<Row>, default: u32) -> Result<Self, ProblemError> {
        if let Some(field) = fields.iter().find(|f| !(1..=128).contains(&f.bits)) {
            return Err(ProblemError::Bits {
                field: field.name.clone(),
                bits: field.bits,
            });
        }
        for (number, row) in rows.iter().enumerate() {
            check(&fields, number, row)?;
        }
        Ok(Self {
            fields,
            rows,
            default,
        })
    }

    /// The fields.
    pub fn fields(&self) -> &[FieldSpec] {
        &self.fields
    }

    /// The rows, in order of precedence.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The answer where no row applies.
    pub fn default(&self) -> u32 {
        self.default
    }

    /// The same problem without its first rows.
    pub(super) fn behind(&self, count: usize) -> Self {
        Self {
            fields: self.fields.clone(),
            rows: self.rows.iter().skip(count).cloned().collect(),
            default: self.default,
        }
    }

    /// The same problem with the numbers of the rows, from 0, as their answers.
    #[must_use]
    pub fn numbered(&self) -> Self {
        let rows = (0..).zip(&self.rows).map(|(number, row)| Row {
            region: row.region.clone(),
            rule: number,
        });
        Self {
            rows: rows.collect(),
            ..self.clone()
        }
    }

    /// The answer for a point by definition, row by row: what every plan has to agree with.
    pub fn first_match(&self, point: &[u128]) -> u32 {
        let row = self.rows.iter().find(|row| row.region.contains(point));
        row.map_or(self.default, |row| row.rule)
    }
}

fn check(fields: &[FieldSpec], number: usize, row: &Row) -> Result<(), ProblemError> {
    let dims = row.region.dims();
    if dims.len() != fields.len() {
        return Err(ProblemError::Dimensions {
            row: number,
            found: dims.len(),
            expected: fields.len(),
        });
    }
    let wide = fields
        .iter()
        .zip(dims)
        .find(|(field, dim)| dim.bounds().1 > field.max());
    wide.map_or(Ok(()), |(field, dim)| {
        Err(ProblemError::Wide {
            row: number,
            field: field.name.clone(),
            value: dim.bounds().1,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(dims: Vec<Values>, rule: u32) -> Row {
        Row {
            region: Region::new(dims),
            rule,
        }
    }

    #[test]
    fn the_first_row_counts() {
        let fields = vec![FieldSpec::address4("source"), FieldSpec::port("port")];
        let ten = Values::Range(0x0a00_0000, 0x0aff_ffff);
        let rows = vec![
            row(vec![ten, Values::one(22)], 7),
            row(fields.iter().map(FieldSpec::full).collect(), 9),
        ];
        let problem = Problem::new(fields, rows, 0).unwrap();
        assert_eq!(problem.first_match(&[0x0a01_0203, 22]), 7);
        assert_eq!(problem.first_match(&[0x0a01_0203, 23]), 9);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let narrow = vec![FieldSpec::number("protocol", 8)];
        let rows = vec![row(vec![Values::one(256)], 1)];
        assert_eq!(
            Problem::new(narrow.clone(), rows, 0)
                .unwrap_err()
                .to_string(),
            "row 0 asks for 256 in field `protocol`, which is narrower"
        );
        assert_eq!(
            Problem::new(narrow, vec![row(Vec::new(), 1)], 0)
                .unwrap_err()
                .to_string(),
            "row 0 has 0 sets for 1 fields"
        );
        let none = vec![FieldSpec::number("mark", 0)];
        assert!(Problem::new(none, Vec::new(), 0).is_err());
    }
}
