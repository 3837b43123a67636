//! What comes from the world, and which rules let it in.
//!
//! The world is behind the interfaces of zones that are called so in the settings, or whose names
//! say it, and behind those of no zone; in a policy without zones, behind all but `lo`. Private
//! addresses are not the world, and a rule for a limited set of sources lets nobody else in.

use std::net::IpAddr;
use std::rc::Rc;

use super::Context;
use super::index::Lines;
use super::words::words;
use crate::analyse::model::{Dim, Line, Model, Moved, V4, View};
use crate::interpret::RuleId;
use crate::ir::{Cube, Stage, Verdict};
use crate::packet::cover::{Budget, Cover, OutOfBudget, cover, subtract};
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

/// The most pieces that one question looks at.
const PIECES: u64 = 3_000;

/// Where flows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The world: its interfaces, and addresses there, if many can have them.
    World,
    /// The interfaces of the world, whatever the addresses.
    Interfaces,
    /// Anywhere: this host, too.
    Anywhere,
}

/// Flows that are asked about.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    /// Where they come from.
    pub origin: Origin,
    /// What they are, as filter would see them, as alternatives.
    pub asked: &'q [Cube],
    /// Whether no bucket has a token for them. If not, buckets may have some or none.
    pub empty: bool,
}

/// What is known of the traffic that arrives from the world.
pub struct World {
    /// The interfaces, as numbers of [`Dim::Ingress`]; `None` when none is.
    pub ingress: Option<Values>,
    /// All that arrives by them, for this host or another one.
    pub arrivals: Vec<Region>,
    /// All that can reach filter.
    universe: Vec<Region>,
    /// Of each family, the addresses that nobody on the Internet has.
    inside: [Option<Values>; 2],
    /// How flows come to filter, and to the rules of steer that admit them.
    ways: Vec<Way>,
    /// The lines of steer.
    steer: Option<Lines>,
    /// The lines of guard.
    guard: Option<Lines>,
    /// What guard denies.
    denied: Vec<Region>,
}

/// One of the things that steer can do to a flow before filter sees it.
struct Way {
    moved: Moved,
    /// The rule of steer that does it, and the flows for which it does.
    by: Option<(usize, Vec<Region>)>,
    /// Flows that do not go this way, or that cannot be.
    closed: Vec<Region>,
    /// The lines of filter.
    lines: Lines,
}

/// Flows from the world that a rule lets in.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Some of them.
    pub region: Region,
    /// One of them in words, as a test would have it.
    pub example: String,
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

impl Context<'_> {
    /// Flows from the world that a rule of filter allows, or that a rule of steer admits, and
    /// that are among those that `asked` means, as filter would see them; `None` when there are
    /// none, or nothing is known.
    pub fn allowed_from_world(&self, id: RuleId, asked: &Cube) -> Option<Opening> {
        let allows = match (id.stage, id.of(self.ir)?.verdict.as_ref()?) {
            (Stage::Filter, verdict) => matches!(verdict, Verdict::Allow),
            _ => true,
        };
        let question = Question {
            origin: Origin::World,
            asked: std::slice::from_ref(asked),
            empty: false,
        };
        allows.then(|| self.decided(id, question).ok()?).flatten()
    }

    /// Flows that a rule of filter decides, or that a rule of steer admits, and that a question is
    /// about; `None` when there are none.
    pub fn decided(&self, id: RuleId, question: Question) -> Result<Option<Opening>, OutOfBudget> {
        let (world, model) = (self.world(), self.model());
        let (Some(rule), Some(steer)) = (id.of(self.ir), &world.steer) else {
            return Err(OutOfBudget);
        };
        match (id.stage, &rule.verdict) {
            (Stage::Filter, Some(_)) => first(&world.ways, |way| {
                self.through_filter(way, id.index, question)
            }),
            (Stage::Steer, Some(verdict)) if rule.admit || is_local(verdict) => {
                first(&moves(model, verdict), |way| {
                    self.through_steer(steer, id.index, way, question)
                })
            }
            _ => Ok(None),
        }
    }

    fn through_steer(
        &self,
        steer: &Lines,
        index: usize,
        (moved, choice): &(Moved, Option<(Dim, u128)>),
        question: Question,
    ) -> Result<Option<Opening>, OutOfBudget> {
        let model = self.model();
        let Some((at, line)) = steer.line(index) else {
            return Ok(None);
        };
        let regions = line.regions.iter().filter(|r| self.may_ask(question, r));
        let regions = regions.filter_map(|r| chosen(model, r, choice.as_ref()));
        let rule = self.ir.steer.get(index);
        let proxied = rule.is_some_and(|r| matches!(r.verdict, Some(Verdict::Proxy(_))));
        let regions = regions.map(|r| if proxied { away(model, r) } else { r });
        let asked = self.asked(question, *moved);
        let targets = regions.flat_map(|r| meets(&r, &asked));
        let closed = model.impossible(*moved);
        let id = RuleId {
            stage: Stage::Steer,
            index,
        };
        self.opening(
            id,
            question.origin,
            &targets.collect::<Vec<_>>(),
            |target| {
                let earlier = steer.earlier(at, target).into_iter().map(|(_, r)| r);
                earlier.chain(&closed).collect()
            },
        )
    }

    fn through_filter(
        &self,
        way: &Way,
        index: usize,
        question: Question,
    ) -> Result<Option<Opening>, OutOfBudget> {
        let Some((at, line)) = way.lines.line(index) else {
            return Ok(None);
        };
        let mut regions = line.regions.iter().filter(|r| self.may_ask(question, r));
        let Some(first) = regions.next() else {
            return Ok(None);
        };
        let asked = self.asked(question, way.moved);
        let regions = std::iter::once(first).chain(regions);
        let targets = regions.flat_map(|r| meets(r, &asked));
        let targets: Vec<Region> = match &way.by {
            Some((_, by)) => targets.flat_map(|r| meets(&r, by)).collect(),
            None => targets.collect(),
        };
        let steer = self.world().steer.as_ref();
        let id = RuleId {
            stage: Stage::Filter,
            index,
        };
        self.opening(id, question.origin, &targets, |target| {
            let mut closed: Vec<&Region> = way.closed.iter().collect();
            if let (Some(steer), Some((by, _))) = (steer, &way.by)
                && let Some((line, _)) = steer.line(*by)
            {
                closed.extend(steer.earlier(line, target).into_iter().map(|(_, r)| r));
            }
            closed.extend(way.lines.earlier(at, target).into_iter().map(|(_, r)| r));
            closed
        })
    }

    fn may_ask(&self, question: Question, region: &Region) -> bool {
        question.origin != Origin::World || self.world().sends(self.model(), region)
    }

    /// What a question is about, before steer has moved it.
    fn asked(&self, question: Question, moved: Moved) -> Rc<[Region]> {
        let mut last = self.last_asked.borrow_mut();
        if let Some((asked, empty, of, regions)) = &*last
            && *empty == question.empty
            && *of == moved
            && asked == question.asked
        {
            return Rc::clone(regions);
        }
        let regions: Rc<[Region]> = self.worked_out(question, moved).into();
        let asked = question.asked.to_vec();
        *last = Some((asked, question.empty, moved, Rc::clone(&regions)));
        regions
    }

    fn worked_out(&self, question: Question, moved: Moved) -> Vec<Region> {
        let model = self.model();
        let regions = model.regions(question.asked, filter_view(moved));
        if !question.empty {
            return regions;
        }
        let empty = |region: Region| {
            let buckets = 0..model.space.buckets.len();
            let none = Values::one(0);
            buckets.map(Dim::Tokens).try_fold(region, |region, bucket| {
                model.space.narrowed(&region, &bucket, &none)
            })
        };
        regions.into_iter().filter_map(empty).collect()
    }

    /// Flows of an origin among some, which are not among those that are closed.
    fn opening<'c>(
        &self,
        id: RuleId,
        origin: Origin,
        targets: &[Region],
        closed: impl Fn(&Region) -> Vec<&'c Region>,
    ) -> Result<Option<Opening>, OutOfBudget> {
        let (world, model) = (self.world(), self.model());
        let mut budget = Budget::new(PIECES);
        let arrivals = match origin {
            Origin::World | Origin::Interfaces => &world.arrivals,
            Origin::Anywhere => &world.universe,
        };
        let part = |region: &Region| match origin {
            Origin::World => world.part(model, region),
            Origin::Interfaces | Origin::Anywhere => Some(region.clone()),
        };
        for target in targets.iter().filter_map(part) {
            for arriving in arrivals {
                let Some(target) = target.intersection(arriving) else {
                    continue;
                };
                let mut closed = closed(&target);
                let denied = world.denied.iter();
                closed.extend(denied.filter(|d| d.intersects(&target)));
                if let Cover::Hole(region) = cover(&target, &closed, &mut budget)? {
                    let example = self.shown(id, &region);
                    return Ok(example.map(|example| Opening { region, example }));
                }
            }
        }
        Ok(None)
    }

    /// Packets that a rule of guard decides, among some regions; `None` when there are none.
    pub fn decided_by_guard(
        &self,
        index: usize,
        asked: &[Region],
    ) -> Result<Option<Opening>, OutOfBudget> {
        let guard = self.world().guard.as_ref().ok_or(OutOfBudget)?;
        let Some((at, line)) = guard.line(index) else {
            return Ok(None);
        };
        let mut budget = Budget::new(PIECES);
        for target in line.regions.iter().flat_map(|r| meets(r, asked)) {
            let earlier = guard.earlier(at, &target).into_iter();
            let earlier: Vec<&Region> = earlier.map(|(_, region)| region).collect();
            if let Cover::Hole(region) = cover(&target, &earlier, &mut budget)? {
                let stage = Stage::Guard;
                let example = self.shown(RuleId { stage, index }, &region);
                return Ok(example.map(|example| Opening { region, example }));
            }
        }
        Ok(None)
    }

    /// The rules of filter, or of guard, that speak of packets among some, in order: what steer
    /// does before filter is left out.
    pub fn speaking(&self, stage: Stage, asked: &[Region]) -> Vec<RuleId> {
        let world = self.world();
        let lines = match stage {
            Stage::Guard => world.guard.as_ref(),
            Stage::Steer => world.steer.as_ref(),
            _ => world.ways.first().map(|way| &way.lines),
        };
        let Some(lines) = lines else {
            return Vec::new();
        };
        let meeting = asked.iter().flat_map(|a| lines.earlier(usize::MAX, a));
        let mut numbers: Vec<usize> = meeting.map(|(line, _)| line).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let lines = numbers.into_iter().filter_map(|n| lines.lines.get(n));
        lines.filter_map(Line::rule).collect()
    }

    /// A packet of a region in words, as a test would have it.
    pub fn in_words(&self, region: &Region) -> String {
        let model = self.model();
        words(model, &model.example(region).packet)
    }
}

/// The first flows that a search among several finds.
fn first<T>(
    among: &[T],
    search: impl Fn(&T) -> Result<Option<Opening>, OutOfBudget>,
) -> Result<Option<Opening>, OutOfBudget> {
    let mut found = among.iter().map(search);
    let found = found.find(|found| !matches!(found, Ok(None)));
    found.unwrap_or(Ok(None))
}

fn filter_view(moved: Moved) -> View {
    View {
        stage: Stage::Filter,
        moved,
        untracked: false,
    }
}

/// What two regions share, for each of some.
fn meets(region: &Region, others: &[Region]) -> Vec<Region> {
    let meets = others.iter().filter_map(|o| region.intersection(o));
    meets.collect()
}

/// What a proxy takes of a region: what is for another machine, unless the rule says `to host`.
fn away(model: &Model, region: Region) -> Region {
    let every = model.space.full(&Dim::Egress, model.space.family(&region));
    let others = every.difference(&Values::one(0));
    let narrowed = others.and_then(|others| model.space.narrowed(&region, &Dim::Egress, &others));
    narrowed.unwrap_or(region)
}

/// The part of a region that gets one of several targets.
fn chosen(model: &Model, region: &Region, choice: Option<&(Dim, u128)>) -> Option<Region> {
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

/// Whether a rule of steer with this verdict admits what it takes.
fn is_local(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Redirect { .. } | Verdict::Proxy(_))
}

/// What a verdict of steer does to a flow: each of its targets, and the choice that falls on it.
fn moves(model: &Model, verdict: &Verdict) -> Vec<(Moved, Option<(Dim, u128)>)> {
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
