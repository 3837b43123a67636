//! What becomes of a packet, as far as somebody could notice, and where two fates differ.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::effects::effects;
use crate::analyse::model::{Dim, Moved, Space, V4};
use crate::field::{DPORT, META_MARK};
use crate::interpret::{Fact, Outcome, RuleId};
use crate::ir::{Down, Mark, NatTarget, Stage};
use crate::packet::{AddrSet, IntervalSet, Region, Values};

/// Who decided something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Decider {
    /// A rule.
    Rule(RuleId),
    /// A fact of the language.
    Fact(Fact),
    /// Nobody: it is what happens otherwise.
    Nobody,
}

/// Where steer sends a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goes {
    /// Where its own destination is.
    Direct,
    /// To a port of this host.
    Redirect(Option<u16>),
    /// To another destination.
    Dnat(NatTarget),
    /// To a proxy.
    Proxy {
        /// The socket for its family.
        socket: Option<(IpAddr, u16)>,
        /// The mark of its flows.
        mark: Mark,
        /// The table that delivers them.
        table: u32,
        /// What happens while nobody listens.
        down: Down,
    },
    /// By another routing table.
    Route(u32),
}

/// From which source a flow leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Its own.
    Own,
    /// The address of the interface.
    Masquerade,
    /// Another one.
    Snat(NatTarget),
}

/// An entry in the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its text: that of the rule, or the rule's name.
    pub text: String,
    /// Whether the text is a name.
    pub is_name: bool,
    /// The bucket that must have a token for it, as an index into [`Space::buckets`].
    pub at: Option<usize>,
}

/// What becomes of a packet under one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// The outcome; `None` on the way to one.
    pub(super) end: Option<Outcome>,
    /// Where it goes.
    pub goes: Goes,
    /// Its source when it leaves.
    pub source: Source,
    /// The bits of its mark that were set.
    pub mark: Mark,
    /// Whether conntrack leaves it alone because guard says so.
    pub notrack: bool,
    /// What was logged, where that may make a difference.
    pub logged: Vec<Entry>,
    /// The dynamic sets that its key was put into, where that may make a difference.
    pub added: Vec<String>,
    /// Who decided the outcome.
    pub by: Decider,
    /// Who decided where it goes.
    pub steered_by: Decider,
    /// Who decided its source.
    pub sourced_by: Decider,
    /// The rules whose marks, entries or keys are among those above.
    pub effects_by: Vec<RuleId>,
    /// How the stages behind steer see it.
    pub(super) moved: Moved,
    pub(super) untracked: bool,
    pub(super) admitted: bool,
    /// How many tokens it has taken from each shared bucket, by index into [`Space::buckets`].
    pub(super) taken: BTreeMap<usize, u128>,
    /// Its flow's mark.
    pub(super) flow_mark: u32,
    /// Which [`Space::choices`] it depends on.
    pub(super) choices: Vec<usize>,
}

impl Fate {
    /// On the way in.
    pub(super) fn new() -> Self {
        Self {
            end: None,
            goes: Goes::Direct,
            source: Source::Own,
            mark: Mark { value: 0, mask: 0 },
            notrack: false,
            logged: Vec::new(),
            added: Vec::new(),
            by: Decider::Nobody,
            steered_by: Decider::Nobody,
            sourced_by: Decider::Nobody,
            effects_by: Vec::new(),
            moved: Moved::No,
            untracked: false,
            admitted: false,
            taken: BTreeMap::new(),
            flow_mark: 0,
            choices: Vec::new(),
        }
    }

    /// The outcome.
    pub fn outcome(&self) -> Outcome {
        self.end.unwrap_or(Outcome::Allow)
    }

    /// Whether the stages that are left see the same packet, and nothing so far tells the two apart.
    pub(super) fn in_step(&self, other: &Self) -> bool {
        (self.end, self.goes, self.source, self.mark)
            == (other.end, other.goes, other.source, other.mark)
            && (self.moved, self.untracked, self.admitted, self.notrack)
                == (other.moved, other.untracked, other.admitted, other.notrack)
            && self.logged == other.logged
            && self.added == other.added
            && (&self.taken, self.flow_mark) == (&other.taken, other.flow_mark)
    }

    /// Sets bits of its mark, and of its flow's. Guard knows no flow.
    pub(super) fn set_mark(&mut self, mark: Mark, stage: Stage) {
        if stage != Stage::Guard {
            self.flow_mark = self.flow_mark & !mark.mask | mark.value & mark.mask;
        }
        self.mark = Mark {
            value: self.mark.value & !mark.mask | mark.value & mark.mask,
            mask: self.mark.mask | mark.mask,
        };
    }
}

/// How a packet's fate changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It was refused and passes.
    Allowed,
    /// It passed and is refused.
    Denied,
    /// It is refused in another way.
    Refused,
    /// It goes elsewhere, or leaves with another source.
    Retargeted,
    /// It gets another mark, or is tracked where it was not, or the other way round.
    Marked,
    /// It leaves other entries in the log, or is remembered in other sets.
    Effects,
}

impl Kind {
    /// All, the weightiest first.
    pub const ALL: [Self; 6] = [
        Self::Allowed,
        Self::Denied,
        Self::Refused,
        Self::Retargeted,
        Self::Marked,
        Self::Effects,
    ];

    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Allowed => "newly allowed",
            Self::Denied => "newly denied",
            Self::Refused => "refused otherwise",
            Self::Retargeted => "goes elsewhere",
            Self::Marked => "marked or tracked otherwise",
            Self::Effects => "logged or remembered otherwise",
        }
    }

    /// In JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allowed => "newly-allowed",
            Self::Denied => "newly-denied",
            Self::Refused => "refused-otherwise",
            Self::Retargeted => "re-targeted",
            Self::Marked => "mark-changed",
            Self::Effects => "log-only",
        }
    }
}

/// Too many parts to tell exactly where two marks differ.
pub(super) struct TooFine;

/// Where in a region two fates differ, and how. What is in none of the parts has the same fate.
pub(super) fn differences(
    space: &Space,
    region: &Region,
    a: &Fate,
    b: &Fate,
) -> Result<Vec<(Kind, Region)>, TooFine> {
    let whole = |kind| Ok(vec![(kind, region.clone())]);
    let mut out = Vec::new();
    let mut rest = vec![region.clone()];
    match (a.outcome(), b.outcome()) {
        (Outcome::Allow, Outcome::Allow) => {
            let mut part = |kind, split: &mut dyn FnMut(&Region) -> Result<Parts, TooFine>| {
                let mut same = Vec::new();
                for region in rest.drain(..) {
                    let parts = split(&region)?;
                    same.extend(parts.same);
                    out.extend(parts.other.into_iter().map(|r| (kind, r)));
                }
                rest = same;
                Ok(())
            };
            part(Kind::Retargeted, &mut |r| {
                Ok(goes(space, r, a.goes, b.goes))
            })?;
            part(Kind::Retargeted, &mut |r| {
                Ok(leaves(space, r, a.source, b.source))
            })?;
            part(Kind::Marked, &mut |r| marks(space, r, a, b))?;
        }
        (Outcome::Allow, _) => return whole(Kind::Denied),
        (_, Outcome::Allow) => return whole(Kind::Allowed),
        (x, y) if x != y => return whole(Kind::Refused),
        _ => {}
    }
    for region in rest {
        let parts = effects(space, &region, a, b);
        out.extend(parts.other.into_iter().map(|r| (Kind::Effects, r)));
    }
    Ok(out)
}

/// A region, split.
pub(super) struct Parts {
    pub(super) same: Vec<Region>,
    pub(super) other: Vec<Region>,
}

impl Parts {
    pub(super) fn same(region: &Region) -> Self {
        Self {
            same: vec![region.clone()],
            other: vec![],
        }
    }

    pub(super) fn other(region: &Region) -> Self {
        Self {
            same: vec![],
            other: vec![region.clone()],
        }
    }

    /// The two are the same only where a dimension has these values.
    fn same_where(space: &Space, region: &Region, dim: &Dim, values: Option<&Values>) -> Self {
        let (Some(at), Some(values)) = (space.at(dim), values) else {
            return Self::other(region);
        };
        let all = region.dim(at);
        let same = region.narrowed(at, values);
        let other = all
            .and_then(|v| v.difference(values))
            .map(|v| region.with(at, v));
        Self {
            same: same.into_iter().collect(),
            other: other.into_iter().collect(),
        }
    }

    /// What is the same in both.
    fn and(self, mut next: impl FnMut(&Region) -> Self) -> Self {
        let mut out = Self {
            same: vec![],
            other: self.other,
        };
        for region in &self.same {
            let parts = next(region);
            out.same.extend(parts.same);
            out.other.extend(parts.other);
        }
        out
    }
}

fn goes(space: &Space, region: &Region, a: Goes, b: Goes) -> Parts {
    let ports = |a: Option<u16>, b: Option<u16>, region: &Region| ports(space, region, a, b);
    match (a, b) {
        _ if a == b => Parts::same(region),
        (Goes::Redirect(x), Goes::Redirect(y)) => ports(x, y, region),
        (Goes::Dnat(x), Goes::Dnat(y)) => {
            let port = |target| match target {
                NatTarget::Addr(_, port) => port,
                NatTarget::Prefix { .. } => None,
            };
            let moved = targets(space, region, &Dim::Destination, x, y);
            moved.and(|region| ports(port(x), port(y), region))
        }
        _ => Parts::other(region),
    }
}

/// A port that stays may be the one that another target has.
fn ports(space: &Space, region: &Region, a: Option<u16>, b: Option<u16>) -> Parts {
    match (a, b) {
        _ if a == b => Parts::same(region),
        (Some(port), None) | (None, Some(port)) => {
            let own = Values::one(port.into());
            Parts::same_where(space, region, &Dim::Field(DPORT), Some(&own))
        }
        _ => Parts::other(region),
    }
}

fn leaves(space: &Space, region: &Region, a: Source, b: Source) -> Parts {
    match (a, b) {
        _ if a == b => Parts::same(region),
        (Source::Snat(x), Source::Snat(y)) => targets(space, region, &Dim::Source, x, y),
        _ => Parts::other(region),
    }
}

/// Where two targets are the same address.
fn targets(space: &Space, region: &Region, dim: &Dim, a: NatTarget, b: NatTarget) -> Parts {
    let one = |addr: IpAddr| number(addr);
    let shift = |target| match target {
        NatTarget::Addr(..) => None,
        NatTarget::Prefix { from, to, len } => Some((first(from, len), first(to, len))),
    };
    match (a, b) {
        (NatTarget::Addr(x, _), NatTarget::Addr(y, _)) if x == y => Parts::same(region),
        (NatTarget::Addr(..), NatTarget::Addr(..)) => Parts::other(region),
        (NatTarget::Addr(addr, _), prefix) | (prefix, NatTarget::Addr(addr, _)) => {
            let Some((from, to)) = shift(prefix) else {
                return Parts::other(region);
            };
            let own = one(addr).wrapping_sub(to).wrapping_add(from);
            Parts::same_where(space, region, dim, Some(&Values::one(own)))
        }
        _ => match (shift(a), shift(b)) {
            (Some(own), Some(other))
                if own.1.wrapping_sub(own.0) == other.1.wrapping_sub(other.0) =>
            {
                Parts::same(region)
            }
            _ => Parts::other(region),
        },
    }
}

fn number(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u32::from(addr).into(),
        IpAddr::V6(addr) => addr.into(),
    }
}

/// The first address of a prefix.
fn first(addr: IpAddr, len: u8) -> u128 {
    let set = AddrSet::prefix(addr, len).unwrap_or_else(|| AddrSet::one(addr));
    let v4 = set.v4.ranges().first().map(|(first, _)| u128::from(*first));
    v4.or_else(|| set.v6.ranges().first().map(|(first, _)| *first))
        .unwrap_or(0)
}

fn marks(space: &Space, region: &Region, a: &Fate, b: &Fate) -> Result<Parts, TooFine> {
    // The mark of a flow that is not there is nobody's.
    let flow = |fate: &Fate| {
        (!fate.untracked)
            .then_some(fate.flow_mark)
            .filter(|m| *m != 0)
    };
    if a.notrack != b.notrack || flow(a) != flow(b) {
        return Ok(Parts::other(region));
    }
    if a.mark == b.mark {
        return Ok(Parts::same(region));
    }
    let dim = Dim::Field(META_MARK);
    let set = |m: Mark, old: u32| old & !m.mask | m.value;
    let Some(come) = space.values(region, &dim) else {
        // Nobody asks with which mark a packet comes: it comes with none.
        let same = set(a.mark, 0) == set(b.mark, 0);
        return Ok(if same {
            Parts::same(region)
        } else {
            Parts::other(region)
        });
    };
    let both = a.mark.mask & b.mark.mask;
    if (a.mark.value ^ b.mark.value) & both != 0 {
        return Ok(Parts::other(region));
    }
    // The same where the packet comes with the bits that only one of them sets.
    let lone = a.mark.mask ^ b.mark.mask;
    let wanted = (a.mark.value | b.mark.value) & lone;
    let same = with_bits(lone, wanted, come).ok_or(TooFine)?;
    Ok(Parts::same_where(space, region, &dim, same.as_ref()))
}

/// The numbers of `among` whose bits under a mask are these; `None` when that takes too many
/// ranges.
#[expect(clippy::option_option, reason = "no number at all is an answer, too")]
fn with_bits(mask: u32, wanted: u32, among: &Values) -> Option<Option<Values>> {
    const MOST: u64 = 4096;
    let (first, last) = among.bounds();
    // The free bits above the lowest bit of the mask make one range each.
    let low = mask.trailing_zeros().min(31);
    let run = 1u128 << low;
    let free = !mask & !(u32::try_from(run - 1).unwrap_or(u32::MAX));
    if free.count_ones() > 12 {
        if last - first >= u128::from(MOST) {
            return None;
        }
        let fits = |n: &u128| u32::try_from(*n).is_ok_and(|n| n & mask == wanted);
        let found: IntervalSet<u128> = (first..=last).filter(fits).map(|n| (n, n)).collect();
        return Some(Values::of(&found).and_then(|v| v.intersection(among)));
    }
    let mut ranges = Vec::new();
    let mut bits = 0u32;
    loop {
        let start = u128::from(bits | wanted);
        ranges.push((start, start + run - 1));
        bits = bits.wrapping_sub(free) & free;
        if bits == 0 {
            break;
        }
    }
    let set: IntervalSet<u128> = ranges.into_iter().collect();
    Some(Values::of(&set).and_then(|v| v.intersection(among)))
}

/// The socket of a proxy for a family.
pub(super) fn socket(
    family: u128,
    v4: Option<(Ipv4Addr, u16)>,
    v6: Option<(Ipv6Addr, u16)>,
) -> Option<(IpAddr, u16)> {
    if family == V4 {
        v4.map(|(addr, port)| (addr.into(), port))
    } else {
        v6.map(|(addr, port)| (addr.into(), port))
    }
}
