//! Parameters: their types, and the values bound to them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use polc_grammar::ast::{AddrLit, Item, Name, Num, Spanned, Target, Unit, Value};

use super::scope::{Kind, nearest};
use super::{DefId, Env, Resolver, SetValue};
use crate::diagnostic::{Code, Diagnostic};
use crate::ir::Cube;
use crate::packet::Pattern;
use crate::policy::RateRef;
use crate::source::Span;

/// A value of a parameter.
#[derive(Clone, Debug)]
pub(super) enum Bound {
    /// `ident`, `user`, `group`, `cgroup`, `string`
    Text(String),
    /// `number`, `port`, `uid`, `gid`
    Number(u64),
    /// `iface`
    Iface(Pattern),
    /// `addr`
    Addr(IpAddr),
    /// `set`
    Set(SetValue),
    /// `service`
    Services(Vec<Cube>),
    /// `rate`, and the unit it was written with
    Rate(RateRef, Option<Unit>),
    /// `zone`
    Zone(DefId),
    /// It has been reported that there is no value.
    Failed,
}

/// The name under which the text of a given value is shown.
const GIVEN: &str = "given value";

/// The types a parameter can have, with an example of each for messages.
const TYPES: &[(&str, &str)] = &[
    ("iface", "an interface such as `eth0`"),
    ("ident", "a name such as `web-in`"),
    ("service", "services such as `ssh` or `tcp/{80, 443}`"),
    ("set", "a set such as `@admins` or `{ 192.0.2.0/24 }`"),
    ("addr", "an address such as `192.0.2.1`"),
    ("port", "a port from 0 to 65535"),
    ("number", "a number"),
    ("uid", "a user number"),
    ("gid", "a group number"),
    ("user", "a user name"),
    ("group", "a group name"),
    ("cgroup", "a control group's path"),
    ("string", "a text in quotes"),
    ("rate", "a rate such as `10/s burst 20`, or a bucket's name"),
    ("zone", "a zone's name"),
];

impl Resolver<'_> {
    /// The value of a file's parameter.
    pub(super) fn param(&mut self, id: &DefId, span: Span) -> Option<Bound> {
        if let Some(known) = self.params.get(id) {
            return known.clone();
        }
        if !self.enter(Kind::Param, id, span) {
            return None;
        }
        let value = self.param_value(id);
        self.leave();
        self.params.insert(id.clone(), value.clone());
        value
    }

    fn param_value(&mut self, id: &DefId) -> Option<Bound> {
        let tree = self.tree(id.0);
        let at = self.item(Kind::Param, id)?;
        let Some(Item::Param(param)) = tree.items.get(at).map(|i| &i.node) else {
            return None;
        };
        let env = self.env(id.0);
        self.check_param_type(&param.ty, &env);
        if let Some(text) = self.options.params.get(&id.1).cloned() {
            return self.bind_text(&param.name, &param.ty, &text, &env);
        }
        let Some(default) = &param.default else {
            let title = format!("the parameter `{}` has no value", id.1);
            let help = format!("give it one: `--param {}=…`, or a default: `= …`", id.1);
            let span = env.span(param.name.span);
            self.report(Diagnostic::error(Code::UnboundParam, title, span).help(help));
            return None;
        };
        self.bind(&param.ty, default, &env)
    }

    /// Binds a value given as text, as on the command line. Its mistakes are shown in a text of
    /// their own: the parameter as if it had that default.
    fn bind_text(&mut self, name: &Name, ty: &Name, text: &str, env: &Env) -> Option<Bound> {
        let source = format!("param {}: {} = {text}", name.node, ty.node);
        let parsed = polc_grammar::parse(&source);
        let value = match parsed.file.items.as_slice() {
            [item] if parsed.errors.is_empty() => match &item.node {
                Item::Param(param) => param.default.clone(),
                _ => None,
            },
            _ => None,
        };
        let Some(value) = value else {
            let title = format!("`{text}` is not a value for the parameter `{}`", name.node);
            let diagnostic = Diagnostic::error(Code::TypeMismatch, title, env.span(name.span));
            self.report(diagnostic.help(expected(&ty.node)));
            return None;
        };
        let given = Env {
            file: self.sources.add(GIVEN, &source),
            ..env.clone()
        };
        self.bind(ty, &value, &given)
    }

    /// Reports values given for parameters that no file has.
    pub(super) fn bind_unknown_params(&mut self) {
        let known = |name: &str| {
            self.index
                .iter()
                .any(|i| i.contains_key(&(Kind::Param, name.to_owned())))
        };
        let unknown: Vec<String> = self
            .options
            .params
            .keys()
            .filter(|name| !known(name))
            .cloned()
            .collect();
        let env = self.env(self.root);
        for name in unknown {
            let title = format!("a value is given for `{name}`, and no file has that parameter");
            let span = env.span(polc_grammar::span::Span::default());
            let mut diagnostic = Diagnostic::error(Code::UnboundParam, title, span);
            // The mistake is on the command line, not in a file.
            diagnostic.labels.clear();
            let help = match nearest(&name, &self.names(&env, Kind::Param)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "parameters are declared with `param NAME: TYPE`".to_owned(),
            };
            self.report(diagnostic.help(help));
        }
    }

    /// Binds `value`, which stands in `env`, to a parameter of type `ty`.
    fn bind(&mut self, ty: &Name, value: &Spanned<Value>, env: &Env) -> Option<Bound> {
        if !is_type(&ty.node) {
            // Reported where the parameter is declared.
            return None;
        }
        if let Value::Word(word) = &value.node
            && let Some(bound) = self.named_param(env, word, env.span(value.span))
        {
            return self.check_type(&ty.node, bound, env.span(value.span));
        }
        let bound = self.read_value(&ty.node, value, env);
        if bound.is_none() {
            self.type_mismatch(&ty.node, env.span(value.span));
        }
        bound.filter(|b| !matches!(b, Bound::Failed))
    }

    /// Reports a type that parameters cannot have.
    pub(super) fn check_param_type(&mut self, ty: &Name, env: &Env) {
        if is_type(&ty.node) {
            return;
        }
        let title = format!("there is no parameter type `{}`", ty.node);
        let names: Vec<String> = TYPES.iter().map(|(n, _)| format!("`{n}`")).collect();
        let help = format!("the types are {}", names.join(", "));
        let span = env.span(ty.span);
        self.report(Diagnostic::error(Code::TypeMismatch, title, span).help(help));
    }

    /// The value of the parameter `name`, if there is one of that name.
    pub(super) fn named_param(&mut self, env: &Env, name: &str, span: Span) -> Option<Bound> {
        if let Some(bound) = env.locals.get(name) {
            return Some(bound.clone());
        }
        let id = self.seek(env, Kind::Param, name, span)?;
        Some(self.param(&id, span).unwrap_or(Bound::Failed))
    }

    /// A parameter handed on must have the type of the one it is handed to.
    fn check_type(&mut self, ty: &str, bound: Bound, span: Span) -> Option<Bound> {
        let ok = match &bound {
            Bound::Text(_) => matches!(ty, "ident" | "user" | "group" | "cgroup" | "string"),
            Bound::Number(n) => match ty {
                "port" => *n <= 65535,
                other => matches!(other, "number" | "uid" | "gid"),
            },
            Bound::Iface(_) => ty == "iface",
            Bound::Addr(_) => matches!(ty, "addr" | "set"),
            Bound::Set(_) => ty == "set",
            Bound::Services(_) => ty == "service",
            Bound::Rate(..) => ty == "rate",
            Bound::Zone(_) => ty == "zone",
            Bound::Failed => return None,
        };
        match bound {
            Bound::Addr(addr) if ty == "set" => Some(Bound::Set(SetValue::Static(
                crate::packet::AddrSet::one(addr),
            ))),
            bound if ok => Some(bound),
            _ => {
                self.type_mismatch(ty, span);
                None
            }
        }
    }

    fn type_mismatch(&mut self, ty: &str, span: Span) {
        let title = format!("this is not a value of type `{ty}`");
        self.report(Diagnostic::error(Code::TypeMismatch, title, span).help(expected(ty)));
    }

    /// The value as one of type `ty`; `None` when it is not one.
    fn read_value(&mut self, ty: &str, value: &Spanned<Value>, env: &Env) -> Option<Bound> {
        let span = env.span(value.span);
        let failed = |value: Option<Bound>| Some(value.unwrap_or(Bound::Failed));
        match (ty, &value.node) {
            ("ident" | "user" | "group" | "cgroup", Value::Word(word))
            | ("user" | "group" | "cgroup" | "string", Value::Str(word)) => {
                Some(Bound::Text(word.clone()))
            }
            ("iface", Value::Word(word) | Value::Str(word)) => {
                failed(self.iface_pattern(word, span).map(Bound::Iface))
            }
            ("number", Value::Number(n)) => Some(Bound::Number(*n)),
            ("port", Value::Number(n)) if *n <= 65535 => Some(Bound::Number(*n)),
            ("uid" | "gid", Value::Number(n)) if u32::try_from(*n).is_ok() => {
                Some(Bound::Number(*n))
            }
            ("addr", Value::Addr(AddrLit::Addr(addr)) | Value::Target(Target::Addr(addr))) => {
                Some(Bound::Addr(*addr))
            }
            ("set", Value::Addr(addr)) => {
                let set = self.address(addr, span).map(SetValue::Static);
                failed(set.map(Bound::Set))
            }
            ("set", Value::Set(expr)) => failed(self.set_expr(expr, env).map(Bound::Set)),
            ("service", Value::Services(services)) => {
                failed(self.service_list(services, env).map(Bound::Services))
            }
            ("service", Value::Word(word)) => {
                failed(self.service_named(word, env, span).map(Bound::Services))
            }
            ("rate", Value::Rate(rate)) => failed(
                self.rate_literal(rate, env, span)
                    .map(|(r, k)| Bound::Rate(RateRef::Own(r, k), rate.unit)),
            ),
            ("rate", Value::Word(word)) => failed(
                self.bucket_named(word, env, span)
                    .map(|i| Bound::Rate(RateRef::Shared(i), self.units.get(&i).copied())),
            ),
            ("zone", Value::Word(word)) => {
                failed(self.lookup(env, Kind::Zone, word, span).map(Bound::Zone))
            }
            _ => None,
        }
    }

    /// A number, or the parameter that holds one; at most `max`.
    pub(super) fn number(&mut self, num: &Spanned<Num>, env: &Env, max: u64) -> Option<u64> {
        let span = env.span(num.span);
        self.number_at(&num.node, env, span, max)
    }

    /// As [`Self::number`], for a number without a place of its own.
    pub(super) fn number_at(&mut self, num: &Num, env: &Env, span: Span, max: u64) -> Option<u64> {
        let n = match num {
            Num::Lit(n) => *n,
            Num::Name(name) => match self.named_param(env, name, span) {
                Some(Bound::Number(n)) => n,
                Some(Bound::Failed) => return None,
                Some(_) => {
                    self.type_mismatch("number", span);
                    return None;
                }
                None => {
                    self.undefined(env, Kind::Param, name, span);
                    return None;
                }
            },
        };
        if n > max {
            let title = format!("{n} is too large: the most is {max}");
            self.error(Code::OutOfRange, title, span);
            return None;
        }
        Some(n)
    }

    /// A name, or the text of the parameter of that name.
    pub(super) fn text(&mut self, name: &Name, env: &Env) -> Option<String> {
        match self.named_param(env, &name.node, env.span(name.span)) {
            Some(Bound::Text(text)) => Some(text),
            Some(Bound::Failed) => None,
            Some(Bound::Number(n)) => Some(n.to_string()),
            Some(_) => {
                self.type_mismatch("ident", env.span(name.span));
                None
            }
            None => Some(name.node.clone()),
        }
    }

    /// Binds a template's arguments to its parameters.
    pub(super) fn bind_arguments(
        &mut self,
        params: &[polc_grammar::ast::Param],
        args: &[Spanned<Value>],
        env: &Env,
        template_env: &Env,
    ) -> BTreeMap<String, Bound> {
        let mut bound = BTreeMap::new();
        let mut args = args.iter();
        for param in params {
            let value = match (args.next(), &param.default) {
                (Some(arg), _) => self.bind(&param.ty, arg, env),
                (None, Some(default)) => self.bind(&param.ty, default, template_env),
                (None, None) => None,
            };
            bound.insert(param.name.node.clone(), value.unwrap_or(Bound::Failed));
        }
        bound
    }
}

fn is_type(name: &str) -> bool {
    TYPES.iter().any(|(ty, _)| *ty == name)
}

fn expected(ty: &str) -> String {
    TYPES
        .iter()
        .find(|(name, _)| *name == ty)
        .map(|(name, what)| format!("a value of type `{name}` is {what}"))
        .unwrap_or_default()
}
