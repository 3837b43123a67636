//! ICMP of both families.
//!
//! A type's name means the number of the packet's family: `echo-request` is 8 on IPv4 and 128 on
//! IPv6. A number means itself on both.

use super::{
    ALL_STAGES, Comparison, Field, FieldDef, FieldError, Format, Header, ICMP, ICMPV6, Meaning,
};
use crate::ir::Cube;
use crate::packet::{Families, IntervalSet};
use polc_grammar::ast::CmpOp;

/// `icmp.type`
pub(crate) static TYPE: FieldDef = FieldDef {
    protocols: &[ICMP, ICMPV6],
    header: Header::Transport,
    meaning: Meaning::Custom(by_type),
    ..FieldDef::plain("icmp.type", 0xff, Format::Decimal, ALL_STAGES)
};

/// `icmp.code`
pub(crate) static CODE: FieldDef = FieldDef {
    protocols: &[ICMP, ICMPV6],
    header: Header::Transport,
    meaning: Meaning::Custom(by_code),
    ..FieldDef::plain("icmp.code", 0xff, Format::Decimal, ALL_STAGES)
};

/// [`Field`] of `icmp.type`.
pub const ICMP_TYPE: Field = Field::new(&TYPE);
/// [`Field`] of `icmp.code`.
pub const ICMP_CODE: Field = Field::new(&CODE);

/// Types by name: (name, IPv4 number, IPv6 number), from the IANA registers.
const TYPES: &[(&str, Option<u64>, Option<u64>)] = &[
    ("echo-request", Some(8), Some(128)),
    ("echo-reply", Some(0), Some(129)),
    ("destination-unreachable", Some(3), Some(1)),
    ("packet-too-big", None, Some(2)),
    ("source-quench", Some(4), None),
    ("redirect", Some(5), Some(137)),
    ("router-advertisement", Some(9), Some(134)),
    ("router-solicitation", Some(10), Some(133)),
    ("time-exceeded", Some(11), Some(3)),
    ("parameter-problem", Some(12), Some(4)),
    ("timestamp-request", Some(13), None),
    ("timestamp-reply", Some(14), None),
    ("neighbour-solicitation", None, Some(135)),
    ("neighbour-advertisement", None, Some(136)),
    ("mld-query", None, Some(130)),
    ("mld-report", None, Some(131)),
    ("mld-done", None, Some(132)),
    ("mld2-report", None, Some(143)),
];

/// The names of all types.
pub fn type_names() -> impl Iterator<Item = &'static str> {
    TYPES.iter().map(|(name, _, _)| *name)
}

/// The numbers of a type on IPv4 and on IPv6; `None` when `text` is neither a known name nor a
/// number.
pub fn type_numbers(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    if let Some((_, v4, v6)) = TYPES.iter().find(|(name, _, _)| *name == text) {
        return Some((*v4, *v6));
    }
    text.parse::<u8>()
        .ok()
        .map(|n| (Some(n.into()), Some(n.into())))
}

fn by_type(comparison: &Comparison) -> Result<Vec<Cube>, FieldError> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for (index, value) in comparison.values.iter().enumerate() {
        let Some((four, six)) = type_numbers(value) else {
            let FieldError::Value {
                index,
                value,
                field,
                ..
            } = comparison.bad_value(index, Format::Decimal)
            else {
                return Err(comparison.bad_operator(Format::Names(&[])));
            };
            let names: Vec<String> = TYPES.iter().map(|(n, _, _)| format!("`{n}`")).collect();
            let expected = format!("a number, or one of {}", names.join(", "));
            return Err(FieldError::Value {
                index,
                value,
                field,
                expected,
            });
        };
        v4.extend(four.map(|n| (n, n)));
        v6.extend(six.map(|n| (n, n)));
    }
    let pick = |ranges| {
        let set = IntervalSet::from_ranges(ranges);
        match comparison.op {
            CmpOp::Eq | CmpOp::In => Ok(set),
            CmpOp::Ne => Ok(set.complement_below(255)),
            _ => Err(comparison.bad_operator(Format::Names(&[]))),
        }
    };
    let (v4, v6) = (pick(v4)?, pick(v6)?);
    Ok(both(ICMP_TYPE, &v4, &v6))
}

fn by_code(comparison: &Comparison) -> Result<Vec<Cube>, FieldError> {
    let set = comparison.set(Format::Decimal)?;
    Ok(both(ICMP_CODE, &set, &set))
}

/// One cube per family with values left.
fn both(field: Field, v4: &IntervalSet<u64>, v6: &IntervalSet<u64>) -> Vec<Cube> {
    [(Families::V4, ICMP, v4), (Families::V6, ICMPV6, v6)]
        .into_iter()
        .filter(|(_, _, set)| !set.is_empty())
        .map(|(families, protocol, set)| {
            Cube::any()
                .with_families(families)
                .with_proto(&IntervalSet::one(protocol))
                .with_field(field, set)
        })
        .collect()
}
