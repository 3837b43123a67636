//! From cubes, which speak of a packet as a stage sees it, to regions, which speak of it as it
//! enters the machine.

use std::net::IpAddr;

use super::ifaces::HOST;
use super::space::{Dim, Space, V4, V6};
use crate::field::{CT_DIRECTION, CT_MARK, CT_STATE, DPORT, Field, Header, IP_FRAGMENT};
use crate::interpret::{Decision, Steered};
use crate::ir::cube::PrincipalKind;
use crate::ir::{Atom, Cube, Ir, NatTarget, Side, Stage, Verdict};
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
    /// It is delivered to this machine, whatever its destination.
    Here,
    /// It goes by another routing table.
    Routed,
    /// It goes to another destination.
    To(NatTarget),
}

impl Moved {
    /// What steer did to a packet according to a decision. A packet that does not go on to filter,
    /// because it was refused, redirected or proxied, is where it was sent.
    pub fn by(decision: &Decision, ir: &Ir) -> Self {
        let (addr, port) = match decision.steered {
            Some(Steered::Route { .. }) => return Self::Routed,
            Some(Steered::Dnat { addr, port }) => (addr, port),
            _ => return Self::No,
        };
        let rule = decision.steered_by.and_then(|id| id.of(ir));
        let Some(Verdict::Dnat(nat)) = rule.and_then(|r| r.verdict.as_ref()) else {
            return Self::No;
        };
        let is = |target: &&NatTarget| match target {
            NatTarget::Addr(a, p) => (*a, *p) == (addr, port),
            NatTarget::Prefix { to, len, .. } => {
                AddrSet::prefix(*to, *len).is_some_and(|net| net.contains(addr))
            }
        };
        let target = nat.v4.iter().chain(&nat.v6).find(is);
        target.map_or(Self::No, |target| Self::To(*target))
    }

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
            Self::No | Self::Here | Self::Routed => true,
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
    /// The packets that a cube means, in the eyes of a stage.
    pub(crate) fn regions(self, cube: &Cube, view: View) -> Vec<Region> {
        self.meant(cube, view, view.stage == Stage::Guard)
    }

    /// The packets that a cube means. With `fragments`, it asks the packet as it enters the machine
    /// whether it is a fragment.
    pub(crate) fn meant(self, cube: &Cube, view: View, fragments: bool) -> Vec<Region> {
        let families = [(V4, cube.families.v4), (V6, cube.families.v6)];
        let families = families.into_iter().filter(|(_, has)| *has);
        let plain = families.filter_map(|(f, _)| Some((f, self.plain(cube, view, f, fragments)?)));
        let ends = |(family, region): (u128, Region)| {
            let ends = self.ends(cube, view, family);
            ends.into_iter()
                .filter_map(move |end| self.narrow(&region, end))
        };
        plain.flat_map(ends).collect()
    }

    fn narrow(self, region: &Region, asks: Asks) -> Option<Region> {
        asks.into_iter()
            .try_fold(region.clone(), |region, (dim, values)| {
                self.space.narrowed(&region, &dim, &values?)
            })
    }

    /// What a cube asks of a packet, but for where it comes from and goes to.
    pub(crate) fn plain(
        self,
        cube: &Cube,
        view: View,
        family: u128,
        fragments: bool,
    ) -> Option<Region> {
        if !view.moved.of_family(family) {
            return None;
        }
        let mut region = self.space.all(family);
        let mut ask = |dim: &Dim, values: Option<Values>| -> Option<()> {
            region = self.space.narrowed(&region, dim, &values?)?;
            Some(())
        };
        ask(&Dim::Source, numbers(&cube.saddr, family))?;
        ask(&Dim::Destination, numbers(&cube.original, family))?;
        ask(
            &Dim::Destination,
            destinations(&cube.daddr, family, view.moved),
        )?;
        ask(&Dim::Protocol, Values::of(&cube.proto))?;
        for (field, set) in &cube.fields {
            match constant(*field, view, fragments) {
                // The header must be there all the same.
                Some(value) if set.contains(value) => {
                    ask(&Dim::Field(*field), Values::of(&field.all()))?;
                }
                Some(_) => return None,
                None => ask(&Dim::Field(*field), Values::of(set))?,
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

    /// Where a cube's packets come from and go to, as alternatives. A cube speaks of loopback
    /// traffic only if it names `lo`: as the way in of what comes in, as the way out of what this
    /// machine sends.
    fn ends(self, cube: &Cube, view: View, family: u128) -> Vec<Asks> {
        let ifaces = &self.space.ifaces;
        let lo = Values::one(ifaces.loopback());
        let host = Values::one(HOST);
        let but_lo = |values: Option<Values>| values.and_then(|v| v.difference(&lo));
        let named = |side: &Side, values| {
            if names_loopback(side) {
                values
            } else {
                but_lo(values)
            }
        };
        let from = named(&cube.ingress, ifaces.values(&cube.ingress));
        let to = named(&cube.egress, ifaces.values(&cube.egress));
        let comes = (Dim::Ingress, from.clone());
        let own = || {
            (
                Dim::Ingress,
                from.as_ref().and_then(|f| f.intersection(&host)),
            )
        };
        match (view.stage, view.moved) {
            (Stage::Steer, Moved::No) => unrouted(cube, family, from.as_ref(), to.as_ref()),
            (_, Moved::No) => vec![vec![comes, (Dim::Egress, to)]],
            (Stage::Egress, _) => vec![vec![comes, (Dim::Detour, to)]],
            (_, Moved::Here) => {
                // Loopback traffic stays what it is.
                let passes = named(&cube.egress, Some(ifaces.every()));
                let stays = cube.egress.host;
                stays
                    .then(|| vec![comes, (Dim::Egress, passes)])
                    .into_iter()
                    .collect()
            }
            (_, Moved::Routed | Moved::To(_)) => {
                let every = but_lo(Some(ifaces.every()));
                let back = || to.as_ref().and_then(|t| t.intersection(&lo));
                vec![
                    vec![
                        comes,
                        (Dim::Egress, every),
                        (Dim::Detour, but_lo(to.clone())),
                    ],
                    // What this machine sends and is led back by `lo` is judged as what leaves by
                    // its first way.
                    vec![
                        own(),
                        (Dim::Egress, but_lo(to.clone())),
                        (Dim::Detour, Some(lo.clone())),
                    ],
                    vec![own(), (Dim::Egress, back())],
                ]
            }
        }
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

/// Where packets go in the eyes of steer, which does not know whether this machine is among the
/// receivers when a packet is for a group.
fn unrouted(cube: &Cube, family: u128, from: Option<&Values>, to: Option<&Values>) -> Vec<Asks> {
    let host = Values::one(HOST);
    let comes = || (Dim::Ingress, from.cloned());
    let group = numbers(&groups(), family);
    let single = numbers(&groups().complement(), family);
    let away = to.and_then(|t| t.difference(&host));
    match (cube.egress.host, cube.egress.ifaces.is_empty()) {
        (true, false) => vec![vec![comes(), (Dim::Egress, to.cloned())]],
        (true, true) => vec![vec![
            comes(),
            (Dim::Egress, Some(host)),
            (Dim::Destination, single),
        ]],
        (false, _) => vec![
            vec![comes(), (Dim::Egress, away)],
            vec![
                comes(),
                (Dim::Egress, Some(host)),
                (Dim::Destination, group),
            ],
        ],
    }
}

/// Conditions on dimensions; `None` for one that nothing meets.
type Asks = Vec<(Dim, Option<Values>)>;

/// Whether the side names `lo` itself.
pub(super) fn names_loopback(side: &Side) -> bool {
    side.ifaces.include().is_some() && side.ifaces.contains("lo")
}

/// Addresses that mean several receivers, of which this machine may be one.
pub(super) fn groups() -> AddrSet {
    AddrSet {
        v4: IntervalSet::from_ranges(vec![(0xe000_0000, 0xefff_ffff), (u32::MAX, u32::MAX)]),
        v6: IntervalSet::range(0xff << 120, u128::MAX),
        label: None,
    }
}

/// The value that a field has for every packet in the eyes of a stage. Fragments are put together
/// before steer, and a packet that opens a flow is a new one of the original direction.
fn constant(field: Field, view: View, fragments: bool) -> Option<u64> {
    const NEW: u64 = 0;
    const UNTRACKED: u64 = 3;
    match field {
        f if f == DPORT => view.moved.port().map(u64::from),
        f if f == IP_FRAGMENT && !fragments => Some(0),
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
pub(super) fn numbers(set: &AddrSet, family: u128) -> Option<Values> {
    if family == V4 {
        Values::of(&set.v4)
    } else {
        Values::of(&set.v6)
    }
}

/// The destinations that, moved, are in `set`.
fn destinations(set: &AddrSet, family: u128, moved: Moved) -> Option<Values> {
    match moved {
        Moved::No | Moved::Here | Moved::Routed => numbers(set, family),
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
