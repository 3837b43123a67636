//! When a cube holds for a packet.

use std::net::IpAddr;

use super::decision::Mismatch;
use super::packet::{LOOPBACK, Place};
use super::state::State;
use super::view::{Towards, View};
use crate::field::{Field, Format, PROTOCOLS};
use crate::ir::cube::PrincipalKind;
use crate::ir::print;
use crate::ir::{Atom, Cube, DynamicId, KeyKind, Side};
use crate::packet::{AddrSet, IntervalSet};

/// Whether `cube` holds for a packet as a stage sees it, or the first part that does not. Dynamic
/// sets are those of `state`.
pub fn holds(cube: &Cube, view: &View, state: &State) -> Result<(), Mismatch> {
    check(cube, view, state).map_err(|failed| failed.describe(view, state))
}

/// A part of a cube that does not hold. Cheap to make: only traces describe it.
#[derive(Clone, Copy)]
pub(super) enum Failed<'a> {
    Family,
    Ingress(&'a Side),
    Egress(&'a Side),
    /// The packet passes by loopback, and the cube does not name `lo`.
    Unnamed,
    Protocol(&'a IntervalSet<u64>),
    Source(&'a AddrSet),
    Dest(&'a AddrSet),
    Original(&'a AddrSet),
    Value(Field, &'a IntervalSet<u64>),
    Member {
        set: DynamicId,
        dest: bool,
        wanted: bool,
    },
    Sender(PrincipalKind, &'a str, bool),
    /// A proxy takes what is for other machines.
    Away,
    /// The proxy never captures this sender.
    Bypass,
}

/// As [`holds`].
pub(super) fn check<'a>(cube: &'a Cube, view: &View, state: &State) -> Result<(), Failed<'a>> {
    let ask = |holds: bool, failed: Failed<'a>| if holds { Ok(()) } else { Err(failed) };
    ask(of_family(cube, view.saddr), Failed::Family)?;
    ask(
        comes_from(view, &cube.ingress),
        Failed::Ingress(&cube.ingress),
    )?;
    ask(goes_to(view, &cube.egress), Failed::Egress(&cube.egress))?;
    let proto = u64::from(view.packet.proto);
    ask(cube.proto.contains(proto), Failed::Protocol(&cube.proto))?;
    ask(cube.saddr.contains(view.saddr), Failed::Source(&cube.saddr))?;
    ask(cube.daddr.contains(view.daddr), Failed::Dest(&cube.daddr))?;
    let original = cube.original.contains(view.original);
    ask(original, Failed::Original(&cube.original))?;
    for (field, set) in &cube.fields {
        // A packet without the field has no value that could be in the set.
        let holds = view.field(*field).is_some_and(|value| set.contains(value));
        ask(holds, Failed::Value(*field, set))?;
    }
    for (atom, wanted) in &cube.atoms {
        ask(
            answer(atom, view, state) == *wanted,
            unanswered(atom, *wanted),
        )?;
    }
    Ok(())
}

/// Whether the protocol or an address already tells that a packet is not in a cube: most cubes of a
/// long list it is not in.
pub(super) fn misses(cube: &Cube, view: &View) -> bool {
    !cube.proto.contains(view.packet.proto.into())
        || !cube.saddr.contains(view.saddr)
        || !cube.daddr.contains(view.daddr)
}

/// As [`check`], and a cube speaks of loopback traffic only if it names `lo`: as the way in of what
/// comes in, as the way out of what this host sends.
pub(super) fn check_here<'a>(cube: &'a Cube, view: &View, state: &State) -> Result<(), Failed<'a>> {
    if view.loopback && !names_loopback(cube, view.packet.arrives()) {
        return Err(Failed::Unnamed);
    }
    check(cube, view, state)
}

/// Whether `cube` names the loopback interface as the way by which packets come in, or go out.
pub(super) fn names_loopback(cube: &Cube, arriving: bool) -> bool {
    let side = if arriving {
        &cube.ingress
    } else {
        &cube.egress
    };
    side.ifaces.include().is_some() && side.ifaces.contains(LOOPBACK)
}

fn of_family(cube: &Cube, addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(_) => cube.families.v4,
        IpAddr::V6(_) => cube.families.v6,
    }
}

fn comes_from(view: &View, side: &Side) -> bool {
    match &view.packet.ingress {
        Place::Host => side.host,
        Place::Iface(name) => side.ifaces.contains(name),
    }
}

fn goes_to(view: &View, side: &Side) -> bool {
    match view.egress {
        Towards::Host => side.host,
        Towards::Iface(name) => side.ifaces.contains(name),
        Towards::Elsewhere => !side.ifaces.is_empty(),
    }
}

fn answer(atom: &Atom, view: &View, state: &State) -> bool {
    match atom {
        Atom::Dynamic { set, dest } => state.has(*set, view, *dest),
        // Only what this host sends has a sender.
        Atom::Principal(kind, name) => {
            let senders = &view.packet.principals;
            !view.packet.arrives() && senders.iter().any(|(k, n)| k == kind && n == name)
        }
    }
}

fn unanswered(atom: &Atom, wanted: bool) -> Failed<'_> {
    match atom {
        Atom::Dynamic { set, dest } => Failed::Member {
            set: *set,
            dest: *dest,
            wanted,
        },
        Atom::Principal(kind, name) => Failed::Sender(*kind, name, wanted),
    }
}

impl Failed<'_> {
    /// How far a cube came that failed here: the number of the question in [`check`].
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Unnamed => 0,
            Self::Family => 1,
            Self::Ingress(_) => 2,
            Self::Egress(_) => 3,
            Self::Protocol(_) => 4,
            Self::Source(_) => 5,
            Self::Dest(_) => 6,
            Self::Original(_) => 7,
            Self::Value(..) => 8,
            Self::Member { .. } | Self::Sender(..) => 9,
            Self::Away => 10,
            Self::Bypass => 11,
        }
    }

    /// In words.
    pub(super) fn describe(&self, view: &View, state: &State) -> Mismatch {
        let of = |what: &str, got: String, wanted: String| Mismatch {
            what: what.to_owned(),
            got,
            wanted,
        };
        match *self {
            Self::Unnamed => of("interface", LOOPBACK.into(), "not loopback".into()),
            Self::Family => {
                let [got, wanted] = if view.saddr.is_ipv4() {
                    ["IPv4", "IPv6"]
                } else {
                    ["IPv6", "IPv4"]
                };
                of("family", got.into(), wanted.into())
            }
            Self::Ingress(side) => of(
                "in",
                place(Towards::from(&view.packet.ingress)),
                print::side(side),
            ),
            Self::Egress(side) => of("out", place(view.egress), print::side(side)),
            Self::Protocol(set) => {
                let names = Format::Names(PROTOCOLS);
                let got = IntervalSet::one(u64::from(view.packet.proto));
                of(
                    "protocol",
                    print::values(&got, names),
                    print::values(set, names),
                )
            }
            Self::Source(set) => of("source", view.saddr.to_string(), set.to_string()),
            Self::Dest(set) => of("destination", view.daddr.to_string(), set.to_string()),
            Self::Original(set) => of(
                "original destination",
                view.original.to_string(),
                set.to_string(),
            ),
            Self::Value(field, set) => {
                let format = field.def().format;
                let got = view.field(field).map_or_else(
                    || "none".to_owned(),
                    |value| print::values(&IntervalSet::one(value), format),
                );
                of(field.name(), got, print::field_values(field, set))
            }
            Self::Member { set, dest, wanted } => {
                let name = state.sets.get(set).map_or("?", |s| &s.name);
                let got = match state.sets.get(set).map(|s| s.kind) {
                    Some(KeyKind::Pair) => format!("{} to {}", view.saddr, view.daddr),
                    _ if dest => view.daddr.to_string(),
                    _ => view.saddr.to_string(),
                };
                of(
                    &format!("@{name}"),
                    got,
                    if wanted { "a member" } else { "no member" }.into(),
                )
            }
            Self::Sender(kind, name, wanted) => {
                let sender = format!("{} {name}", word(kind));
                let [got, wanted] = if wanted {
                    ["another", sender.as_str()]
                } else {
                    [sender.as_str(), "another"]
                };
                of("sender", got.into(), wanted.into())
            }
            Self::Away => of(
                "destination",
                view.daddr.to_string(),
                "an address of another machine".into(),
            ),
            Self::Bypass => of(
                "sender",
                "one that bypasses the proxy".into(),
                "another".into(),
            ),
        }
    }
}

fn place(towards: Towards) -> String {
    match towards {
        Towards::Host => "host".to_owned(),
        Towards::Iface(name) => name.to_owned(),
        Towards::Elsewhere => "elsewhere".to_owned(),
    }
}

fn word(kind: PrincipalKind) -> &'static str {
    match kind {
        PrincipalKind::User => "user",
        PrincipalKind::Group => "group",
        PrincipalKind::Uid => "uid",
        PrincipalKind::Gid => "gid",
        PrincipalKind::Cgroup => "cgroup",
    }
}
