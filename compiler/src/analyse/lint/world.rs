//! What comes from the world.
//!
//! The world is behind the interfaces of zones that are called so in the settings, or whose names
//! say it, and behind those of no zone; in a policy without zones, behind all but `lo`. Private
//! addresses are not the world, and a rule for a limited set of sources lets nobody else in.

use std::net::IpAddr;

use super::index::Lines;
use crate::analyse::model::{Dim, Line, Model, Moved, V4, View};
use crate::ir::{Stage, Verdict};
use crate::packet::cover::{Budget, OutOfBudget, subtract};
use crate::packet::{AddrSet, IntervalSet, Region, Values};
use crate::policy::{Policy, Value, Zone};

/// Names of zones behind which anybody can be.
const WORLD: &[&str] = &[
    "wan", "world", "internet", "external", "public", "outside", "uplink",
];

/// A set of fewer IPv4 addresses is limited.
const MANY_V4: u128 = 1 << 24;

/// A set of IPv6 ranges that are no longer than a /32 is limited.
const MANY_V6: u128 = 1 << 96;

/// The most numbers that the regions of a policy may have: beyond it, nothing is known.
const MOST: usize = 40_000_000;

/// What is known of the traffic that arrives from the world.
pub struct World {
    /// The interfaces, as numbers of [`Dim::Ingress`]; `None` when none is.
    pub ingress: Option<Values>,
    /// All that arrives by them, for this host or another one.
    pub arrivals: Vec<Region>,
    /// All that can reach filter.
    pub(super) universe: Vec<Region>,
    /// Of each family, the addresses that nobody on the Internet has.
    inside: [Option<Values>; 2],
    /// How flows come to filter, and to the rules of steer that admit them.
    pub(super) ways: Vec<Way>,
    /// The lines of steer.
    pub(super) steer: Option<Lines>,
    /// The lines of guard.
    pub(super) guard: Option<Lines>,
    /// What guard denies.
    pub(super) denied: Vec<Region>,
}

/// One of the things that steer can do to a flow before filter sees it.
pub(super) struct Way {
    pub(super) moved: Moved,
    /// The rule of steer that does it, and the flows for which it does.
    pub(super) by: Option<(usize, Vec<Region>)>,
    /// Flows that do not go this way, or that cannot be.
    pub(super) closed: Vec<Region>,
    /// The lines of filter.
    pub(super) lines: Lines,
}

impl World {
    /// For a policy; it knows of no flow where that would take too long to find out.
    pub fn of(model: &Model, names: &[String]) -> Self {
        let numbers = interfaces(model, names).map(|n| (n, n));
        let ingress = Values::of(&numbers.collect::<IntervalSet<u128>>());
        let arrives = |region: Region| {
            let ingress = ingress.as_ref()?;
            model.space.narrowed(&region, &Dim::Ingress, ingress)
        };
        let universe = model.universe(Stage::Filter);
        let inside = inside();
        let mut world = Self {
            arrivals: universe.iter().cloned().filter_map(arrives).collect(),
            universe,
            inside: [Values::of(&inside.v4), Values::of(&inside.v6)],
            ingress,
            ways: Vec::new(),
            steer: None,
            guard: None,
            denied: Vec::new(),
        };
        let cubes: usize = model.ir.rules().map(|(_, r)| r.cubes.len()).sum();
        let known = model.blind().is_none() && 2 * cubes * model.space.dims.len() <= MOST;
        if !known || world.look(model).is_err() {
            world.ways.clear();
            world.steer = None;
        }
        world
    }

    fn look(&mut self, model: &Model) -> Result<(), OutOfBudget> {
        let guard = Lines::of(model, View::of(Stage::Guard))?;
        self.denied = taken(model, &guard, |verdict| matches!(verdict, Verdict::Deny))?;
        let steer = Lines::of(model, View::of(Stage::Steer))?;
        let mut closed = taken(model, &steer, |v| !matches!(v, Verdict::Direct))?;
        closed.extend(model.impossible(Moved::No));
        self.ways.push(Way {
            moved: Moved::No,
            by: None,
            closed,
            lines: Lines::of(model, filter_view(Moved::No))?,
        });
        for (index, rule) in model.ir.steer.iter().enumerate().filter(|(_, r)| !r.admit) {
            let moves = rule.verdict.iter().flat_map(|v| moves(model, v));
            for (moved, choice) in moves.filter(|(moved, _)| *moved != Moved::No) {
                if (self.ways.len() + 2) * model.ir.filter.len() > MOST / 200 {
                    return Err(OutOfBudget);
                }
                let regions = steer.line(index).map_or(&[][..], |(_, line)| &line.regions);
                let chosen = regions
                    .iter()
                    .filter_map(|r| chosen(model, r, choice.as_ref()));
                self.ways.push(Way {
                    moved,
                    by: Some((index, chosen.collect())),
                    closed: model.impossible(moved),
                    lines: Lines::of(model, filter_view(moved))?,
                });
            }
        }
        self.steer = Some(steer);
        self.guard = Some(guard);
        Ok(())
    }

    /// The lines of filter, for flows that steer leaves alone; `None` when they are not known.
    pub fn filter(&self) -> Option<&Lines> {
        self.ways.first().map(|way| &way.lines)
    }

    /// The lines of steer; `None` when they are not known.
    pub fn steer(&self) -> Option<&Lines> {
        self.steer.as_ref()
    }

    /// Whether some of a region can come from the world: through its interfaces, from addresses
    /// there, and not from a limited set of them.
    pub fn sends(&self, model: &Model, region: &Region) -> bool {
        let space = &model.space;
        let came = space
            .values(region, &Dim::Ingress)
            .zip(self.ingress.as_ref());
        let sources = space.values(region, &Dim::Source);
        came.is_some_and(|(came, world)| came.intersects(world))
            && sources.is_some_and(|s| is_many(s, space.family(region)))
    }

    /// The part of a region that comes from there.
    pub fn part(&self, model: &Model, region: &Region) -> Option<Region> {
        let region = model
            .space
            .narrowed(region, &Dim::Ingress, self.ingress.as_ref()?)?;
        let family = model.space.family(&region);
        let [v4, v6] = &self.inside;
        let inside = if family == V4 { v4 } else { v6 };
        let sources = model.space.values(&region, &Dim::Source)?;
        let sources = sources.difference(inside.as_ref()?)?;
        is_many(&sources, family)
            .then(|| model.space.narrowed(&region, &Dim::Source, &sources))
            .flatten()
    }
}

pub(super) fn filter_view(moved: Moved) -> View {
    View {
        stage: Stage::Filter,
        moved,
        untracked: false,
    }
}

/// The part of a region that gets one of several targets.
pub(super) fn chosen(
    model: &Model,
    region: &Region,
    choice: Option<&(Dim, u128)>,
) -> Option<Region> {
    match choice {
        Some((dim, n)) => model.space.narrowed(region, dim, &Values::one(*n)),
        None => Some(region.clone()),
    }
}

/// Whether a zone of this name, with addresses of its own or not, is the world, according to the
/// zones that the settings name.
pub(super) fn is_world(named: &[String], name: &str, zone: &Zone) -> bool {
    if named.is_empty() {
        WORLD.contains(&name) && zone.net.is_none()
    } else {
        named.iter().any(|w| w == name)
    }
}

/// The interfaces of the world, as numbers.
fn interfaces<'m>(model: &'m Model, world: &'m [String]) -> impl Iterator<Item = u128> + 'm {
    let zones = zones(model.policy);
    let behind = move |iface: &str| {
        let mut of = zones.iter().filter(|(_, z)| z.ifaces.contains(iface));
        of.next()
            .is_none_or(|(name, zone)| is_world(world, name, zone))
    };
    let names = (1..).map_while(|n| Some((n, model.space.ifaces.name(n)?)));
    names
        .filter(move |(_, name)| *name != "lo" && behind(name))
        .map(|(n, _)| n)
}

/// The zones of a policy, with their names.
pub(super) fn zones(policy: &Policy) -> Vec<(&str, &Zone)> {
    let definitions = policy.definitions.iter();
    let zones = definitions.filter_map(|d| match &d.value {
        Value::Zone(zone) => Some((d.name.as_str(), zone)),
        _ => None,
    });
    zones.collect()
}

/// What the rules of a stage with some verdicts really get: their regions without those of earlier
/// rules with other verdicts.
fn taken(
    model: &Model,
    lines: &Lines,
    is: impl Fn(&Verdict) -> bool,
) -> Result<Vec<Region>, OutOfBudget> {
    let of = |at: usize| {
        let rule = lines.lines.get(at).and_then(Line::rule);
        rule.and_then(|id| id.of(model.ir)?.verdict.as_ref())
            .is_some_and(&is)
    };
    let mut out = Vec::new();
    let mut budget = Budget::default();
    for (at, line) in lines.lines.iter().enumerate().filter(|(at, _)| of(*at)) {
        for region in &line.regions {
            let earlier = lines.earlier(at, region).into_iter();
            let others: Vec<&Region> = earlier.filter(|(e, _)| !of(*e)).map(|(_, r)| r).collect();
            out.extend(subtract(region, &others, &mut budget)?);
        }
    }
    Ok(out)
}

/// What a verdict of steer does to a flow: each of its targets, and the choice that falls on it.
pub(super) fn moves(model: &Model, verdict: &Verdict) -> Vec<(Moved, Option<(Dim, u128)>)> {
    let nat = match verdict {
        Verdict::Dnat(nat) => nat,
        Verdict::Route { .. } => return vec![(Moved::Routed, None)],
        _ => return vec![(Moved::No, None)],
    };
    let families = [&nat.v4, &nat.v6].into_iter();
    let all = families.flat_map(|targets| {
        let choice = model.space.choices.iter().position(|c| c == targets);
        let numbered = targets.iter().zip(0..);
        numbered.map(move |(target, n)| (Moved::To(*target), choice.map(|c| (Dim::Choice(c), n))))
    });
    all.collect()
}

/// Addresses that nobody on the Internet has: private, loopback, link-local, multicast.
fn inside() -> AddrSet {
    const INSIDE: &[(&str, u8)] = &[
        ("0.0.0.0", 8),
        ("10.0.0.0", 8),
        ("127.0.0.0", 8),
        ("169.254.0.0", 16),
        ("172.16.0.0", 12),
        ("192.168.0.0", 16),
        ("224.0.0.0", 3),
        ("::", 8),
        ("fc00::", 7),
        ("fe80::", 10),
        ("ff00::", 8),
    ];
    let prefixes = INSIDE.iter().filter_map(|(text, len)| {
        let addr: IpAddr = text.parse().ok()?;
        AddrSet::prefix(addr, *len)
    });
    prefixes.fold(AddrSet::empty(), |set, one| set.union(&one))
}

/// Whether so many addresses are nobody's in particular.
fn is_many(sources: &Values, family: u128) -> bool {
    let ranges = sources.ranges();
    if family == V4 {
        ranges.iter().map(|(a, b)| b - a + 1).sum::<u128>() >= MANY_V4
    } else {
        ranges.iter().any(|(a, b)| b - a >= MANY_V6)
    }
}
