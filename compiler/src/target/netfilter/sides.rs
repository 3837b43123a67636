//! Where in the kernel a packet passes, and what can be asked there about its way and its sender.

use std::collections::BTreeSet;

use crate::field::{GID, UID};
use crate::ir::cube::PrincipalKind;
use crate::ir::{Atom, Cube, Rule, Side};
use crate::packet::{IfaceSet, Pattern};
use crate::target::Capability;

/// A place in the kernel where rules are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Guard,
    /// Before steer, behind the flow lookup. The way of a packet is looked up in the routing table.
    Lookup,
    SteerPre,
    SteerOut,
    NatPre,
    NatOut,
    Input,
    Forward,
    Output,
    Post,
}

impl Hook {
    /// Whether it sees what this host sends and the process that sends it.
    pub(crate) fn is_local(self) -> bool {
        matches!(
            self,
            Self::SteerOut | Self::NatOut | Self::Output | Self::Post
        )
    }

    /// The end of a packet's way that tells loopback traffic here.
    pub(crate) fn loopback(self) -> Option<End> {
        match self {
            Self::Guard | Self::Lookup | Self::SteerPre | Self::NatPre | Self::Input => {
                Some(End::In)
            }
            Self::SteerOut | Self::NatOut | Self::Output | Self::Post => Some(End::Out),
            Self::Forward => None,
        }
    }
}

/// An end of a packet's way through this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum End {
    /// The interface it came in by.
    In,
    /// The interface it leaves by.
    Out,
    /// The interface that the routing table names for its destination.
    Routed,
}

/// A condition about an end of a packet's way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SideTest {
    /// The interface has one of these names, or with `negate` none of them.
    Names {
        end: End,
        negate: bool,
        names: BTreeSet<String>,
    },
    /// The interface's name begins so, or with `negate` does not.
    Prefix {
        end: End,
        negate: bool,
        prefix: String,
    },
    /// Whether this host sent the packet.
    Sent(bool),
}

/// A condition about who gets a packet, which costs a look into the routing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Receiver {
    /// This host alone.
    Host,
    /// Not this host alone.
    NotHost,
    /// This host, alone or among several.
    Delivered,
    /// Somebody else, alone or among several.
    Forwarded,
    /// One other: what a proxy takes unless its rule says `to host`.
    UnicastAway,
}

/// Where a rule is evaluated, and whether for loopback traffic only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) hook: Hook,
    pub(crate) loopback: bool,
}

/// Whether `rule` can hold for a packet at `place`.
pub(crate) fn applies(rule: &Rule, place: Place) -> bool {
    let passes = |c: &Cube| !matches!(sides(c, place), Ok(None));
    rule.cubes
        .iter()
        .any(|c| principals(c, place.hook).is_some() && passes(c))
}

/// Whether `rule` speaks of loopback traffic at `hook`.
pub(crate) fn names_loopback(rule: &Rule, hook: Hook) -> bool {
    let place = Place {
        hook,
        loopback: true,
    };
    applies(rule, place)
}

/// The senders that a cube asks about at `hook`, with the answers wanted; `None` when no packet
/// there has the sender wanted.
pub(crate) fn principals(cube: &Cube, hook: Hook) -> Option<Vec<((&PrincipalKind, &str), bool)>> {
    if !hook.is_local() {
        let wanted = cube
            .atoms
            .iter()
            .any(|(a, answer)| *answer && matches!(a, Atom::Principal(..)));
        let field = cube.field(UID).or(cube.field(GID)).is_some();
        return (!wanted && !field).then(Vec::new);
    }
    let list = cube.atoms.iter().filter_map(|(atom, answer)| match atom {
        Atom::Principal(kind, name) => Some(((kind, name.as_str()), *answer)),
        Atom::Dynamic { .. } => None,
    });
    Some(list.collect())
}

/// Conditions about a packet's way.
#[derive(Clone, Default)]
pub(crate) struct Sides {
    /// Asked first.
    pub(crate) before: Vec<SideTest>,
    /// Asked last.
    pub(crate) after: Option<Receiver>,
}

/// The conditions about a packet's way at `place`, as alternatives; `None` when the cube's packets
/// do not pass there.
pub(crate) fn sides(cube: &Cube, place: Place) -> Result<Option<Vec<Sides>>, Capability> {
    let (ingress, egress) = (&cube.ingress, &cube.egress);
    let incoming = || ifaces(End::In, &ingress.ifaces, place);
    let outgoing = || ifaces(End::Out, &egress.ifaces, place);
    let plain = |list: Option<Vec<Vec<SideTest>>>| -> Option<Vec<Sides>> {
        list.map(|l| {
            l.into_iter()
                .map(|before| Sides {
                    before,
                    after: None,
                })
                .collect()
        })
    };
    Ok(match place.hook {
        Hook::Guard => plain(incoming()),
        Hook::SteerPre | Hook::NatPre => match plain(incoming()) {
            None => None,
            Some(list) => before_routing(list, egress)?,
        },
        Hook::Lookup => incoming().map(|list| looked_up(&list, egress, place)),
        Hook::Input => plain(if egress.host { incoming() } else { None }),
        Hook::Output | Hook::SteerOut | Hook::NatOut => {
            plain(if ingress.host { outgoing() } else { None })
        }
        Hook::Forward => plain(product(incoming(), outgoing())),
        Hook::Post => plain(product(sent_from(ingress, place), outgoing())),
    })
}

/// The same conditions and what the egress side adds to them.
fn before_routing(mut list: Vec<Sides>, egress: &Side) -> Result<Option<Vec<Sides>>, Capability> {
    match early_egress(egress)? {
        Early::Nowhere => return Ok(None),
        Early::Anywhere => {}
        Early::If(test) => {
            for sides in &mut list {
                sides.after = Some(test);
            }
        }
    }
    Ok(Some(list))
}

/// The same conditions and what the egress side adds to them, as the routing table tells it. What is
/// for several receivers may be both for this host and for others.
fn looked_up(list: &[Vec<SideTest>], egress: &Side, place: Place) -> Vec<Sides> {
    let rest = IfaceSet::not_loopback();
    if egress.host && rest.is_subset(&egress.ifaces) {
        let anywhere = |before: &Vec<SideTest>| Sides {
            before: before.clone(),
            after: None,
        };
        return list.iter().map(anywhere).collect();
    }
    let mut ways = Vec::new();
    if egress.host {
        ways.push((vec![], Receiver::Delivered));
    }
    let leaving = ifaces(End::Routed, &egress.ifaces.intersection(&rest), place);
    let leaving = leaving.filter(|_| !egress.ifaces.intersection(&rest).is_empty());
    for tests in leaving.into_iter().flatten() {
        let tests = if rest.is_subset(&egress.ifaces) {
            vec![]
        } else {
            tests
        };
        ways.push((tests, Receiver::Forwarded));
    }
    let both = |before: &Vec<SideTest>, (tests, after): &(Vec<SideTest>, Receiver)| Sides {
        before: [before.as_slice(), tests.as_slice()].concat(),
        after: Some(*after),
    };
    list.iter()
        .flat_map(|before| ways.iter().map(move |way| both(before, way)))
        .collect()
}

/// What can be said before routing about where a packet goes.
enum Early {
    /// No packet goes there.
    Nowhere,
    /// Every packet may.
    Anywhere,
    /// The answer to this says.
    If(Receiver),
}

/// What a steer rule's egress side asks before routing: whether the packet is for this host.
fn early_egress(egress: &Side) -> Result<Early, Capability> {
    let rest = IfaceSet::not_loopback();
    let elsewhere = rest.is_subset(&egress.ifaces);
    let nowhere_else = egress.ifaces.intersection(&rest).is_empty();
    Ok(match (egress.host, elsewhere, nowhere_else) {
        (true, true, _) => Early::Anywhere,
        (true, _, true) => Early::If(Receiver::Host),
        (false, true, _) => Early::If(Receiver::NotHost),
        (false, _, true) => Early::Nowhere,
        _ => return Err(Capability::EarlyEgress),
    })
}

/// The ingress side of a packet that leaves, whose ingress interface is 0 when this host sent it.
fn sent_from(ingress: &Side, place: Place) -> Option<Vec<Vec<SideTest>>> {
    let local = SideTest::Sent(true);
    if ingress.is_any() {
        return Some(vec![vec![]]);
    }
    let names = ifaces(End::In, &ingress.ifaces, place);
    // A packet of this host has no ingress name, so it passes exclusions as it stands.
    let excludes_only = ingress.ifaces.include().is_none();
    match (ingress.host, names) {
        (true, None) => Some(vec![vec![local]]),
        (true, Some(mut list)) if !excludes_only => {
            list.insert(0, vec![local]);
            Some(list)
        }
        (false, Some(list)) if excludes_only => {
            let foreign = SideTest::Sent(false);
            let with = |mut matches: Vec<SideTest>| {
                matches.insert(0, foreign.clone());
                matches
            };
            Some(list.into_iter().map(with).collect())
        }
        (_, names) => names,
    }
}

fn product(
    left: Option<Vec<Vec<SideTest>>>,
    right: Option<Vec<Vec<SideTest>>>,
) -> Option<Vec<Vec<SideTest>>> {
    let (left, right) = (left?, right?);
    let both = |l: &Vec<SideTest>, r: &Vec<SideTest>| [l.as_slice(), r.as_slice()].concat();
    Some(
        left.iter()
            .flat_map(|l| right.iter().map(move |r| both(l, r)))
            .collect(),
    )
}

/// The conditions that an interface's name is in `set`, as disjoint alternatives; `None` when no
/// interface that passes `place` is.
///
/// The chain around has taken loopback traffic out where it can be told, and where it cannot it
/// does not pass; in the chain for loopback traffic only sets that name `lo` count.
fn ifaces(end: End, set: &IfaceSet, place: Place) -> Option<Vec<Vec<SideTest>>> {
    if place.loopback && place.hook.loopback() == Some(end) {
        let named = set.include().is_some() && set.contains(LOOPBACK);
        return named.then(|| vec![vec![]]);
    }
    let different = |names: &BTreeSet<&Pattern>| {
        let mut out = Vec::new();
        let exact: BTreeSet<String> = names.iter().copied().filter_map(exact).collect();
        if !exact.is_empty() {
            out.push(SideTest::Names {
                end,
                negate: true,
                names: exact,
            });
        }
        for pattern in names {
            if let Pattern::Prefix(prefix) = pattern {
                out.push(SideTest::Prefix {
                    end,
                    negate: true,
                    prefix: prefix.clone(),
                });
            }
        }
        out
    };
    let Some(include) = set.include() else {
        return Some(vec![different(&set.exclude().iter().collect())]);
    };
    let mut out = Vec::new();
    let exact: BTreeSet<String> = include.iter().filter_map(exact).collect();
    if !exact.is_empty() {
        out.push(vec![SideTest::Names {
            end,
            negate: false,
            names: exact,
        }]);
    }
    for pattern in include {
        let Pattern::Prefix(prefix) = pattern else {
            continue;
        };
        let mut matches = Vec::new();
        if !prefix.is_empty() {
            matches.push(SideTest::Prefix {
                end,
                negate: false,
                prefix: prefix.clone(),
            });
        }
        let within = set.exclude().iter().filter(|e| pattern.covers(e)).collect();
        matches.extend(different(&within));
        out.push(matches);
    }
    (!out.is_empty()).then_some(out)
}

/// The interface that loopback traffic passes.
const LOOPBACK: &str = "lo";

/// An exact name other than loopback's.
fn exact(pattern: &Pattern) -> Option<String> {
    match pattern {
        Pattern::Name(name) if name != LOOPBACK => Some(name.clone()),
        _ => None,
    }
}
