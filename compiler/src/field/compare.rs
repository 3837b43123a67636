//! From a comparison to cubes.

use polc_grammar::ast::CmpOp;

use super::{FIELDS, Field, FieldDef, Format, Meaning};
use crate::ir::Cube;
use crate::packet::IntervalSet;

/// A comparison as written, its values read as far as the field's format allows.
pub struct Comparison<'a> {
    /// The field.
    pub def: &'static FieldDef,
    /// The operator; `not` has been moved into it.
    pub op: CmpOp,
    /// The values as written.
    pub values: Vec<&'a str>,
}

/// Why a comparison means nothing. The text is a diagnostic's title.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The value at this index is not one of the field's.
    #[error("`{value}` is not a value of `{field}`")]
    Value {
        /// Which of the values.
        index: usize,
        /// What was written.
        value: String,
        /// The field.
        field: &'static str,
        /// What the field's values look like.
        expected: String,
    },
    /// The operator does not fit the field.
    #[error("`{field}` cannot be compared with `{op}`")]
    Operator {
        /// The field.
        field: &'static str,
        /// The operator.
        op: &'static str,
        /// What it can be compared with.
        expected: String,
    },
}

/// The field of that name.
pub fn find(name: &str) -> Option<&'static FieldDef> {
    FIELDS.iter().copied().find(|f| f.name == name)
}

/// The names of all fields.
pub fn names() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().map(|f| f.name)
}

/// What `comparison` asks for, as alternatives.
pub fn lower(comparison: &Comparison) -> Result<Vec<Cube>, FieldError> {
    match comparison.def.meaning {
        Meaning::Custom(function) => function(comparison),
        Meaning::Value => {
            let set = comparison.set(comparison.def.format)?;
            let field = Field::new(comparison.def);
            Ok(vec![comparison.def.carrier().with_field(field, &set)])
        }
    }
}

impl Comparison<'_> {
    /// The set of values that satisfy the comparison.
    pub(crate) fn set(&self, format: Format) -> Result<IntervalSet<u64>, FieldError> {
        let max = self.def.max;
        if self.op == CmpOp::Has {
            return self.bits_set(format);
        }
        let mut ranges = Vec::with_capacity(self.values.len());
        for (index, value) in self.values.iter().enumerate() {
            let range = parse(value, format)
                .filter(|(first, last)| first <= last && *last <= max)
                .ok_or_else(|| self.bad_value(index, format))?;
            ranges.push(range);
        }
        let ordered = matches!(format, Format::Decimal | Format::Hex);
        let bound = match (self.op, ranges.as_slice()) {
            (CmpOp::Lt | CmpOp::Le | CmpOp::Gt | CmpOp::Ge, [(first, last)])
                if ordered && first == last =>
            {
                Some(*first)
            }
            _ => None,
        };
        let set = IntervalSet::from_ranges(ranges);
        Ok(match (self.op, bound) {
            (CmpOp::Eq | CmpOp::In, _) => set,
            (CmpOp::Ne, _) => set.complement_below(max),
            (CmpOp::Lt, Some(n)) => {
                IntervalSet::range(0, max).difference(&IntervalSet::range(n, max))
            }
            (CmpOp::Le, Some(n)) => IntervalSet::range(0, n),
            (CmpOp::Gt, Some(n)) => {
                IntervalSet::range(0, max).difference(&IntervalSet::range(0, n))
            }
            (CmpOp::Ge, Some(n)) => IntervalSet::range(n, max),
            _ => return Err(self.bad_operator(format)),
        })
    }

    /// Values in which every bit named is set.
    fn bits_set(&self, format: Format) -> Result<IntervalSet<u64>, FieldError> {
        let (Format::Bits(_), [value]) = (format, self.values.as_slice()) else {
            return Err(self.bad_operator(format));
        };
        let bits = parse(value, format)
            .filter(|(bits, _)| *bits <= self.def.max && *bits != 0)
            .ok_or_else(|| self.bad_value(0, format))?
            .0;
        Ok((0..=self.def.max)
            .filter(|v| v & bits == bits)
            .map(|v| (v, v))
            .collect())
    }

    /// The error for the value at `index`.
    pub(crate) fn bad_value(&self, index: usize, format: Format) -> FieldError {
        FieldError::Value {
            index,
            value: self
                .values
                .get(index)
                .copied()
                .unwrap_or_default()
                .to_owned(),
            field: self.def.name,
            expected: describe(format, self.def.max),
        }
    }

    /// The error for an operator that `format` does not have.
    pub(crate) fn bad_operator(&self, format: Format) -> FieldError {
        let expected = match format {
            Format::Decimal | Format::Hex => {
                "`==`, `!=`, `<`, `<=`, `>`, `>=` with one number, or `in { … }`"
            }
            Format::Bits(_) => {
                "`==` (exactly these bits), `!=`, `has` (at least these bits), or `in { … }`"
            }
            Format::Bool => "nothing: it stands alone",
            Format::Names(_) | Format::Mac | Format::Iface => "`==`, `!=` or `in { … }`",
        };
        FieldError::Operator {
            field: self.def.name,
            op: symbol(self.op),
            expected: expected.to_owned(),
        }
    }
}

fn symbol(op: CmpOp) -> &'static str {
    match op {
        CmpOp::Eq => "==",
        CmpOp::Ne => "!=",
        CmpOp::Lt => "<",
        CmpOp::Le => "<=",
        CmpOp::Gt => ">",
        CmpOp::Ge => ">=",
        CmpOp::In => "in",
        CmpOp::Has => "has",
    }
}

/// Reads a value, or a range of values, of a format.
pub(crate) fn parse(text: &str, format: Format) -> Option<(u64, u64)> {
    let one = |n: u64| Some((n, n));
    match format {
        Format::Decimal | Format::Hex => number_range(text),
        Format::Names(names) => match names.iter().find(|(name, _)| *name == text) {
            Some((_, value)) => one(*value),
            None => number_range(text),
        },
        Format::Bits(names) => bits(text, names).and_then(one),
        Format::Bool => match text {
            "true" | "yes" => one(1),
            "false" | "no" => one(0),
            _ => None,
        },
        Format::Mac => mac(text).and_then(one),
        Format::Iface => None,
    }
}

/// `80`, `0x50`, `4k` or `80-90`.
fn number_range(text: &str) -> Option<(u64, u64)> {
    match text.split_once('-') {
        Some((first, last)) => Some((number(first)?, number(last)?)),
        None => number(text).map(|n| (n, n)),
    }
}

fn number(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok();
    }
    let (digits, factor) = match text.as_bytes().last()? {
        b'k' => (text.strip_suffix('k')?, 1_000),
        b'M' => (text.strip_suffix('M')?, 1_000_000),
        b'G' => (text.strip_suffix('G')?, 1_000_000_000),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

fn bits(text: &str, names: &[(&str, u64)]) -> Option<u64> {
    if text == "none" {
        return Some(0);
    }
    if let Some(n) = number(text) {
        return Some(n);
    }
    text.split('+').try_fold(0, |sum, word| {
        names
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, bit)| sum | bit)
    })
}

fn mac(text: &str) -> Option<u64> {
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() != 6 || parts.iter().any(|p| p.len() != 2) {
        return None;
    }
    parts.iter().try_fold(0, |n, p| {
        u64::from_str_radix(p, 16).ok().map(|byte| n << 8 | byte)
    })
}

/// What values of a format look like.
fn describe(format: Format, max: u64) -> String {
    let list = |names: &[(&str, u64)]| {
        names
            .iter()
            .map(|(n, _)| format!("`{n}`"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    match format {
        Format::Decimal => format!("a number from 0 to {max}, or a range such as `1-9`"),
        Format::Hex => format!("a number from 0 to {max:#x}"),
        Format::Names(names) => format!("a number, or one of {}", list(names)),
        Format::Bits(names) => format!("`none`, or bits joined by `+`: {}", list(names)),
        Format::Bool => "`true` or `false`".to_owned(),
        Format::Mac => "an Ethernet address such as `02:00:00:00:00:01`".to_owned(),
        Format::Iface => "an interface name or a pattern such as `wg*`".to_owned(),
    }
}
