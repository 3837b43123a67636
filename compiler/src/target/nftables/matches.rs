//! From a rule's cubes to the conditions of kernel rules.

use std::collections::BTreeSet;

use polc_bundle::{Family, Unresolved};

use super::Build;
use super::fields::{
    self, Address, Condition, IIF, IIFNAME, Key, L4PROTO, NFPROTO, OIFNAME, TH_DPORT,
};
use super::names::quotable;
use super::tree::{Match, Values};
use crate::field::{DPORT, Field, GID, UID};
use crate::ir::cube::{PrincipalKind, protocols};
use crate::ir::{Atom, Cube, Rule, Side, Verdict};
use crate::packet::{Families, IfaceSet, IntervalSet, Pattern};
use crate::target::Capability;

/// A place in the kernel where rules are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Guard,
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
    fn is_local(self) -> bool {
        matches!(
            self,
            Self::SteerOut | Self::NatOut | Self::Output | Self::Post
        )
    }

    /// The end of a packet's way that tells loopback traffic here.
    pub(crate) fn loopback(self) -> Option<Key> {
        match self {
            Self::Guard | Self::SteerPre | Self::NatPre | Self::Input => Some(IIFNAME),
            Self::SteerOut | Self::NatOut | Self::Output | Self::Post => Some(OIFNAME),
            Self::Forward => None,
        }
    }
}

/// Where a rule is evaluated, and whether for loopback traffic only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) hook: Hook,
    pub(crate) loopback: bool,
}

/// The conditions of one kernel rule.
#[derive(Clone, Debug)]
pub(crate) struct Alt {
    /// Known when the conditions restrict it.
    pub(crate) family: Option<Family>,
    pub(crate) matches: Vec<Match>,
    /// It does not hold where one of these does.
    pub(crate) excludes: Vec<Match>,
}

/// The kernel rules that together hold where a policy's rule does.
#[derive(Debug)]
pub(crate) struct Alts {
    pub(crate) list: Vec<Alt>,
    /// Whether no packet satisfies two of them.
    pub(crate) exclusive: bool,
}

/// The most cubes that are compared with one another to find that none overlap.
const COMPARED: usize = 6;

impl Build<'_> {
    /// What to ask for `rule` at `place`; nothing when its packets do not pass there. With `split`
    /// the family of each is known.
    pub(crate) fn alternatives(&mut self, rule: &Rule, place: Place, split: bool) -> Alts {
        let (mut list, mut used) = (Vec::new(), Vec::new());
        for piece in pieces(&rule.cubes) {
            let before = list.len();
            self.piece(&mut list, rule, &piece, place, split);
            if list.len() > before {
                used.push(piece.cube);
            }
        }
        let exclusive = used.len() <= COMPARED
            && used
                .iter()
                .enumerate()
                .all(|(i, a)| used.iter().skip(i + 1).all(|b| a.intersection(b).is_none()));
        Alts { list, exclusive }
    }

    /// Whether `rule` can hold for a packet at `place`.
    pub(crate) fn applies(&self, rule: &Rule, place: Place) -> bool {
        rule.cubes
            .iter()
            .any(|c| principals(c, place.hook).is_some() && !matches!(sides(c, place), Ok(None)))
    }

    /// Whether `rule` speaks of loopback traffic at `hook`.
    pub(crate) fn names_loopback(&self, rule: &Rule, hook: Hook) -> bool {
        let place = Place {
            hook,
            loopback: true,
        };
        self.applies(rule, place)
    }

    fn piece(&mut self, out: &mut Vec<Alt>, rule: &Rule, piece: &Piece, place: Place, split: bool) {
        let cube = &piece.cube;
        let sides = match sides(cube, place) {
            Ok(Some(sides)) => sides,
            Ok(None) => return,
            Err(capability) => return self.unsupported(capability, rule.span),
        };
        let Some(principals) = principals(cube, place.hook) else {
            return;
        };
        if place.hook.is_local() && cube.fields.keys().any(|f| f.name().starts_with("eth.")) {
            // What this host sends has no Ethernet header yet, so the comparison is false.
            if cube.ingress.ifaces.is_empty() {
                self.unsupported(Capability::LocalEther, rule.span);
            }
            if place.hook != Hook::Post {
                return;
            }
        }
        let captures = matches!(rule.verdict, Some(Verdict::Proxy(_)));
        let mut tests = Vec::new();
        let mut excludes = Vec::new();
        for (test, answer) in principals {
            let test = self.principal(test);
            if answer { &mut tests } else { &mut excludes }.push(test);
        }
        for family in families(cube, split) {
            let Some(body) = self.body(rule, piece, family) else {
                continue;
            };
            for side in &sides {
                let mut matches = side.before.clone();
                let known = body.iter().any(|m| m.family().is_some());
                if let Some(family) = family
                    && !known
                {
                    matches.push(nfproto(family));
                }
                matches.extend(body.iter().cloned());
                matches.extend(tests.iter().cloned());
                let after = match side.after {
                    Some(TO_HOST) => Some(TO_HOST),
                    _ if captures => Some(UNICAST_AWAY),
                    after => after,
                };
                matches.extend(after.map(|t| Match::Text(t.to_owned())));
                out.push(Alt {
                    family,
                    matches,
                    excludes: excludes.clone(),
                });
            }
        }
    }

    /// The conditions beside the sides, senders and family; `None` when no packet satisfies them.
    fn body(&mut self, rule: &Rule, piece: &Piece, family: Option<Family>) -> Option<Vec<Match>> {
        let cube = &piece.cube;
        let protocol = cube.proto.single();
        let (mut transport, mut other, mut implied) = (Vec::new(), Vec::new(), false);
        if let Some(services) = &piece.services {
            implied = true;
            transport.push(self.services(services));
        }
        for (field, set) in &cube.fields {
            if piece.services.is_some() && *field == DPORT {
                continue;
            }
            if protocol.is_none() && field.name().ends_with("port") {
                self.features.add("th expression", "5.3");
            }
            match fields::condition(*field, set, family, protocol) {
                Ok(Condition::Always) => {}
                Ok(Condition::Never) => return None,
                Ok(Condition::If(test)) => {
                    let key = match &test {
                        Match::Test { key, .. } => Some(*key),
                        _ => None,
                    };
                    if key.is_some_and(|k| k.transport) {
                        implied = true;
                        transport.push(test);
                    } else if field.name().ends_with("port") {
                        transport.push(test);
                    } else {
                        other.push(test);
                    }
                }
                Err(capability) => {
                    self.unsupported_field(capability, *field, rule);
                    return None;
                }
            }
        }
        let mut out = Vec::new();
        if !implied && cube.proto != protocols() {
            out.push(fields::among(L4PROTO, &cube.proto, 255));
        }
        out.append(&mut transport);
        out.append(&mut other);
        if let Some(family) = family {
            self.addresses(&mut out, cube, family);
        }
        for (atom, answer) in &cube.atoms {
            if let (Atom::Dynamic { set, dest }, Some(family)) = (atom, family) {
                out.push(self.in_dynamic(*set, *dest, family, *answer)?);
            }
        }
        Some(out)
    }

    fn addresses(&mut self, out: &mut Vec<Match>, cube: &Cube, family: Family) {
        let ends = [
            (Address::Source, &cube.saddr),
            (Address::Dest, &cube.daddr),
            (Address::Original, &cube.original),
        ];
        for (which, set) in ends {
            let label = set.label.as_deref();
            match family {
                Family::V4 if !set.v4.is_full() => {
                    out.push(self.pool.among(&mut self.names, which, &set.v4, label));
                }
                Family::V6 if !set.v6.is_full() => {
                    out.push(self.pool.among(&mut self.names, which, &set.v6, label));
                }
                _ => {}
            }
        }
    }

    /// Ports of several protocols as one lookup.
    fn services(&mut self, services: &[(u64, IntervalSet<u64>)]) -> Match {
        self.features.add("th expression", "5.3");
        let mut entries = Vec::new();
        for (protocol, ports) in services {
            for (first, last) in ports.ranges() {
                if first != last {
                    self.features.add("ranges in concatenations", "5.6");
                }
                entries.push(vec![
                    Values::Numbers(IntervalSet::one(*protocol)),
                    Values::Numbers(IntervalSet::range(*first, *last)),
                ]);
            }
        }
        Match::Tuple {
            keys: vec![L4PROTO, TH_DPORT],
            entries,
        }
    }

    fn principal(&mut self, principal: (&PrincipalKind, &str)) -> Match {
        let (kind, name) = principal;
        let quoted = quotable(name, 255);
        let (kind, text) = match kind {
            PrincipalKind::User => ("user", format!("meta skuid \"{quoted}\"")),
            PrincipalKind::Group => ("group", format!("meta skgid \"{quoted}\"")),
            PrincipalKind::Uid => return Match::Text(format!("meta skuid {quoted}")),
            PrincipalKind::Gid => return Match::Text(format!("meta skgid {quoted}")),
            PrincipalKind::Cgroup => {
                self.features.add("socket cgroupv2", "5.13");
                let path = quoted.trim_matches('/');
                let level = path.split('/').count();
                (
                    "cgroup",
                    format!("socket cgroupv2 level {level} \"{path}\""),
                )
            }
        };
        self.unresolved.insert(Unresolved {
            kind: kind.to_owned(),
            name: name.to_owned(),
        });
        Match::Text(text)
    }

    /// The conditions, all of which must hold, that a sender that `cube` describes sent the packet.
    pub(crate) fn sender(&mut self, cube: &Cube) -> Vec<Match> {
        let mut out = Vec::new();
        for (principal, _) in principals(cube, Hook::SteerOut).into_iter().flatten() {
            out.push(self.principal(principal));
        }
        for field in [UID, GID] {
            if let Some(set) = cube.field(field)
                && let Ok(Condition::If(test)) = fields::condition(field, set, None, None)
            {
                out.push(test);
            }
        }
        out
    }

    fn unsupported_field(&mut self, capability: Capability, field: Field, rule: &Rule) {
        self.unsupported(capability, rule.span);
        if let Some(label) = self.errors.last_mut().and_then(|d| d.labels.first_mut()) {
            label.text = format!("`{}` is asked for here", field.name());
        }
    }
}

/// `meta nfproto ipv4` or `ipv6`.
pub(crate) fn nfproto(family: Family) -> Match {
    let word = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    Match::Text(format!("{} {word}", NFPROTO.expr))
}

/// A cube, with the destination ports of its protocols when these differ from one to another.
struct Piece {
    cube: Cube,
    services: Option<Vec<(u64, IntervalSet<u64>)>>,
}

/// The cubes, where neighbours that differ in their services only are one.
fn pieces(cubes: &[Cube]) -> Vec<Piece> {
    let mut out: Vec<Piece> = Vec::new();
    for cube in cubes {
        if let (Some(piece), Some((protocol, ports))) = (out.last_mut(), service(cube))
            && same_but_service(&piece.cube, cube)
            && let Some(first) = service(&piece.cube)
        {
            let services = piece
                .services
                .get_or_insert_with(|| vec![(first.0, first.1.clone())]);
            services.push((protocol, ports.clone()));
            continue;
        }
        out.push(Piece {
            cube: cube.clone(),
            services: None,
        });
    }
    for piece in &mut out {
        if let Some(services) = &mut piece.services {
            let all: IntervalSet<u64> = services.iter().map(|(p, _)| (*p, *p)).collect();
            let ports = services.first().map(|(_, ports)| ports.clone());
            piece.cube.proto = all;
            if let Some(ports) = ports
                && services.iter().all(|(_, p)| *p == ports)
            {
                piece.services = None;
            }
        }
    }
    out
}

/// The one protocol and the destination ports of a cube that has no other field.
fn service(cube: &Cube) -> Option<(u64, &IntervalSet<u64>)> {
    let ports = cube.field(DPORT)?;
    (cube.fields.len() == 1).then_some((cube.proto.single()?, ports))
}

fn same_but_service(a: &Cube, b: &Cube) -> bool {
    service(a).is_some()
        && service(b).is_some()
        && a.families == b.families
        && a.ingress == b.ingress
        && a.egress == b.egress
        && a.saddr == b.saddr
        && a.daddr == b.daddr
        && a.original == b.original
        && a.atoms == b.atoms
}

/// The families to write conditions for, `None` for both at once.
fn families(cube: &Cube, split: bool) -> Vec<Option<Family>> {
    let needs = split
        || cube.families != Families::BOTH
        || [&cube.saddr, &cube.daddr, &cube.original]
            .iter()
            .any(|s| !s.is_full())
        || cube.fields.keys().any(|f| fields::depends_on_family(*f))
        || cube.atoms.keys().any(|a| matches!(a, Atom::Dynamic { .. }));
    if !needs {
        return vec![None];
    }
    let mut out = Vec::new();
    if cube.families.v4 {
        out.push(Some(Family::V4));
    }
    if cube.families.v6 {
        out.push(Some(Family::V6));
    }
    out
}

/// The senders that a cube asks about at `hook`, with the answers wanted; `None` when no packet
/// there has the sender wanted.
fn principals(cube: &Cube, hook: Hook) -> Option<Vec<((&PrincipalKind, &str), bool)>> {
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
struct Sides {
    /// Asked first.
    before: Vec<Match>,
    /// Asked last: they cost a look into the routing table.
    after: Option<&'static str>,
}

const TO_HOST: &str = "fib daddr type local";
const NOT_TO_HOST: &str = "fib daddr type != local";
/// What a proxy takes unless its rule says `to host`.
const UNICAST_AWAY: &str = "fib daddr type != { local, broadcast, multicast, anycast }";

/// The conditions about a packet's way at `place`, as alternatives; `None` when the cube's packets
/// do not pass there.
fn sides(cube: &Cube, place: Place) -> Result<Option<Vec<Sides>>, Capability> {
    let (ingress, egress) = (&cube.ingress, &cube.egress);
    let incoming = || ifaces(IIFNAME, &ingress.ifaces, place);
    let outgoing = || ifaces(OIFNAME, &egress.ifaces, place);
    let plain = |list: Option<Vec<Vec<Match>>>| {
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
        Hook::SteerPre | Hook::NatPre => match (plain(incoming()), early_egress(egress)?) {
            (Some(mut list), Some(after)) => {
                list.iter_mut().for_each(|s: &mut Sides| s.after = after);
                Some(list)
            }
            _ => None,
        },
        Hook::Input => plain(if egress.host { incoming() } else { None }),
        Hook::Output | Hook::SteerOut | Hook::NatOut => {
            plain(if ingress.host { outgoing() } else { None })
        }
        Hook::Forward => plain(product(incoming(), outgoing())),
        Hook::Post => plain(product(sent_from(ingress, place), outgoing())),
    })
}

/// What a steer rule's egress side asks before routing: whether the packet is for this host. `None`
/// when no packet passes.
fn early_egress(egress: &Side) -> Result<Option<Option<&'static str>>, Capability> {
    let rest = IfaceSet::not_loopback();
    if egress.ifaces.is_empty() {
        return Ok(egress.host.then_some(Some(TO_HOST)));
    }
    if rest.is_subset(&egress.ifaces) {
        return Ok(Some(if egress.host { None } else { Some(NOT_TO_HOST) }));
    }
    if egress.ifaces.intersection(&rest).is_empty() {
        return Ok(egress.host.then_some(Some(TO_HOST)));
    }
    Err(Capability::EarlyEgress)
}

/// The ingress side of a packet that leaves, whose ingress interface is 0 when this host sent it.
fn sent_from(ingress: &Side, place: Place) -> Option<Vec<Vec<Match>>> {
    let local = Match::number(IIF, 0);
    if ingress.is_any() {
        return Some(vec![vec![]]);
    }
    let names = ifaces(IIFNAME, &ingress.ifaces, place);
    // A packet of this host has no ingress name, so it passes exclusions as it stands.
    let excludes_only = ingress.ifaces.include().is_none();
    match (ingress.host, names) {
        (true, None) => Some(vec![vec![local]]),
        (true, Some(mut list)) if !excludes_only => {
            list.insert(0, vec![local]);
            Some(list)
        }
        (false, Some(list)) if excludes_only => {
            let foreign = Match::Test {
                key: IIF,
                negate: true,
                values: Values::Numbers(IntervalSet::one(0)),
            };
            let with = |mut matches: Vec<Match>| {
                matches.insert(0, foreign.clone());
                matches
            };
            Some(list.into_iter().map(with).collect())
        }
        (_, names) => names,
    }
}

fn product(
    left: Option<Vec<Vec<Match>>>,
    right: Option<Vec<Vec<Match>>>,
) -> Option<Vec<Vec<Match>>> {
    let (left, right) = (left?, right?);
    let both = |l: &Vec<Match>, r: &Vec<Match>| [l.as_slice(), r.as_slice()].concat();
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
fn ifaces(key: Key, set: &IfaceSet, place: Place) -> Option<Vec<Vec<Match>>> {
    if place.loopback && place.hook.loopback() == Some(key) {
        let named = set.include().is_some() && set.contains(LOOPBACK);
        return named.then(|| vec![vec![]]);
    }
    let different = |names: &BTreeSet<&Pattern>| {
        let mut out = Vec::new();
        let exact: BTreeSet<String> = names.iter().copied().filter_map(exact).collect();
        if !exact.is_empty() {
            out.push(Match::Test {
                key,
                negate: true,
                values: Values::Names(exact),
            });
        }
        for pattern in names {
            if let Pattern::Prefix(prefix) = pattern {
                let values = Values::Prefix(prefix.clone());
                out.push(Match::Test {
                    key,
                    negate: true,
                    values,
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
        out.push(vec![Match::is(key, Values::Names(exact))]);
    }
    for pattern in include {
        let Pattern::Prefix(prefix) = pattern else {
            continue;
        };
        let mut matches = Vec::new();
        if !prefix.is_empty() {
            matches.push(Match::is(key, Values::Prefix(prefix.clone())));
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
