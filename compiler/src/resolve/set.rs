//! Sets of addresses.

use std::mem::discriminant;
use std::net::IpAddr;

use polc_grammar::ast::{
    AddrLit, Element, Item, KeyKind, Meta as AstMeta, SetBody, SetDecl, SetExpr, SetOp, SetOption,
    SetTerm, Spanned,
};

use super::param::Bound;
use super::scope::Kind;
use super::{DefId, Env, Resolver, SetValue};
use crate::diagnostic::{Code, Diagnostic, Edit, Fix};
use crate::ir::DynamicSet;
use crate::packet::AddrSet;
use crate::packet::interval::IntervalSet;
use crate::source::Span;

/// Address ranges of both families, collected before they are sorted once.
#[derive(Default)]
pub(super) struct Ranges {
    pub(super) v4: Vec<(u32, u32)>,
    pub(super) v6: Vec<(u128, u128)>,
}

impl Ranges {
    pub(super) fn into_set(self) -> AddrSet {
        AddrSet {
            v4: IntervalSet::from_ranges(self.v4),
            v6: IntervalSet::from_ranges(self.v6),
            label: None,
        }
    }

    /// Adds the addresses of a set.
    pub(super) fn extend(&mut self, set: &AddrSet) {
        self.v4.extend(set.v4.ranges());
        self.v6.extend(set.v6.ranges());
    }
}

impl Resolver<'_> {
    /// What the set's name stands for.
    pub(super) fn set(&mut self, id: &DefId, span: Span) -> Option<SetValue> {
        if let Some(known) = self.sets.get(id) {
            return known.clone();
        }
        if !self.enter(Kind::Set, id, span) {
            return None;
        }
        let tree = self.tree(id.0);
        let item = self.item(Kind::Set, id).and_then(|at| tree.items.get(at));
        let value = match item.map(|i| &i.node) {
            Some(Item::Set(decl)) => self.set_decl(decl, id),
            _ => None,
        };
        self.leave();
        self.sets.insert(id.clone(), value.clone());
        value
    }

    fn set_decl(&mut self, decl: &SetDecl, id: &DefId) -> Option<SetValue> {
        let env = self.env(id.0);
        let span = env.span(decl.name.span);
        let (mut dynamic, mut idle, mut max) = (false, None, None);
        let meta = |o: &SetOption| match o {
            SetOption::Meta(meta) => Some(discriminant(meta)),
            _ => None,
        };
        for (at, option) in decl.options.iter().enumerate() {
            let key = |o: &SetOption| (discriminant(o), meta(o));
            let mut before = decl.options.iter().take(at);
            if let Some(first) = before.find(|o| key(&o.node) == key(&option.node)) {
                self.said_twice(env.span(option.span), env.span(first.span));
            }
            match &option.node {
                SetOption::Dynamic => dynamic = true,
                SetOption::Idle(ms) => idle = Some((*ms, env.span(option.span))),
                SetOption::Max(n) => {
                    max = self
                        .number(n, &env, u64::from(u32::MAX))
                        .map(|m| (m, env.span(n.span)));
                }
                SetOption::Meta(AstMeta::Expires(date)) => self.expires(date, &env),
                SetOption::Meta(AstMeta::Review(date)) => self.review(date, &env),
                SetOption::Meta(_) => {}
            }
        }
        let value = self.set_expr(&decl.expr, &env)?;
        let SetValue::Static(set) = value else {
            self.error(
                Code::TypeMismatch,
                "a set cannot be made of a `dynamic` set",
                span,
            );
            return None;
        };
        let count = set.range_count() as u64;
        if let Some((max, at)) = max
            && count > max
        {
            let title = format!(
                "the set `@{}` has {count} elements, and its `max` is {max}",
                id.1
            );
            let help = "raise `max`, or take elements out; neighbours count as one element";
            self.report(Diagnostic::error(Code::SetOverflow, title, at).help(help));
        }
        if dynamic {
            let key = decl.key.as_ref().map_or(KeyKind::Source, |k| k.node);
            return Some(self.dynamic_set(
                id,
                key,
                set,
                idle.map(|(ms, _)| ms),
                max.map(|(n, _)| n),
                span,
            ));
        }
        if let Some((_, at)) = idle {
            let diagnostic =
                Diagnostic::error(Code::WrongClause, "`idle` needs a `dynamic` set", at);
            self.report(diagnostic.help("only the data plane's own elements can leave when idle"));
        }
        if let Some(key) = &decl.key {
            let at = env.span(key.span);
            let diagnostic =
                Diagnostic::error(Code::WrongClause, "`as` a key needs a `dynamic` set", at);
            self.report(diagnostic.help("a set that is written out holds addresses"));
        }
        Some(SetValue::Static(set.named(&id.1)))
    }

    fn dynamic_set(
        &mut self,
        id: &DefId,
        key: KeyKind,
        initial: AddrSet,
        idle: Option<u64>,
        max: Option<u64>,
        span: Span,
    ) -> SetValue {
        if key == KeyKind::Pair && !initial.is_empty() {
            let title = "a set `as pair` cannot begin with elements";
            self.error(Code::TypeMismatch, title, span);
        }
        self.policy.dynamic.push(DynamicSet {
            name: id.1.as_str().into(),
            key,
            initial,
            idle,
            max: max.and_then(|n| u32::try_from(n).ok()),
            span,
        });
        SetValue::Dynamic(self.policy.dynamic.len() - 1)
    }

    /// The value of terms joined by operators.
    pub(super) fn set_expr(&mut self, expr: &SetExpr, env: &Env) -> Option<SetValue> {
        let first = self.set_term(&expr.first, env);
        if expr.rest.is_empty() {
            return first;
        }
        let mut value = first.and_then(|v| self.static_only(v, env.span(expr.first.span)));
        for (op, term) in &expr.rest {
            let right = self.set_term(term, env);
            let right = right.and_then(|v| self.static_only(v, env.span(term.span)));
            value = value.zip(right).map(|(left, right)| match op {
                SetOp::Union => left.union(&right),
                SetOp::Difference => left.difference(&right),
                SetOp::Intersection => left.intersection(&right),
            });
        }
        value.map(SetValue::Static)
    }

    fn static_only(&mut self, value: SetValue, span: Span) -> Option<AddrSet> {
        match value {
            SetValue::Static(set) => Some(set),
            SetValue::Dynamic(_) => {
                let diagnostic = Diagnostic::error(
                    Code::TypeMismatch,
                    "a `dynamic` set cannot be part of another set",
                    span,
                );
                self.report(diagnostic.help("its elements are known only to the data plane"));
                None
            }
        }
    }

    fn set_term(&mut self, term: &Spanned<SetTerm>, env: &Env) -> Option<SetValue> {
        let span = env.span(term.span);
        match &term.node {
            SetTerm::Body(body) => self.set_body(body, env).map(SetValue::Static),
            SetTerm::Ref(name) => self.set_named(name, env, span),
            SetTerm::Addr(addr) => self.address(addr, span).map(SetValue::Static),
            SetTerm::File(paths) => {
                let mut ranges = Ranges::default();
                let mut ok = true;
                for path in paths {
                    ok &= self.set_file(path, env, &mut ranges);
                }
                ok.then(|| SetValue::Static(ranges.into_set()))
            }
        }
    }

    /// The set, or the parameter, that `@name` means.
    pub(super) fn set_named(&mut self, name: &str, env: &Env, span: Span) -> Option<SetValue> {
        match self.named_param(env, name, span) {
            Some(Bound::Set(set)) => return Some(set),
            Some(Bound::Addr(addr)) => return Some(SetValue::Static(AddrSet::one(addr))),
            Some(Bound::Failed) => return None,
            _ => {}
        }
        let id = self.lookup(env, Kind::Set, name, span)?;
        self.set(&id, span)
    }

    /// The addresses of `{ … }`.
    pub(super) fn set_body(&mut self, body: &SetBody, env: &Env) -> Option<AddrSet> {
        let mut ranges = Ranges::default();
        let mut ok = true;
        for element in &body.elements {
            let span = env.span(element.span);
            let set = match &element.node {
                Element::Addr(addr) => self.address(addr, span),
                Element::Ref(name) => self
                    .set_named(name, env, span)
                    .and_then(|value| self.static_only(value, span)),
            };
            match set {
                Some(set) => ranges.extend(&set),
                None => ok = false,
            }
        }
        ok.then(|| ranges.into_set())
    }

    /// Puts `prefix` in place of the prefix of `addr`, if that is what stands at `span`: a value
    /// can come from outside.
    fn clear_bits(&self, span: Span, addr: IpAddr, prefix: String) -> Option<Fix> {
        let text = &self.sources.get(span.file)?.text;
        let written = text.get(span.start as usize..span.end as usize)?;
        let (written, _) = written.split_once('/')?;
        let is_literal = written.parse() == Ok(addr);
        is_literal.then(|| Fix {
            safe: true,
            title: format!("write `{prefix}`"),
            edits: vec![Edit { span, text: prefix }],
        })
    }

    /// The addresses of a literal.
    pub(super) fn address(&mut self, addr: &AddrLit, span: Span) -> Option<AddrSet> {
        match *addr {
            AddrLit::Addr(addr) => Some(AddrSet::one(addr)),
            AddrLit::Prefix(addr, len) => {
                let set = AddrSet::prefix(addr, len);
                if let Some(set) = &set
                    && let Some(first) = first_address(set)
                    && first != addr
                {
                    let title = format!("`{addr}/{len}` has bits set beyond its length");
                    let help = format!("write `{first}/{len}`");
                    let mut diagnostic = Diagnostic::warning(Code::HostBits, title, span);
                    diagnostic.fix = self.clear_bits(span, addr, format!("{first}/{len}"));
                    self.report(diagnostic.help(help));
                }
                set
            }
            AddrLit::Range(first, last) => {
                let set = AddrSet::range(first, last).filter(|s| !s.is_empty());
                if set.is_none() {
                    let title = format!("the range `{first}-{last}` runs backwards");
                    let help = format!("write `{last}-{first}`");
                    self.report(Diagnostic::error(Code::InvertedRange, title, span).help(help));
                }
                set
            }
        }
    }
}

/// The first address of a set of one family.
fn first_address(set: &AddrSet) -> Option<IpAddr> {
    let v4 = set.v4.ranges().first().map(|r| IpAddr::V4(r.0.into()));
    v4.or_else(|| set.v6.ranges().first().map(|r| IpAddr::V6(r.0.into())))
}
