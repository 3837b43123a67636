//! From the cubes of rules to rows of a classification problem.

use super::classify::{FieldSpec, Row};
use super::record::Item;
use crate::field::{DPORT, SPORT};
use crate::ir::{Cube, Rule};
use crate::packet::{AddrSet, Region, Values};

/// What the rules ask of packets of a family, in order.
pub(super) fn items<'r>(rules: impl IntoIterator<Item = &'r Rule>, v6: bool) -> Vec<Item> {
    let cubes = rules.into_iter().flat_map(|rule| &rule.cubes);
    let mut items: Vec<Item> = cubes
        .filter(|cube| is_of(cube, v6))
        .flat_map(|cube| asked(cube, v6))
        .collect();
    items.sort_unstable();
    items.dedup();
    items
}

fn asked(cube: &Cube, v6: bool) -> Vec<Item> {
    let mut items: Vec<Item> = cube.fields.keys().copied().map(Item::Field).collect();
    let all = Cube::any();
    let part = |set: &AddrSet| {
        if v6 {
            set.v6.is_full()
        } else {
            set.v4.is_full()
        }
    };
    for (item, full) in [
        (Item::Source, part(&cube.saddr)),
        (Item::Destination, part(&cube.daddr) && part(&cube.original)),
        (Item::Protocol, all.proto.is_subset(&cube.proto)),
    ] {
        if !full {
            items.push(item);
        }
    }
    items
}

fn is_of(cube: &Cube, v6: bool) -> bool {
    if v6 {
        cube.families.v6
    } else {
        cube.families.v4
    }
}

/// The fields of a problem about these items.
pub(super) fn fields(items: &[Item], v6: bool) -> Vec<FieldSpec> {
    let field = |item: &Item| {
        let bits = item.bits(v6);
        match item {
            Item::Source if v6 => FieldSpec::address6("source"),
            Item::Source => FieldSpec::address4("source"),
            Item::Destination if v6 => FieldSpec::address6("destination"),
            Item::Destination => FieldSpec::address4("destination"),
            Item::Protocol => FieldSpec::number("protocol", bits),
            Item::Field(field) if [SPORT, DPORT].contains(field) => FieldSpec {
                bits,
                ..FieldSpec::port(field.name())
            },
            Item::Field(field) => FieldSpec::number(field.name(), bits),
        }
    };
    items.iter().map(field).collect()
}

/// The rows of a rule for packets of a family.
pub(super) fn all(rule: &Rule, items: &[Item], v6: bool, answer: u32) -> impl Iterator<Item = Row> {
    let cubes = rule.cubes.iter();
    cubes.filter_map(move |cube| row(cube, items, v6, answer))
}

/// The row of a cube for packets of a family; `None` when none of them is in it.
pub(super) fn row(cube: &Cube, items: &[Item], v6: bool, answer: u32) -> Option<Row> {
    if !is_of(cube, v6) {
        return None;
    }
    let address = |set: &AddrSet| {
        if v6 {
            Values::of(&set.v6)
        } else {
            Values::of(&set.v4)
        }
    };
    let dim = |item: &Item| match item {
        Item::Source => address(&cube.saddr),
        Item::Destination => address(&cube.daddr)?.intersection(&address(&cube.original)?),
        Item::Protocol => Values::of(&cube.proto),
        Item::Field(field) => match cube.fields.get(field) {
            Some(set) => Values::of(set),
            None => Some(Values::Range(
                0,
                u128::MAX >> (128 - u32::from(item.bits(v6))),
            )),
        },
    };
    let dims: Option<Vec<Values>> = items.iter().map(dim).collect();
    Some(Row {
        region: Region::new(dims?),
        rule: answer,
    })
}
