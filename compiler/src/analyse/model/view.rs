//! From cubes, which speak of a packet as a stage sees it, to regions, which speak of it as it
//! enters the machine.

use std::net::IpAddr;

use super::memory::Memory;
use super::space::{Dim, Space, V4, V6};
use super::ways::{self, Spoken};
use crate::field::{
    CT_DIRECTION, CT_MARK, CT_STATE, DPORT, Field, Header, IP_FRAGMENT, IP_TTL, META_MARK,
    ttl_before_forwarding,
};
use crate::interpret::{Decision, Steered};
use crate::ir::cube::PrincipalKind;
use crate::ir::{Atom, Cube, Ir, KeyKind, NatTarget, Rule, Side, Stage, Verdict};
use crate::packet::interval::Int;
use crate::packet::{AddrSet, Families, IntervalSet, Region, Values};

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
    /// It is delivered to this machine, whatever its destination: to a port of it, or to a proxy.
    Here,
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
            Self::No | Self::Routed | Self::Here => true,
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
    pub(crate) memory: Memory,
}

impl Tables<'_> {
    /// The packets that a cube means, in the eyes of a stage.
    pub(crate) fn regions(self, cube: &Cube, view: View) -> Vec<Region> {
        let mut out = Vec::new();
        for family in [V4, V6] {
            self.within(cube, view, &self.space.all(family), &mut out);
        }
        out
    }

    /// The packets that a cube means when it asks the packet, as it enters the machine, whether it
    /// is a fragment and for its time to live.
    pub(crate) fn meant(self, cube: &Cube, view: View) -> Vec<Region> {
        let mut out = Vec::new();
        for family in [V4, V6] {
            let hull = self.space.all(family);
            if Self::is_of(cube, view, family)
                && let Some(body) = self.body(cube, view, &hull, Looks::AsItCame)
            {
                ways::ways(self.space, named(cube), view, &body, &mut out);
            }
        }
        out
    }

    /// What a cube asks of a packet, wherever it comes from and goes to.
    pub(crate) fn wherever(self, cube: &Cube, view: View) -> Vec<Region> {
        let families = [V4, V6].into_iter().filter(|f| Self::is_of(cube, view, *f));
        families
            .filter_map(|f| self.body(cube, view, &self.space.all(f), Looks::AsItCame))
            .collect()
    }

    fn is_of(cube: &Cube, view: View, family: u128) -> bool {
        let Families { v4, v6 } = cube.families;
        (if family == V4 { v4 } else { v6 }) && view.moved.of_family(family)
    }

    /// The packets of `hull`, which is of one family, that a cube means.
    pub(crate) fn within(self, cube: &Cube, view: View, hull: &Region, out: &mut Vec<Region>) {
        let family = self.space.family(hull);
        if !Self::is_of(cube, view, family) || self.misses(cube, view, hull, family) {
            return;
        }
        self.between(cube, named(cube), view, hull, out);
    }

    /// The packets of `hull` that come from and go to these sides, loopback traffic or not.
    pub(crate) fn sides(self, cube: &Cube, view: View, hull: &Region, out: &mut Vec<Region>) {
        let spoken = Spoken {
            ingress: &cube.ingress,
            egress: &cube.egress,
            named: None,
        };
        self.between(cube, spoken, view, hull, out);
    }

    /// The packets of `hull` between these sides of which everything else holds that a cube asks.
    fn between(
        self,
        cube: &Cube,
        spoken: Spoken,
        view: View,
        hull: &Region,
        out: &mut Vec<Region>,
    ) {
        let mut add = |hull: &Region, looks| {
            if let Some(body) = self.body(cube, view, hull, looks) {
                ways::ways(self.space, spoken, view, &body, out);
            }
        };
        let whole = match view.stage {
            Stage::Guard => Looks::AsItCame,
            _ => Looks::Whole,
        };
        if cube.field(IP_TTL).is_none() {
            return add(hull, whole);
        }
        let (sent_on, others) = ways::sent_on(self.space, view, hull);
        if let Some(part) = sent_on {
            add(&part, Looks::SentOn);
        }
        for part in others {
            add(&part, whole);
        }
    }

    /// Whether a glance tells that a cube means nothing of `hull`: most cubes of a long list do
    /// not.
    fn misses(self, cube: &Cube, view: View, hull: &Region, family: u128) -> bool {
        let at = self.space.at_fixed();
        let apart = |dim: usize, set: &AddrSet| {
            let Some(values) = hull.dim(dim).filter(|_| !set.is_full()) else {
                return false;
            };
            let (first, last) = values.bounds();
            match family {
                V4 => !touches(set.v4.ranges(), first, last),
                _ => !touches(set.v6.ranges(), first, last),
            }
        };
        let fixed = view.moved == Moved::No;
        apart(at.source, &cube.saddr)
            || apart(at.destination, &cube.original)
            || fixed && apart(at.destination, &cube.daddr)
            || hull.dim(at.protocol).is_some_and(|values| {
                let (first, last) = values.bounds();
                !touches(cube.proto.ranges(), first, last)
            })
            || fixed
                && cube.field(DPORT).is_some_and(|ports| {
                    let bounds = hull.dim(at.dport).map(Values::bounds);
                    bounds.is_some_and(|(first, last)| !touches(ports.ranges(), first, last))
                })
    }

    /// Everything that a cube asks but where packets come from and go to.
    fn body(self, cube: &Cube, view: View, hull: &Region, looks: Looks) -> Option<Region> {
        let family = self.space.family(hull);
        let mut dims = hull.dims().to_vec();
        let mut ask = |at: usize, values: &Values| -> Option<()> {
            let dim = dims.get_mut(at)?;
            if !dim.is_subset(values) {
                *dim = dim.intersection(values)?;
            }
            Some(())
        };
        let at = self.space.at_fixed();
        for (dim, set) in [(at.source, &cube.saddr), (at.destination, &cube.original)] {
            if !set.is_full() {
                ask(dim, &numbers(set, family)?)?;
            }
        }
        if !cube.daddr.is_full() {
            let values = destinations(&cube.daddr, family, view.moved)?;
            ask(at.destination, &values)?;
        }
        ask(at.protocol, &Values::of(&cube.proto)?)?;
        for (field, set) in &cube.fields {
            match constant(*field, view, looks, self.memory) {
                // The header must be there all the same.
                Seen::Always(value) if set.contains(value) => {}
                Seen::Always(_) | Seen::Never => return None,
                Seen::Own if *field == META_MARK => {
                    let set = self.memory.unmarked(set)?;
                    ask(self.space.at(&Dim::Field(*field))?, &Values::of(&set)?)?;
                }
                Seen::Anything => {}
                Seen::OneLess => {
                    let own = Values::of(&ttl_before_forwarding(set))?;
                    ask(self.space.at(&Dim::Field(*field))?, &own)?;
                }
                Seen::Own => {
                    ask(self.space.at(&Dim::Field(*field))?, &Values::of(set)?)?;
                }
            }
            for header in headers(field.def().header) {
                ask(self.space.at(&Dim::Header(*header))?, &Values::one(1))?;
            }
        }
        for (atom, answer) in &cube.atoms {
            match self.remembered(atom) {
                Remembered::Yes if *answer => continue,
                Remembered::Yes => return None,
                Remembered::Unknown => continue,
                Remembered::No => {}
            }
            let (dim, values) = self.atom(atom, *answer, family);
            ask(self.space.at(&dim)?, &values?)?;
        }
        Some(Region::new(dims))
    }

    /// Whether a rule before has added a packet's key.
    fn remembered(self, atom: &Atom) -> Remembered {
        let Atom::Dynamic { set, dest } = atom else {
            return Remembered::No;
        };
        let found = self.ir.dynamic.get(*set);
        let index = found.and_then(|s| self.space.dynamic_index(s));
        let adds = |r: &Rule| r.effects.add == Some(*set);
        match (index, found.map(|s| s.key)) {
            _ if self.memory.any && self.ir.rules().any(|(_, rule)| adds(rule)) => {
                Remembered::Unknown
            }
            (Some(_), Some(KeyKind::Source)) if *dest => Remembered::No,
            (Some(_), Some(KeyKind::Dest)) if !*dest => Remembered::No,
            (Some(at), _) if at < 64 && self.memory.added >> at & 1 == 1 => Remembered::Yes,
            _ => Remembered::No,
        }
    }

    fn atom(self, atom: &Atom, answer: bool, family: u128) -> (Dim, Option<Values>) {
        let (dim, yes) = match atom {
            Atom::Dynamic { set, dest } => {
                let label = self
                    .ir
                    .dynamic
                    .get(*set)
                    .map(|s| self.space.dynamic_label(s));
                (Dim::Member(label.unwrap_or_default(), *dest), 1)
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

/// Whether a packet's key has been added by a rule before.
enum Remembered {
    Yes,
    No,
    Unknown,
}

/// How a packet looks to a stage.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Looks {
    /// As it came.
    AsItCame,
    /// Whole: behind guard, fragments are put together.
    Whole,
    /// Whole, and its time to live is one less: routing has found that this host sends it on.
    SentOn,
}

/// The sides that a cube speaks of.
fn named(cube: &Cube) -> Spoken<'_> {
    Spoken {
        ingress: &cube.ingress,
        egress: &cube.egress,
        named: Some([names_loopback(&cube.ingress), names_loopback(&cube.egress)]),
    }
}

/// What a stage sees of a field.
enum Seen {
    /// The packet's own value.
    Own,
    /// That less one; 0 stays.
    OneLess,
    /// This value, whatever the packet's own is.
    Always(u64),
    /// Any value.
    Anything,
    /// Nothing: no packet has the field there.
    Never,
}

/// What a stage sees of a field. Fragments are put together before steer, and a packet that opens a
/// flow is a new one of the original direction.
fn constant(field: Field, view: View, looks: Looks, memory: Memory) -> Seen {
    const NEW: u64 = 0;
    const UNTRACKED: u64 = 3;
    let tracking = [CT_STATE, CT_DIRECTION, CT_MARK].contains(&field);
    match field {
        f if f == DPORT => match view.moved.port() {
            Some(port) => Seen::Always(port.into()),
            None => Seen::Own,
        },
        f if f == IP_FRAGMENT && looks != Looks::AsItCame => Seen::Always(0),
        f if f == IP_TTL && looks == Looks::SentOn => Seen::OneLess,
        _ if tracking && view.stage == Stage::Guard => Seen::Never,
        f if f == CT_STATE && view.untracked => Seen::Always(UNTRACKED),
        _ if tracking && view.untracked => Seen::Never,
        f if f == CT_STATE => Seen::Always(NEW),
        f if memory.any && [META_MARK, CT_MARK].contains(&f) => Seen::Anything,
        f if f == CT_MARK => memory
            .flow
            .map_or(Seen::Own, |mark| Seen::Always(mark.into())),
        _ if tracking => Seen::Always(0),
        _ => Seen::Own,
    }
}

/// Whether one of the ranges, which are in order, has a number from `first` to `last`.
fn touches<T: Int>(ranges: &[(T, T)], first: u128, last: u128) -> bool {
    let at = ranges.partition_point(|(_, end)| end.wide() < first);
    ranges
        .get(at)
        .is_some_and(|(start, _)| start.wide() <= last)
}

/// Whether a side names the loopback interface itself: a cube speaks of loopback traffic only then.
pub(super) fn names_loopback(side: &Side) -> bool {
    side.ifaces.include().is_some() && side.ifaces.contains("lo")
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
        Moved::No | Moved::Routed | Moved::Here => numbers(set, family),
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
