//! `from`, `to`, `in`, `out`, `by`.

use polc_grammar::ast::{End, Ends, Principal, PrincipalKind, Spanned};

use super::param::Bound;
use super::scope::Kind;
use super::set::Ranges;
use super::{Env, Resolver, SetValue};
use crate::diagnostic::{Code, Diagnostic};
use crate::field::{Field, GID, UID};
use crate::ir::{Atom, Cube, Side, Stage};
use crate::packet::{AddrSet, IfaceSet, IntervalSet};
use crate::policy::{Condition, Zone};
use crate::source::Span;

/// Which end of a packet a list of ends speaks of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// `from`
    Source,
    /// `to`
    Dest,
    /// `to original`
    Original,
}

/// What the ends of a list come to, one part per kind of end.
struct Parts {
    any: bool,
    host: bool,
    ifaces: IfaceSet,
    addrs: AddrSet,
    /// Addresses written out, to be sorted once.
    written: Ranges,
    dynamic: Vec<usize>,
    /// Where sets without elements stand.
    empty_sets: Vec<Span>,
}

impl Resolver<'_> {
    /// The packets whose source or destination is one of the ends.
    pub(super) fn ends(
        &mut self,
        ends: &Ends,
        which: Which,
        stage: Stage,
        env: &Env,
        span: Span,
    ) -> Option<Condition> {
        let mut parts = Parts {
            any: false,
            host: false,
            ifaces: IfaceSet::empty(),
            addrs: AddrSet::empty(),
            written: Ranges::default(),
            dynamic: Vec::new(),
            empty_sets: Vec::new(),
        };
        let mut ok = true;
        for end in &ends.list {
            ok &= self.end(end, which, stage, env, &mut parts).is_some();
        }
        if !ok {
            return None;
        }
        let written = std::mem::take(&mut parts.written);
        parts.addrs = parts.addrs.union(&written.into_set());
        let cubes = if ends.not {
            outside(&parts, which)
        } else {
            inside(&parts, which)
        };
        for at in &parts.empty_sets {
            self.empty_set(*at, ends.not);
        }
        let empty_set = !parts.empty_sets.is_empty() && cubes.is_empty();
        Some(Condition {
            cubes,
            empty_set,
            span,
        })
    }

    fn end(
        &mut self,
        end: &Spanned<End>,
        which: Which,
        stage: Stage,
        env: &Env,
        parts: &mut Parts,
    ) -> Option<()> {
        let span = env.span(end.span);
        let set = match &end.node {
            End::Any => {
                parts.any = true;
                return Some(());
            }
            End::Host => return self.host_end(which, stage, span, parts),
            End::Name(name) => match self.named_end(name, env, span)? {
                Named::Zone(zone) => return self.zone_end(name, &zone, which, stage, span, parts),
                Named::Set(set) => set,
            },
            End::Ref(name) => self.set_named(name, env, span)?,
            End::Addr(addr) => {
                let addrs = self.address(addr, span)?;
                parts.written.extend(&addrs);
                return Some(());
            }
            End::Body(body) => SetValue::Static(self.set_body(body, env)?),
        };
        match set {
            SetValue::Static(set) => {
                if set.is_empty() {
                    parts.empty_sets.push(span);
                }
                parts.addrs = parts.addrs.union(&set);
            }
            SetValue::Dynamic(_) if which == Which::Original => {
                let title = "`to original` cannot look into a `dynamic` set";
                self.error(Code::TypeMismatch, title, span);
                return None;
            }
            SetValue::Dynamic(index) => parts.dynamic.push(index),
        }
        Some(())
    }

    fn empty_set(&mut self, span: Span, not: bool) {
        // The elements may have been lost to a syntax error.
        if self.diagnostics.iter().any(|d| d.code == Code::Syntax) {
            return;
        }
        let diagnostic = Diagnostic::warning(Code::EmptySet, "the set has no elements", span);
        self.report(diagnostic.help(if not {
            "everything is outside of an empty set: the condition always holds"
        } else {
            "nothing is from or to an empty set: the condition never holds"
        }));
    }

    fn host_end(
        &mut self,
        which: Which,
        stage: Stage,
        span: Span,
        parts: &mut Parts,
    ) -> Option<()> {
        let problem = match (which, stage) {
            (Which::Original, _) => Some("`to original` asks for an address"),
            (Which::Dest, Stage::Guard) => {
                Some("guard runs before routing: it does not know what is for this host")
            }
            (Which::Source, Stage::Guard) => Some("guard sees only packets that arrive"),
            (Which::Dest, Stage::Egress) => Some("egress sees only packets that leave"),
            _ => None,
        };
        if let Some(problem) = problem {
            self.error(Code::WrongClause, problem, span);
            return None;
        }
        parts.host = true;
        Some(())
    }

    fn zone_end(
        &mut self,
        name: &str,
        zone: &Zone,
        which: Which,
        stage: Stage,
        span: Span,
        parts: &mut Parts,
    ) -> Option<()> {
        let before_routing = matches!(stage, Stage::Guard | Stage::Steer);
        if which == Which::Source || (which == Which::Dest && !before_routing) {
            // A zone's interfaces are names and patterns: their union is exact.
            parts.ifaces = parts.ifaces.union(&zone.ifaces)?;
            return Some(());
        }
        let Some(net) = &zone.net else {
            let title = if which == Which::Original {
                format!("`to original` asks for addresses, and `{name}` has none")
            } else {
                format!(
                    "{} runs before routing: it does not know what leaves by `{name}`",
                    stage.name()
                )
            };
            let help = format!(
                "give the zone the addresses behind it: `zone {name} = … net {{ 192.0.2.0/24 }}`"
            );
            let diagnostic = Diagnostic::error(Code::ZoneWithoutNet, title, span).help(help);
            self.report(diagnostic.and(zone.span, "the zone is defined here"));
            return None;
        };
        parts.addrs = parts.addrs.union(net);
        Some(())
    }

    fn named_end(&mut self, name: &str, env: &Env, span: Span) -> Option<Named> {
        match self.named_param(env, name, span) {
            Some(Bound::Zone(id)) => return self.zone(&id, span).map(Named::Zone),
            Some(Bound::Iface(pattern)) => {
                let ifaces = IfaceSet::of([pattern]);
                return Some(Named::Zone(Zone {
                    ifaces,
                    net: None,
                    span,
                }));
            }
            Some(Bound::Set(set)) => return Some(Named::Set(set)),
            Some(Bound::Addr(addr)) => {
                return Some(Named::Set(SetValue::Static(AddrSet::one(addr))));
            }
            Some(Bound::Failed) => return None,
            Some(_) => {
                let title = format!("the parameter `{name}` is neither a zone nor addresses");
                self.error(Code::TypeMismatch, title, span);
                return None;
            }
            None => {}
        }
        if self.find(env, Kind::Zone, name).is_none() && self.find(env, Kind::Set, name).is_some() {
            let title = format!("there is no zone `{name}`");
            let help = format!("`{name}` is a set: write `@{name}`");
            self.report(Diagnostic::error(Code::Undefined, title, span).help(help));
            return None;
        }
        let id = self.lookup(env, Kind::Zone, name, span)?;
        self.zone(&id, span).map(Named::Zone)
    }

    /// `by user postfix`: who sent the packet. Only this host's own packets have a sender.
    pub(super) fn sender(
        &mut self,
        principal: &Principal,
        env: &Env,
        span: Span,
    ) -> Option<Condition> {
        let local = Cube {
            ingress: Side::host(),
            ..Cube::any()
        };
        let mut cubes = Vec::new();
        let mut numbers: Vec<(u64, u64)> = Vec::new();
        let kind = principal.kind.node;
        let (field, known) = match kind {
            PrincipalKind::Group | PrincipalKind::Gid => (GID, &self.options.groups),
            // A control group has no number: the field is not used for it.
            PrincipalKind::User | PrincipalKind::Uid | PrincipalKind::Cgroup => {
                (UID, &self.options.users)
            }
        };
        for name in &principal.names {
            let at = env.span(name.span);
            let text = self.text(name, env)?;
            let number = match kind {
                PrincipalKind::Uid | PrincipalKind::Gid => {
                    let Ok(number) = text.parse::<u32>() else {
                        let title = format!("`{text}` is not a number of a user or group");
                        let help = "write `by user NAME` or `by group NAME` for a name";
                        self.report(Diagnostic::error(Code::TypeMismatch, title, at).help(help));
                        return None;
                    };
                    Some(number)
                }
                PrincipalKind::User | PrincipalKind::Group => known.get(&text).copied(),
                PrincipalKind::Cgroup => None,
            };
            if let Some(number) = number {
                numbers.push((number.into(), number.into()));
            } else {
                let mut cube = local.clone();
                cube.atoms.insert(Atom::Principal(kind, text), true);
                cubes.push(cube);
            }
        }
        cubes.extend(by_number(&local, field, numbers));
        Some(Condition {
            cubes,
            empty_set: false,
            span,
        })
    }
}

/// What a bare name among ends means.
enum Named {
    Zone(Zone),
    Set(SetValue),
}

fn by_number(local: &Cube, field: Field, numbers: Vec<(u64, u64)>) -> Option<Cube> {
    (!numbers.is_empty()).then(|| {
        local
            .clone()
            .with_field(field, &IntervalSet::from_ranges(numbers))
    })
}

fn with_side(which: Which, side: Side) -> Cube {
    match which {
        Which::Source => Cube {
            ingress: side,
            ..Cube::any()
        },
        Which::Dest | Which::Original => Cube {
            egress: side,
            ..Cube::any()
        },
    }
}

fn with_addrs(which: Which, addrs: AddrSet) -> Cube {
    match which {
        Which::Source => Cube {
            saddr: addrs,
            ..Cube::any()
        },
        Which::Dest => Cube {
            daddr: addrs,
            ..Cube::any()
        },
        Which::Original => Cube {
            original: addrs,
            ..Cube::any()
        },
    }
}

fn lookup(which: Which, set: usize) -> Atom {
    Atom::Dynamic {
        set,
        dest: which == Which::Dest,
    }
}

/// Packets for which one of the parts holds.
fn inside(parts: &Parts, which: Which) -> Vec<Cube> {
    if parts.any {
        return vec![Cube::any()];
    }
    let mut cubes = Vec::new();
    let side = Side {
        host: parts.host,
        ifaces: parts.ifaces.clone(),
    };
    if !side.is_empty() {
        cubes.push(with_side(which, side));
    }
    cubes.extend(with_addrs(which, parts.addrs.clone()).normal());
    for set in &parts.dynamic {
        let mut cube = Cube::any();
        cube.atoms.insert(lookup(which, *set), true);
        cubes.push(cube);
    }
    cubes
}

/// Packets for which none of the parts holds.
fn outside(parts: &Parts, which: Which) -> Vec<Cube> {
    if parts.any {
        return Vec::new();
    }
    let listed = Side {
        host: parts.host,
        ifaces: parts.ifaces.clone(),
    };
    let sides = if listed.is_empty() {
        vec![Side::any()]
    } else {
        Side::any().difference(&listed)
    };
    let mut rest = with_addrs(which, parts.addrs.complement());
    if parts.addrs.is_empty() {
        rest = Cube::any();
    }
    for set in &parts.dynamic {
        rest.atoms.insert(lookup(which, *set), false);
    }
    sides
        .into_iter()
        .filter_map(|side| with_side(which, side).intersection(&rest))
        .collect()
}
