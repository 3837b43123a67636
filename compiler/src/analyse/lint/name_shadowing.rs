//! POL707

use std::collections::BTreeMap;

use polc_grammar::ast::{Item, Use};

use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::policy::{Definition, Value};
use crate::resolve::prelude;

lint! {
    /// A set or a service of the policy has the name of one of the prelude, or of a file that the
    /// policy uses without a prefix.
    ///
    /// The policy's own goes before. Who reads a rule and knows the other one is misled; and where the
    /// definition is deleted, the rules that name it keep compiling and mean something else.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// service https = tcp/8443
    ///
    /// to host {
    ///   allow https
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// service app = tcp/8443
    ///
    /// to host {
    ///   allow app
    ///   default deny
    /// }
    /// ```
    pub(super) static LINT: "POL707" "name-shadowing" Warning, Default, Syntactic;
    "A definition hides another one of its name."
}

/// Kinds of definitions have their own names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Set,
    Service,
    Other(&'static str),
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let built_in: Vec<(Kind, &str)> = prelude()
        .items
        .iter()
        .filter_map(|i| built_in(&i.node))
        .collect();
    let syntax = cx.syntax(cx.policy.file);
    let bare: Vec<&Use> = syntax.items.iter().filter_map(|i| bare(&i.node)).collect();
    let is_in_scope = |definition: &&Definition| {
        let source = cx.sources.get(definition.span.file);
        let name = source.map_or("", |source| &source.name);
        bare.iter()
            .any(|u| name.ends_with(u.path.node.trim_start_matches("./")))
    };
    let (own, used): (Vec<_>, Vec<_>) = cx
        .policy
        .definitions
        .iter()
        .partition(|d| cx.is_own(d.span));
    let used = used.into_iter().filter(is_in_scope);
    let used: BTreeMap<_, _> = used.map(|d| ((kind(d), d.name.as_str()), d)).collect();
    for definition in own {
        let key = (kind(definition), definition.name.as_str());
        let name = &definition.name;
        if let Some(hidden) = used.get(&key) {
            let title = format!("this hides another `{name}`");
            out.push(
                LINT.report(title, definition.span)
                    .related(hidden.span, "this one")
                    .help("give it another name, or use the file with a prefix"),
            );
        } else if built_in.contains(&key) {
            let title = format!("this hides the `{name}` that polc knows");
            let help = "give it another name: the prelude's is in the language reference";
            out.push(LINT.report(title, definition.span).help(help));
        }
    }
}

fn built_in(item: &Item) -> Option<(Kind, &str)> {
    match item {
        Item::Set(set) => Some((Kind::Set, &set.name.node)),
        Item::Service(service) => Some((Kind::Service, &service.name.node)),
        _ => None,
    }
}

fn bare(item: &Item) -> Option<&Use> {
    match item {
        Item::Use(u) if u.alias.is_none() => Some(u),
        _ => None,
    }
}

fn kind(definition: &Definition) -> Kind {
    match definition.value {
        Value::Set(_) | Value::Dynamic(_) => Kind::Set,
        Value::Service(_) => Kind::Service,
        Value::Zone(_) => Kind::Other("zone"),
        Value::Bucket(_) => Kind::Other("bucket"),
        Value::Proxy(_) => Kind::Other("proxy"),
        Value::Template => Kind::Other("template"),
        Value::Param => Kind::Other("parameter"),
    }
}
