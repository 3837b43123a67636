//! From cubes, which speak of a packet as a stage sees it, to regions, which speak of it as it
//! enters the machine.

use std::net::IpAddr;

use super::space::{Dim, Space, V4, V6};
use crate::field::{CT_DIRECTION, CT_MARK, CT_STATE, DPORT, Field, Header, IP_FRAGMENT};
use crate::ir::cube::PrincipalKind;
use crate::ir::{Atom, Cube, Ir, NatTarget, Stage};
use crate::packet::{AddrSet, IntervalSet, Region, Values};

/// How a stage sees a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The stage.
    pub stage: Stage,
    /// What steer has done to it before.
    pub moved: Moved,
    /// Whether guard has said `notrack`.
    pub untracked: bool,
}

impl View {
    /// A stage before which nothing has happened to the packet.
    pub fn of(stage: Stage) -> Self {
        Self {
            stage,
            moved: Moved::No,
            untracked: false,
        }
    }
}

/// What steer has done to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// Nothing.
    No,
    /// It goes by another routing table.
    Routed,
    /// It goes to another destination.
    To(NatTarget),
}

impl Moved {
    /// The new port, if there is one.
    fn port(self) -> Option<u16> {
        match self {
            Self::To(NatTarget::Addr(_, port)) => port,
            _ => None,
        }
    }

    /// Whether packets of this family can have been moved so.
    fn of_family(self, family: u128) -> bool {
        let is = |addr: IpAddr| addr.is_ipv4() == (family == V4);
        match self {
            Self::No | Self::Routed => true,
            Self::To(NatTarget::Addr(addr, _)) => is(addr),
            Self::To(NatTarget::Prefix { from, .. }) => is(from),
        }
    }
}

/// A policy's tables, as far as cubes point into them.
#[derive(Clone, Copy)]
pub(crate) struct Tables<'a> {
    pub(crate) space: &'a Space,
    pub(crate) ir: &'a Ir,
}

impl Tables<'_> {
    /// The packets that a cube means, in the eyes of a stage: at most one region per family.
    pub(crate) fn regions(self, cube: &Cube, view: View) -> Vec<Region> {
        let families = [(V4, cube.families.v4), (V6, cube.families.v6)];
        families
            .into_iter()
            .filter(|(_, has)| *has)
            .filter_map(|(family, _)| self.region(cube, view, family))
            .collect()
    }

    fn region(self, cube: &Cube, view: View, family: u128) -> Option<Region> {
        if !view.moved.of_family(family) {
            return None;
        }
        let mut region = self.space.all(family);
        let mut ask = |dim: &Dim, values: Option<Values>| -> Option<()> {
            region.narrow(self.space.at(dim)?, &values?)
        };
        ask(&Dim::Ingress, self.space.ifaces.values(&cube.ingress))?;
        let leaves = match view.moved {
            Moved::No => Dim::Egress,
            Moved::Routed | Moved::To(_) => Dim::Detour,
        };
        ask(&leaves, self.space.ifaces.values(&cube.egress))?;
        ask(&Dim::Source, numbers(&cube.saddr, family))?;
        ask(&Dim::Destination, numbers(&cube.original, family))?;
        ask(
            &Dim::Destination,
            destinations(&cube.daddr, family, view.moved),
        )?;
        ask(&Dim::Protocol, Values::of(&cube.proto))?;
        for (field, set) in &cube.fields {
            if constant(*field, view).is_some_and(|value| set.contains(value)) {
                // The header must be there all the same.
                ask(&Dim::Field(*field), Values::of(&field.all()))?;
            } else if constant(*field, view).is_some() {
                return None;
            } else {
                ask(&Dim::Field(*field), Values::of(set))?;
            }
            for header in headers(field.def().header) {
                ask(&Dim::Header(*header), Some(Values::one(1)))?;
            }
        }
        for (atom, answer) in &cube.atoms {
            let (dim, values) = self.atom(atom, *answer, family);
            ask(&dim, values)?;
        }
        Some(region)
    }

    fn atom(self, atom: &Atom, answer: bool, family: u128) -> (Dim, Option<Values>) {
        let (dim, yes) = match atom {
            Atom::Dynamic { set, dest } => {
                let name = self.ir.dynamic.get(*set).map(|s| s.name.to_string());
                (Dim::Member(name.unwrap_or_default(), *dest), 1)
            }
            Atom::Principal(PrincipalKind::Cgroup, name) => (Dim::Cgroup(name.clone()), 1),
            Atom::Principal(kind, name) => {
                let known = self.space.principals.get(kind);
                let position = known.and_then(|names| names.iter().position(|n| n == name));
                (
                    Dim::Principal(*kind),
                    position.map_or(0, |at| at as u128 + 1),
                )
            }
        };
        let yes = Values::one(yes);
        let values = if answer {
            Some(yes)
        } else {
            self.space.full(&dim, family).difference(&yes)
        };
        (dim, values)
    }
}

/// The value that a field has for every packet in the eyes of a stage. Fragments are put together
/// before steer, and a packet that opens a flow is a new one of the original direction.
fn constant(field: Field, view: View) -> Option<u64> {
    const NEW: u64 = 0;
    const UNTRACKED: u64 = 3;
    match field {
        f if f == DPORT => view.moved.port().map(u64::from),
        f if f == IP_FRAGMENT && view.stage != Stage::Guard => Some(0),
        f if f == CT_STATE && view.untracked => Some(UNTRACKED),
        f if f == CT_STATE => Some(NEW),
        f if f == CT_DIRECTION || f == CT_MARK => Some(0),
        _ => None,
    }
}

/// The headers that a packet must have to have this one.
fn headers(header: Header) -> &'static [Header] {
    match header {
        Header::Network => &[],
        Header::Transport => &[Header::Transport],
        Header::Mss => &[Header::Transport, Header::Mss],
        Header::Ethernet => &[Header::Ethernet],
        Header::Vlan => &[Header::Vlan],
        Header::Owner => &[Header::Owner],
    }
}

/// The addresses of a set that are of the family.
fn numbers(set: &AddrSet, family: u128) -> Option<Values> {
    if family == V4 {
        Values::of(&set.v4)
    } else {
        Values::of(&set.v6)
    }
}

/// The destinations that, moved, are in `set`.
fn destinations(set: &AddrSet, family: u128, moved: Moved) -> Option<Values> {
    match moved {
        Moved::No | Moved::Routed => numbers(set, family),
        Moved::To(NatTarget::Addr(addr, _)) => {
            let full = AddrSet::full();
            set.contains(addr).then(|| numbers(&full, family))?
        }
        Moved::To(NatTarget::Prefix { from, to, len }) => {
            let inside = numbers(&AddrSet::prefix(to, len)?.intersection(set), family)?;
            let (to, from) = (
                number(&AddrSet::prefix(to, len)?)?,
                number(&AddrSet::prefix(from, len)?)?,
            );
            let back = |n: u128| n - to + from;
            let ranges = inside.ranges().into_iter();
            Values::of(
                &ranges
                    .map(|(a, b)| (back(a), back(b)))
                    .collect::<IntervalSet<u128>>(),
            )
        }
    }
}

/// The first address of a set, as a number.
fn number(set: &AddrSet) -> Option<u128> {
    let v4 = set.v4.ranges().first().map(|(first, _)| u128::from(*first));
    v4.or_else(|| set.v6.ranges().first().map(|(first, _)| *first))
}
