//! From the cubes of rules to rows of a classification problem.

use super::classify::{FieldSpec, Row};
use super::iface::Classes;
use super::record::Item;
use super::sender::Senders;
use super::sets::Known;
use crate::field::{DPORT, SPORT};
use crate::ir::{Atom, Cube};
use crate::packet::{AddrSet, Region, Values};

/// What cubes ask of packets of a family, in order.
pub(super) fn items<'c>(
    cubes: impl IntoIterator<Item = &'c Cube>,
    v6: bool,
    sets: &Known,
    senders: &Senders,
    opened: bool,
) -> Vec<Item> {
    let cubes = cubes.into_iter();
    let mut items: Vec<Item> = cubes
        .filter(|cube| is_of(cube, v6))
        .flat_map(|cube| asked(cube, v6, (sets, senders), opened))
        .collect();
    items.sort_unstable();
    items.dedup();
    items
}

fn asked(cube: &Cube, v6: bool, (sets, senders): (&Known, &Senders), opened: bool) -> Vec<Item> {
    let mut items: Vec<Item> = cube.fields.keys().copied().map(Item::Field).collect();
    items.extend(cube.atoms.keys().filter_map(|atom| member(atom, senders)));
    let all = Cube::any();
    let part = |set: &AddrSet| {
        if v6 {
            set.v6.is_full()
        } else {
            set.v4.is_full()
        }
    };
    for (item, full) in [
        (Item::Ingress, cube.ingress.ifaces.is_full()),
        (Item::Away, cube.egress.is_any()),
        (Item::Protocol, all.proto.is_subset(&cube.proto)),
    ] {
        if !full {
            items.push(item);
        }
    }
    for (item, dest, full) in [
        (Item::Source, false, part(&cube.saddr)),
        (
            Item::Destination,
            true,
            part(&cube.daddr) && (opened || part(&cube.original)),
        ),
    ] {
        match sets.find(cube, dest, v6) {
            _ if full => {}
            Some((set, _)) => items.push(Item::Inside { set, dest }),
            None => items.push(item),
        }
    }
    if opened && !part(&cube.original) {
        items.push(Item::Opened);
    }
    items
}

/// The item that a question is about.
fn member(atom: &Atom, senders: &Senders) -> Option<Item> {
    match atom {
        Atom::Dynamic { set, dest } => Some(Item::Member {
            set: *set,
            dest: *dest,
        }),
        Atom::Principal(kind, name) => senders.item(*kind, name),
    }
}

/// Every number that an item can have.
pub(super) fn every(item: Item, v6: bool) -> Values {
    Values::Range(0, u128::MAX >> (128 - u32::from(item.bits(v6))))
}

/// Whether packets of a family can be in a cube.
pub(super) fn is_of(cube: &Cube, v6: bool) -> bool {
    if v6 {
        cube.families.v6
    } else {
        cube.families.v4
    }
}

/// How cubes become rows.
pub(super) struct Rows<'r> {
    /// What there is a dimension for.
    pub(super) items: &'r [Item],
    /// The family of the packets.
    pub(super) v6: bool,
    /// The classes of interfaces that packets come in by.
    pub(super) classes: &'r Classes,
    /// Whether the flows of packets can have been opened to another destination than theirs.
    pub(super) opened: bool,
    /// The sets that have tables of their own.
    pub(super) sets: &'r Known,
    /// The senders that are known by name.
    pub(super) senders: &'r Senders,
}

impl Rows<'_> {
    /// The fields of a problem.
    pub(super) fn fields(&self) -> Vec<FieldSpec> {
        let field = |item: &Item| {
            let bits = item.bits(self.v6);
            match item {
                Item::Ingress => FieldSpec::number("ingress", bits),
                Item::Source if self.v6 => FieldSpec::address6("source"),
                Item::Source => FieldSpec::address4("source"),
                Item::Destination if self.v6 => FieldSpec::address6("destination"),
                Item::Destination => FieldSpec::address4("destination"),
                Item::Opened if self.v6 => FieldSpec::address6("original"),
                Item::Opened => FieldSpec::address4("original"),
                Item::Protocol => FieldSpec::number("protocol", bits),
                Item::Member { .. } | Item::Inside { .. } | Item::Sender(_) => {
                    FieldSpec::number("member", bits)
                }
                Item::Away => FieldSpec::number("away", bits),
                Item::Field(field) if [SPORT, DPORT].contains(field) => FieldSpec {
                    bits,
                    ..FieldSpec::port(field.name())
                },
                Item::Field(field) => FieldSpec::number(field.name(), bits),
                Item::FragmentId | Item::Later | Item::Transport | Item::EchoId => {
                    FieldSpec::number("unasked", bits)
                }
            }
        };
        self.items.iter().map(field).collect()
    }

    /// The rows of a rule's cubes.
    pub(super) fn all(&self, cubes: &[Cube], answer: u32) -> impl Iterator<Item = Row> {
        let cubes = cubes.iter();
        cubes.filter_map(move |cube| self.row(cube, answer))
    }

    /// The row of a cube; `None` when no packet of the family is in it.
    pub(super) fn row(&self, cube: &Cube, answer: u32) -> Option<Row> {
        if !is_of(cube, self.v6) {
            return None;
        }
        let dims: Option<Vec<Values>> = self.items.iter().map(|i| self.dim(cube, *i)).collect();
        Some(Row {
            region: Region::new(dims?),
            rule: answer,
        })
    }

    /// The values that a cube has of an item; `None` when there are none.
    fn dim(&self, cube: &Cube, item: Item) -> Option<Values> {
        let address = |set: &AddrSet| {
            if self.v6 {
                Values::of(&set.v6)
            } else {
                Values::of(&set.v4)
            }
        };
        let every = || every(item, self.v6);
        let large = |dest| self.sets.find(cube, dest, self.v6);
        match item {
            Item::Ingress if cube.ingress.ifaces.is_full() => Some(every()),
            Item::Ingress => Values::of(&self.classes.numbers(&cube.ingress.ifaces)),
            Item::Source if large(false).is_some() => Some(every()),
            Item::Source => address(&cube.saddr),
            Item::Destination if large(true).is_some() => Some(every()),
            Item::Destination if self.opened => address(&cube.daddr),
            Item::Destination => address(&cube.daddr)?.intersection(&address(&cube.original)?),
            Item::Opened => address(&cube.original),
            Item::Protocol => Values::of(&cube.proto),
            Item::Away => Some(match (cube.egress.host, cube.egress.ifaces.is_empty()) {
                (true, true) => Values::one(0),
                (false, _) => Values::one(1),
                (true, false) => every(),
            }),
            Item::Member { .. } | Item::Sender(_) => {
                let mut atoms = cube.atoms.iter();
                let asked = atoms.find(|(atom, _)| member(atom, self.senders) == Some(item));
                Some(asked.map_or_else(every, |(_, wanted)| Values::one(u128::from(*wanted))))
            }
            Item::Inside { set, dest } => {
                let asked = large(dest).filter(|(number, _)| *number == set);
                Some(asked.map_or_else(every, |(_, wanted)| Values::one(u128::from(wanted))))
            }
            Item::Field(field) => match cube.fields.get(&field) {
                Some(set) => Values::of(set),
                None => Some(every()),
            },
            Item::FragmentId | Item::Later | Item::Transport | Item::EchoId => Some(every()),
        }
    }
}
