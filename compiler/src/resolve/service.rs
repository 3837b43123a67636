//! Services: protocols with ports or ICMP types.

use std::collections::BTreeMap;

use polc_grammar::ast::{CmpOp, Item, Port, Service, Spanned};

use super::param::Bound;
use super::scope::{Kind, nearest};
use super::{DefId, Env, Resolver};
use crate::diagnostic::{Code, Diagnostic};
use crate::field::{self, Comparison, DPORT, ICMP, ICMPV6, PROTOCOLS};
use crate::ir::Cube;
use crate::packet::{Families, IntervalSet};
use crate::source::Span;

impl Resolver<'_> {
    /// What the service's name stands for, as alternatives.
    pub(super) fn service(&mut self, id: &DefId, span: Span) -> Option<Vec<Cube>> {
        if let Some(known) = self.services.get(id) {
            return known.clone();
        }
        if !self.enter(Kind::Service, id, span) {
            return None;
        }
        let tree = self.tree(id.0);
        let item = self
            .item(Kind::Service, id)
            .and_then(|at| tree.items.get(at));
        let cubes = match item.map(|i| &i.node) {
            Some(Item::Service(decl)) => {
                let env = self.env(id.0);
                self.service_list(&decl.services, &env)
            }
            _ => None,
        };
        self.leave();
        self.services.insert(id.clone(), cubes.clone());
        cubes
    }

    /// What a list of services stands for: alternatives that do not overlap where they differ
    /// only in protocols or ports.
    pub(super) fn service_list(
        &mut self,
        services: &[Spanned<Service>],
        env: &Env,
    ) -> Option<Vec<Cube>> {
        let mut cubes = Vec::new();
        let mut ok = true;
        for service in services {
            let span = env.span(service.span);
            let found = match &service.node {
                Service::Name(name) => self.service_named(name, env, span),
                Service::Proto { proto, ports } => self.protocol(proto, ports.as_deref(), env),
            };
            match found {
                Some(found) => cubes.extend(found),
                None => ok = false,
            }
        }
        ok.then(|| merge(cubes))
    }

    /// What a service's name stands for: a parameter, a definition, or a bare protocol.
    pub(super) fn service_named(&mut self, name: &str, env: &Env, span: Span) -> Option<Vec<Cube>> {
        match self.named_param(env, name, span) {
            Some(Bound::Services(cubes)) => return Some(cubes),
            Some(Bound::Failed) => return None,
            _ => {}
        }
        if let Some(id) = self.seek(env, Kind::Service, name, span) {
            return self.service(&id, span);
        }
        if let Some(number) = field::protocol_number(name) {
            return Some(bare(name, number));
        }
        self.undefined(env, Kind::Service, name, span);
        None
    }

    fn protocol(
        &mut self,
        proto: &Spanned<String>,
        ports: Option<&[Spanned<Port>]>,
        env: &Env,
    ) -> Option<Vec<Cube>> {
        let span = env.span(proto.span);
        let word = proto.node.as_str();
        if word == "proto" {
            return self.protocol_numbers(ports, span, env);
        }
        let Some(number) = field::protocol_number(word) else {
            let title = format!("there is no protocol `{word}`");
            let names: Vec<String> = PROTOCOLS.iter().map(|(n, _)| (*n).to_owned()).collect();
            let help = match nearest(word, &names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!(
                    "the protocols are `{}`, and `proto/NUMBER`",
                    names.join("`, `")
                ),
            };
            self.report(Diagnostic::error(Code::Undefined, title, span).help(help));
            return None;
        };
        let Some(ports) = ports else {
            return Some(bare(word, number));
        };
        match word {
            "icmp" | "icmpv6" => self.icmp_types(word, ports, env),
            _ if DPORT.def().protocols.contains(&number) => {
                let set = self.port_set(ports, 65535, env)?;
                Some(vec![
                    Cube::any()
                        .with_proto(&IntervalSet::one(number))
                        .with_field(DPORT, &set),
                ])
            }
            _ => {
                let title = format!("`{word}` has no ports");
                let help = format!("write `{word}` alone");
                self.report(Diagnostic::error(Code::TypeMismatch, title, span).help(help));
                None
            }
        }
    }

    /// `proto/47`
    fn protocol_numbers(
        &mut self,
        ports: Option<&[Spanned<Port>]>,
        span: Span,
        env: &Env,
    ) -> Option<Vec<Cube>> {
        let Some(ports) = ports else {
            let diagnostic = Diagnostic::error(Code::MissingClause, "`proto` needs a number", span);
            self.report(diagnostic.help("write `proto/47`"));
            return None;
        };
        let set = self.port_set(ports, 255, env)?;
        Some(vec![Cube::any().with_proto(&set)])
    }

    fn icmp_types(&mut self, word: &str, ports: &[Spanned<Port>], env: &Env) -> Option<Vec<Cube>> {
        let def = field::find("icmp.type")?;
        let mut cubes = Vec::new();
        let mut ok = true;
        for port in ports {
            let values: Vec<String> = match &port.node {
                Port::Num(n) => vec![n.to_string()],
                Port::Range(first, last) if first <= last && *last <= 255 => {
                    (*first..=*last).map(|n| n.to_string()).collect()
                }
                Port::Range(first, last) => vec![format!("{first}-{last}")],
                Port::Name(name) => vec![name.clone()],
            };
            let values = values.iter().map(String::as_str).collect();
            match field::lower(&Comparison {
                def,
                op: CmpOp::In,
                values,
            }) {
                Ok(found) => cubes.extend(found),
                Err(error) => {
                    self.field_error(&error, env.span(port.span));
                    ok = false;
                }
            }
        }
        let families = if word == "icmpv6" {
            Families::V6
        } else {
            Families::BOTH
        };
        ok.then(|| {
            cubes
                .into_iter()
                .map(|c| c.with_families(families))
                .filter_map(Cube::normal)
                .collect()
        })
    }

    /// A set of ports, or of other numbers up to `max`.
    fn port_set(
        &mut self,
        ports: &[Spanned<Port>],
        max: u64,
        env: &Env,
    ) -> Option<IntervalSet<u64>> {
        let mut ranges = Vec::new();
        let mut ok = true;
        for port in ports {
            let span = env.span(port.span);
            let range = match &port.node {
                Port::Num(n) => Some((*n, *n)),
                Port::Range(first, last) => Some((*first, *last)),
                Port::Name(name) => {
                    let num = polc_grammar::ast::Num::Name(name.clone());
                    self.number_at(&num, env, span, max).map(|n| (n, n))
                }
            };
            let Some((first, last)) = range else {
                ok = false;
                continue;
            };
            if last < first {
                let title = format!("the range `{first}-{last}` runs backwards");
                let help = format!("write `{last}-{first}`");
                self.report(Diagnostic::error(Code::InvertedRange, title, span).help(help));
                ok = false;
            } else if last > max {
                let title = format!("{last} is too large: the most is {max}");
                self.error(Code::OutOfRange, title, span);
                ok = false;
            }
            ranges.push((first, last));
        }
        ok.then(|| IntervalSet::from_ranges(ranges))
    }
}

/// A protocol without ports. `icmp` is that of both families.
fn bare(word: &str, number: u64) -> Vec<Cube> {
    let of = |families, number| {
        Cube::any()
            .with_families(families)
            .with_proto(&IntervalSet::one(number))
    };
    match word {
        "icmp" => vec![of(Families::V4, ICMP), of(Families::V6, ICMPV6)],
        "icmpv6" => vec![of(Families::V6, ICMPV6)],
        _ => vec![of(Families::BOTH, number)],
    }
}

/// Joins cubes that ask the same of everything but the protocol or the port.
fn merge(cubes: Vec<Cube>) -> Vec<Cube> {
    let by_ports = join(
        cubes,
        |c| (c.families, c.proto.clone()),
        |a, b| {
            let (Some(x), Some(y)) = (a.field(DPORT), b.field(DPORT)) else {
                return false;
            };
            let both = x.union(y);
            a.fields.len() == 1 && b.fields.len() == 1 && {
                a.fields.insert(DPORT, both);
                true
            }
        },
    );
    join(
        by_ports,
        |c| (c.families, c.fields.clone()),
        |a, b| {
            a.proto = a.proto.union(&b.proto);
            true
        },
    )
}

/// Puts cubes with one key together where `absorb` can; keeps the order of first appearance.
fn join<K: Ord>(
    cubes: Vec<Cube>,
    key: impl Fn(&Cube) -> K,
    absorb: impl Fn(&mut Cube, &Cube) -> bool,
) -> Vec<Cube> {
    let mut out: Vec<Cube> = Vec::new();
    let mut seen: BTreeMap<K, usize> = BTreeMap::new();
    for cube in cubes {
        if let Some(first) = seen.get(&key(&cube)).and_then(|at| out.get_mut(*at))
            && absorb(first, &cube)
        {
            continue;
        }
        seen.entry(key(&cube)).or_insert(out.len());
        out.push(cube);
    }
    out
}
