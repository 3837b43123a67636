//! The clauses of rules, groups and blocks.

use std::mem::{Discriminant, discriminant};

use polc_grammar::ast::{self, Clause, Family, Name, Spanned, Target as AstTarget};

use super::ends::Which;
use super::param::Bound;
use super::scope::Kind;
use super::{Env, Resolver, SetValue};
use crate::diagnostic::{Code, Diagnostic};
use crate::ir::{Cube, Reject, Side, Stage};
use crate::packet::{AddrSet, Families};
use crate::policy::{Clauses, Condition, Limit, Log, Target, Targets, Via};
use crate::source::Span;

/// Where clauses stand: what they belong to decides which are allowed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A rule or a `default`.
    Rule,
    /// A group, or a section's head.
    Group,
    /// A claim.
    Claim,
}

/// The answers of `reject with …`.
const REJECTS: &[(&str, Reject)] = &[
    ("tcp-reset", Reject::TcpReset),
    ("port-unreachable", Reject::PortUnreachable),
    ("host-unreachable", Reject::HostUnreachable),
    ("admin-prohibited", Reject::AdminProhibited),
    ("no-route", Reject::NoRoute),
];

/// The largest number of targets written out by a set.
const MOST_TARGETS: u128 = 256;

impl Resolver<'_> {
    /// The clauses, as far as they are right.
    pub(super) fn clauses(
        &mut self,
        clauses: &[Spanned<Clause>],
        stage: Stage,
        place: Place,
        env: &Env,
    ) -> Clauses {
        let mut out = Clauses::default();
        self.repeated(clauses, env);
        for clause in clauses {
            let span = env.span(clause.span);
            if let Some(problem) = misplaced(&clause.node, stage, place) {
                self.error(Code::WrongClause, problem, span);
                out.broken |= is_condition(&clause.node);
                continue;
            }
            if self.condition(&clause.node, stage, env, span, &mut out) {
                continue;
            }
            self.effect(&clause.node, stage, env, span, &mut out);
        }
        out
    }

    /// Reports clauses that say a second time what can be said once.
    fn repeated(&mut self, clauses: &[Spanned<Clause>], env: &Env) {
        for (at, clause) in clauses.iter().enumerate() {
            let same = |c: &&Spanned<Clause>| once(&c.node) && kind(&c.node) == kind(&clause.node);
            if let Some(first) = clauses.iter().take(at).find(same) {
                self.said_twice(env.span(clause.span), env.span(first.span));
            }
        }
    }

    /// Reports what is said a second time at `span`.
    pub(super) fn said_twice(&mut self, span: Span, first: Span) {
        let diagnostic = Diagnostic::error(Code::WrongClause, "this is said twice", span);
        self.report(diagnostic.and(first, "the first is here"));
    }

    /// Takes a clause that is a condition. `false` when it is none.
    fn condition(
        &mut self,
        clause: &Clause,
        stage: Stage,
        env: &Env,
        span: Span,
        out: &mut Clauses,
    ) -> bool {
        let condition = match clause {
            Clause::From(ends) => self.ends(ends, Which::Source, stage, env, span),
            Clause::To(ends) => self.ends(ends, Which::Dest, stage, env, span),
            Clause::ToOriginal(ends) => self.ends(ends, Which::Original, stage, env, span),
            Clause::In(list) => self.ifaces(list, env).map(|ifaces| Condition {
                cubes: vec![Cube {
                    ingress: Side::ifaces(ifaces),
                    ..Cube::any()
                }],
                empty_set: false,
                span,
            }),
            Clause::Out(list) => self.ifaces(list, env).map(|ifaces| Condition {
                cubes: vec![Cube {
                    egress: Side::ifaces(ifaces),
                    ..Cube::any()
                }],
                empty_set: false,
                span,
            }),
            Clause::By(principal) => self.sender(principal, env, span),
            Clause::When(expr) => self.when(expr, stage, env),
            Clause::Only(family) => {
                let families = if family.node == Family::V4 {
                    Families::V4
                } else {
                    Families::V6
                };
                let cubes = vec![Cube::any().with_families(families)];
                Some(Condition {
                    cubes,
                    empty_set: false,
                    span,
                })
            }
            _ => return false,
        };
        out.broken |= condition.is_none();
        out.conditions.extend(condition);
        true
    }

    /// Takes a clause that is no condition.
    fn effect(&mut self, clause: &Clause, stage: Stage, env: &Env, span: Span, out: &mut Clauses) {
        match clause {
            Clause::Limit(sense, rate) => {
                if let Some(rate) = self.rate(rate, stage, false, env) {
                    out.limits.push(Limit {
                        sense: *sense,
                        rate,
                        span,
                    });
                }
            }
            Clause::Except(services) => {
                out.except
                    .extend(self.service_list(services, env).unwrap_or_default());
            }
            Clause::Target { targets, balance } => {
                let mut list = Vec::new();
                for target in targets {
                    match self.targets(target, env) {
                        Some(found) => list.extend(found),
                        None => out.broken = true,
                    }
                }
                let balance = balance.as_ref().map(|b| b.node);
                out.targets = Some(Targets {
                    list,
                    balance,
                    span,
                });
            }
            Clause::Via(name) => {
                let at = env.span(name.span);
                let id = self.lookup(env, Kind::Proxy, &name.node, at);
                let index = id.and_then(|id| self.proxy(&id, at));
                out.broken |= index.is_none();
                out.via = index.map(|index| Via::Proxy(index, span));
            }
            Clause::ViaTable(n) => {
                out.via = self.table(n, env).map(|table| Via::Table(table, span));
                out.broken |= out.via.is_none();
            }
            Clause::With(name) => out.reject = self.reject_kind(name, env).map(|r| (r, span)),
            Clause::Mark(mark) => {
                out.mark = self.mark(mark, env).map(|m| (m, span));
                out.broken |= out.mark.is_none();
            }
            Clause::Add(name) => out.add = self.add_to(name, env).map(|index| (index, span)),
            Clause::Log { text, at } => {
                let at = at
                    .as_ref()
                    .and_then(|rate| self.rate(rate, stage, true, env));
                let text = text.as_ref().map(|t| t.node.clone());
                out.log = Some(Log { text, at, span });
            }
            Clause::Count => out.count = true,
            Clause::AndAllow => out.admit = Some(span),
            Clause::As(name) => {
                out.name_span = Some(env.span(name.span));
                out.name = self
                    .text(name, env)
                    .map(|text| Spanned::new(text, name.span));
            }
            Clause::Meta(meta) => self.meta(meta, env, &mut out.meta),
            Clause::From(_)
            | Clause::To(_)
            | Clause::ToOriginal(_)
            | Clause::In(_)
            | Clause::Out(_)
            | Clause::By(_)
            | Clause::When(_)
            | Clause::Only(_) => {}
        }
    }

    fn reject_kind(&mut self, name: &Name, env: &Env) -> Option<Reject> {
        let found = REJECTS
            .iter()
            .find(|(word, _)| *word == name.node)
            .map(|(_, kind)| *kind);
        if found.is_none() {
            let title = format!("`reject` cannot answer with `{}`", name.node);
            let words: Vec<String> = REJECTS.iter().map(|(w, _)| format!("`{w}`")).collect();
            let help = format!("it can answer with {}", words.join(", "));
            let span = env.span(name.span);
            self.report(Diagnostic::error(Code::TypeMismatch, title, span).help(help));
        }
        found
    }

    fn add_to(&mut self, name: &Name, env: &Env) -> Option<usize> {
        let span = env.span(name.span);
        match self.set_named(&name.node, env, span)? {
            SetValue::Dynamic(index) => Some(index),
            SetValue::Static(_) => {
                let title = format!(
                    "`@{}` is written out: nothing can be added to it",
                    name.node
                );
                let help = "say `dynamic` where the set is defined";
                self.report(Diagnostic::error(Code::TypeMismatch, title, span).help(help));
                None
            }
        }
    }

    /// What one target stands for: a set may hold several addresses.
    fn targets(&mut self, target: &Spanned<AstTarget>, env: &Env) -> Option<Vec<Target>> {
        let span = env.span(target.span);
        match &target.node {
            AstTarget::Port(port) => self
                .port(port, env, span)
                .map(|port| vec![Target::Port(port)]),
            AstTarget::Addr(addr) => Some(vec![Target::Addr(*addr, None)]),
            AstTarget::Socket(addr, port) => {
                let port = self.port(port, env, span)?;
                Some(vec![Target::Addr(*addr, Some(port))])
            }
            AstTarget::Net(addr, len) => {
                let set = self.address(&ast::AddrLit::Prefix(*addr, *len), span)?;
                let first = first_addresses(&set);
                Some(
                    first
                        .into_iter()
                        .map(|addr| Target::Net(addr, *len))
                        .collect(),
                )
            }
            AstTarget::Ref(name) => {
                let value = self.set_named(name, env, span)?;
                self.set_targets(value, span)
            }
            AstTarget::Name(name) => match self.named_param(env, name, span) {
                Some(Bound::Addr(addr)) => Some(vec![Target::Addr(addr, None)]),
                Some(Bound::Set(value)) => self.set_targets(value, span),
                Some(Bound::Failed) => None,
                Some(_) => {
                    let title = format!("the parameter `{name}` is not an address");
                    self.error(Code::TypeMismatch, title, span);
                    None
                }
                None => {
                    let title = format!("`{name}` is not a target");
                    let help = "a target is an address, a socket, `:PORT`, `net PREFIX`, `@SET` \
                                or a parameter";
                    self.report(Diagnostic::error(Code::Undefined, title, span).help(help));
                    None
                }
            },
        }
    }

    fn set_targets(&mut self, value: SetValue, span: Span) -> Option<Vec<Target>> {
        let SetValue::Static(set) = value else {
            let title = "a `dynamic` set cannot be a target";
            self.error(Code::TypeMismatch, title, span);
            return None;
        };
        let count = set.v4.count().saturating_add(set.v6.count());
        if count == 0 || count > MOST_TARGETS {
            let title = format!("a set of {count} addresses cannot be a target");
            let help = format!("a target has between 1 and {MOST_TARGETS} addresses");
            self.report(Diagnostic::error(Code::TypeMismatch, title, span).help(help));
            return None;
        }
        let v4 = set
            .v4
            .ranges()
            .iter()
            .flat_map(|(a, b)| (*a..=*b).map(Into::into));
        let v6 = set
            .v6
            .ranges()
            .iter()
            .flat_map(|(a, b)| (*a..=*b).map(Into::into));
        let v4 = v4.map(std::net::IpAddr::V4);
        let v6 = v6.map(std::net::IpAddr::V6);
        Some(v4.chain(v6).map(|addr| Target::Addr(addr, None)).collect())
    }

    /// Takes a fact about a rule or definition.
    pub(super) fn meta(&mut self, meta: &ast::Meta, env: &Env, out: &mut crate::policy::Meta) {
        match meta {
            ast::Meta::Note(text) => out.note = Some(text.node.clone()),
            ast::Meta::Owner(name) => out.owner = Some(name.node.clone()),
            ast::Meta::Ticket(name) => out.ticket = Some(name.node.clone()),
            ast::Meta::Expires(date) => self.expires(date, env),
            ast::Meta::Review(date) => self.review(date, env),
        }
    }

    /// Reports an `expires` whose date has passed.
    pub(super) fn expires(&mut self, date: &Spanned<String>, env: &Env) {
        if let Some((day, today)) = self.date(date, env)
            && day < today
        {
            let title = format!("this expired on {day}");
            let help = "take the rule out, or give it a new date";
            let span = env.span(date.span);
            self.report(Diagnostic::error(Code::Expired, title, span).help(help));
        }
    }

    /// Reports a `review` whose date has passed.
    pub(super) fn review(&mut self, date: &Spanned<String>, env: &Env) {
        if let Some((day, today)) = self.date(date, env)
            && day < today
        {
            let title = format!("this was to be reviewed by {day}");
            let help = "review it and give it a new date";
            let span = env.span(date.span);
            self.report(Diagnostic::warning(Code::Expired, title, span).help(help));
        }
    }

    /// A date, and the date at which it is judged.
    fn date(
        &mut self,
        date: &Spanned<String>,
        env: &Env,
    ) -> Option<(jiff::civil::Date, jiff::civil::Date)> {
        let Ok(day) = date.node.parse::<jiff::civil::Date>() else {
            let title = format!("`{}` is not a date", date.node);
            let help = "write it as year, month and day: `2027-03-31`";
            let span = env.span(date.span);
            self.report(Diagnostic::error(Code::TypeMismatch, title, span).help(help));
            return None;
        };
        self.options.as_of.parse().ok().map(|today| (day, today))
    }
}

/// Whether a rule can have one such clause only.
fn once(clause: &Clause) -> bool {
    !is_condition(clause) && !matches!(clause, Clause::Limit(..) | Clause::Except(_))
}

/// What two clauses have in common that cannot stand together.
fn kind(clause: &Clause) -> (Discriminant<Clause>, Option<Discriminant<ast::Meta>>) {
    let meta = match clause {
        Clause::Meta(meta) => Some(discriminant(meta)),
        _ => None,
    };
    (discriminant(clause), meta)
}

fn is_condition(clause: &Clause) -> bool {
    matches!(
        clause,
        Clause::From(_)
            | Clause::To(_)
            | Clause::ToOriginal(_)
            | Clause::In(_)
            | Clause::Out(_)
            | Clause::By(_)
            | Clause::When(_)
            | Clause::Only(_)
    )
}

/// The first address of each family.
fn first_addresses(set: &AddrSet) -> Vec<std::net::IpAddr> {
    let v4 = set
        .v4
        .ranges()
        .first()
        .map(|r| std::net::IpAddr::V4(r.0.into()));
    let v6 = set
        .v6
        .ranges()
        .first()
        .map(|r| std::net::IpAddr::V6(r.0.into()));
    v4.into_iter().chain(v6).collect()
}

/// Why a clause cannot stand here, if it cannot.
fn misplaced(clause: &Clause, stage: Stage, place: Place) -> Option<&'static str> {
    use Stage::{Egress, Filter, Guard, Steer};
    let rule_only = "this belongs to a rule, not to what surrounds rules";
    match (clause, stage, place) {
        (
            Clause::Limit(..)
            | Clause::Target { .. }
            | Clause::Via(_)
            | Clause::ViaTable(_)
            | Clause::With(_)
            | Clause::Mark(_)
            | Clause::Add(_)
            | Clause::Log { .. }
            | Clause::Count
            | Clause::AndAllow
            | Clause::As(_),
            _,
            Place::Claim,
        ) => Some("a claim speaks of packets: it has conditions only"),
        (
            Clause::As(_)
            | Clause::Target { .. }
            | Clause::Via(_)
            | Clause::ViaTable(_)
            | Clause::With(_)
            | Clause::AndAllow,
            _,
            Place::Group,
        ) => Some(rule_only),
        (Clause::By(_), Guard, _) => Some("guard sees packets that arrive: nobody here sent them"),
        (Clause::Out(_), Guard, _) => Some("guard runs before routing: nothing has left yet"),
        (Clause::ToOriginal(_), Guard | Steer | Egress, _) => {
            Some("`to original` is for filter, which sees the destination after steer")
        }
        (Clause::AndAllow, Guard | Filter | Egress, _) => {
            Some("`and allow` is for steer: its flows then skip filter")
        }
        (Clause::Target { .. }, Guard | Filter, _) => {
            Some("`=>` is for `redirect` and `dnat` in steer, `snat` in egress")
        }
        (Clause::Via(_) | Clause::ViaTable(_), Guard | Filter | Egress, _) => {
            Some("`via` is for `proxy` and `route` in steer")
        }
        (Clause::With(_), Guard | Steer | Egress, _) => Some("`with` is for `reject` in filter"),
        _ => None,
    }
}
