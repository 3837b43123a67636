//! From a rule's cubes to the conditions of kernel rules.

use std::collections::BTreeMap;

use polc_bundle::{Family, Unresolved};

use super::Build;
use super::fields::{self, Address, Condition, L4PROTO, NFPROTO, TH_DPORT};
use super::sides;
use super::tree::{Match, Values};
use crate::field::{DPORT, Field, GID, UID};
use crate::ir::cube::{PrincipalKind, protocols};
use crate::ir::{Atom, Cube, Rule, Verdict};
use crate::packet::{Families, IntervalSet};
use crate::target::Capability;
use crate::target::netfilter::check;
use crate::target::netfilter::sides::{Hook, Place, Receiver, principals, sides};
use crate::target::netfilter::text::quotable;

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

    fn piece(&mut self, out: &mut Vec<Alt>, rule: &Rule, piece: &Piece, place: Place, split: bool) {
        let cube = &piece.cube;
        let Some(principals) = principals(cube, place.hook) else {
            return;
        };
        let sides = match sides(cube, place) {
            Ok(Some(sides)) => sides,
            Ok(None) => return,
            Err(capability) => return self.unsupported(capability, rule.span),
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
        let each = families(cube, split).into_iter().flat_map(|family| {
            let lacks = |family| check::may_lack_flow(self.ir, cube, family);
            let flowless = family.is_some_and(lacks).then_some((family, false));
            [(family, true)].into_iter().chain(flowless)
        });
        for (family, flow) in each.collect::<Vec<_>>() {
            let Some(body) = self.body(rule, piece, (family, flow)) else {
                continue;
            };
            for side in &sides {
                let mut matches: Vec<Match> = side.before.iter().map(sides::condition).collect();
                let known = body.iter().any(|m| m.family().is_some());
                if let Some(family) = family
                    && !known
                {
                    matches.push(nfproto(family));
                }
                matches.extend(body.iter().cloned());
                matches.extend(tests.iter().cloned());
                let after = match side.after {
                    Some(Receiver::Host) => Some(Receiver::Host),
                    _ if captures => Some(Receiver::UnicastAway),
                    after => after,
                };
                matches.extend(after.map(sides::receiver));
                out.push(Alt {
                    family,
                    matches,
                    excludes: excludes.clone(),
                });
            }
        }
    }

    /// The conditions beside the sides, senders and family, of packets with a flow or, if rules ask where that was
    /// opened to, without one; `None` when no packet satisfies them.
    fn body(
        &mut self,
        rule: &Rule,
        piece: &Piece,
        (family, flow): (Option<Family>, bool),
    ) -> Option<Vec<Match>> {
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
            self.addresses(&mut out, cube, (family, flow))?;
        }
        for (atom, answer) in &cube.atoms {
            if let (Atom::Dynamic { set, dest }, Some(family)) = (atom, family) {
                out.push(self.in_dynamic(*set, *dest, family, *answer)?);
            }
        }
        Some(out)
    }

    /// What addresses there are; `None` when there are none. A packet without a flow was sent to where it says.
    fn addresses(
        &mut self,
        out: &mut Vec<Match>,
        cube: &Cube,
        (family, flow): (Family, bool),
    ) -> Option<()> {
        let own = cube.daddr.intersection(&cube.original);
        let ends = if flow {
            vec![
                (Address::Source, &cube.saddr),
                (Address::Dest, &cube.daddr),
                (Address::Original, &cube.original),
            ]
        } else {
            out.push(Match::Text("ct state invalid,untracked".to_owned()));
            vec![(Address::Source, &cube.saddr), (Address::Dest, &own)]
        };
        for (which, set) in ends {
            let label = set.label.as_deref();
            match family {
                Family::V4 if set.v4.is_empty() => return None,
                Family::V6 if set.v6.is_empty() => return None,
                Family::V4 if !set.v4.is_full() => {
                    out.push(self.pool.among(&mut self.names, which, &set.v4, label));
                }
                Family::V6 if !set.v6.is_full() => {
                    out.push(self.pool.among(&mut self.names, which, &set.v6, label));
                }
                _ => {}
            }
        }
        Some(())
    }

    /// Ports of several protocols as one lookup.
    fn services(&mut self, services: &Services) -> Match {
        self.features.add("th expression", "5.3");
        let mut entries = Vec::new();
        for (protocol, ports) in services {
            for port in ports.ranges().iter().flat_map(|(a, b)| *a..=*b) {
                entries.push(vec![
                    Values::Numbers(IntervalSet::one(*protocol)),
                    Values::Numbers(IntervalSet::one(port)),
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

/// Destination ports by protocol.
type Services = BTreeMap<u64, IntervalSet<u64>>;

/// A cube, with the destination ports of its protocols when these differ from one to another.
struct Piece {
    cube: Cube,
    services: Option<Services>,
}

/// The cubes, where neighbours that differ in their services only are one.
fn pieces(cubes: &[Cube]) -> Vec<Piece> {
    let mut out: Vec<Piece> = Vec::new();
    for cube in cubes {
        if let (Some(piece), Some(more)) = (out.last_mut(), services(cube))
            && let Some(first) = services(&piece.cube)
            && same_but_service(&piece.cube, cube)
        {
            let all = piece.services.get_or_insert(first);
            for (protocol, ports) in more {
                let known = all.entry(protocol).or_insert_with(IntervalSet::empty);
                *known = known.union(&ports);
            }
            continue;
        }
        out.push(Piece {
            cube: cube.clone(),
            services: None,
        });
    }
    for piece in &mut out {
        if let Some(services) = &piece.services {
            piece.cube.proto = services.keys().map(|p| (*p, *p)).collect();
            let all: IntervalSet<u64> = services
                .values()
                .flat_map(|ports| ports.ranges().iter().copied())
                .collect();
            if services.values().all(|ports| *ports == all) {
                piece.services = None;
            }
            // Beside `services`, the ports of any of the protocols.
            piece.cube.fields.insert(DPORT, all);
        }
    }
    out
}

/// The services of a cube that asks for no other field, few protocols and few ports. Ports are looked up one by one:
/// for ranges behind a protocol, nft 1.0.6 writes a conversion of its single byte, which Linux 7.2 refuses.
fn services(cube: &Cube) -> Option<Services> {
    let ports = cube.field(DPORT)?;
    let one = |protocol| (protocol, ports.clone());
    let few = cube.fields.len() == 1 && cube.proto.count() <= PROTOCOLS && ports.count() <= PORTS;
    let protocols = cube.proto.ranges().iter().flat_map(|(a, b)| *a..=*b);
    few.then(|| protocols.map(one).collect())
}

/// The most protocols of a cube whose services are joined with others.
const PROTOCOLS: u128 = 4;

/// The most of its ports.
const PORTS: u128 = 32;

fn same_but_service(a: &Cube, b: &Cube) -> bool {
    a.families == b.families
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
