//! Finding what a name stands for.

use std::collections::BTreeMap;

use polc_grammar::ast::{Item, Name};

use super::load::{Module, ModuleId};
use super::{DefId, Env, Resolver};
use crate::diagnostic::{Code, Diagnostic};
use crate::source::Span;

/// The kinds of definition. Each has its own names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Set,
    Service,
    Zone,
    Bucket,
    Proxy,
    Template,
    Param,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Service => "service",
            Self::Zone => "zone",
            Self::Bucket => "bucket",
            Self::Proxy => "proxy",
            Self::Template => "template",
            Self::Param => "parameter",
        }
    }

    /// What defines one.
    fn example(self) -> &'static str {
        match self {
            Self::Set => "`set admins = { 192.0.2.0/24 }`",
            Self::Service => "`service web = tcp/{80, 443}`",
            Self::Zone => "`zone lan = eth1`",
            Self::Bucket => "`bucket slow = 10/s per source`",
            Self::Proxy => "`proxy box { listen … mark … table … }`",
            Self::Template => "`template open(svc: service) { allow svc }`",
            Self::Param => "`param limit: number = 5`",
        }
    }

    /// The name as it is written where it is used.
    fn quoted(self, name: &str) -> String {
        if self == Self::Set {
            format!("`@{name}`")
        } else {
            format!("`{name}`")
        }
    }
}

/// What a module defines: kind and name → index of the item.
pub(super) type Index = BTreeMap<(Kind, String), usize>;

/// The first definition of each name of each module.
pub(super) fn index(modules: &[Module]) -> Vec<Index> {
    let of = |module: &Module| {
        let mut index = Index::new();
        for (at, item) in module.tree.items.iter().enumerate() {
            if let Some((kind, name)) = definition(&item.node) {
                index.entry((kind, name.node.clone())).or_insert(at);
            }
        }
        index
    };
    modules.iter().map(of).collect()
}

/// The kind and name of what an item defines.
fn definition(item: &Item) -> Option<(Kind, &Name)> {
    match item {
        Item::Set(d) => Some((Kind::Set, &d.name)),
        Item::Service(d) => Some((Kind::Service, &d.name)),
        Item::Zone(d) => Some((Kind::Zone, &d.name)),
        Item::Bucket(d) => Some((Kind::Bucket, &d.name)),
        Item::Proxy(d) => Some((Kind::Proxy, &d.name)),
        Item::Template(d) => Some((Kind::Template, &d.name)),
        Item::Param(d) => Some((Kind::Param, &d.name)),
        _ => None,
    }
}

impl Resolver<'_> {
    /// The definition that `name` means in the file of `env`, without a word when there is none.
    pub(super) fn find(&self, env: &Env, kind: Kind, name: &str) -> Option<DefId> {
        self.find_in(env.module, kind, name).or_else(|| {
            let prelude = 0;
            self.defines(prelude, kind, name)
                .then(|| (prelude, name.to_owned()))
        })
    }

    fn find_in(&self, module: ModuleId, kind: Kind, name: &str) -> Option<DefId> {
        if self.defines(module, kind, name) {
            return Some((module, name.to_owned()));
        }
        let uses = &self.modules.get(module)?.uses;
        if let Some((prefix, rest)) = name.split_once('.') {
            let meant = uses
                .iter()
                .find(|(alias, _)| alias.as_deref() == Some(prefix));
            return meant.and_then(|(_, module)| self.find_in(*module, kind, rest));
        }
        let bare = uses.iter().filter(|(alias, _)| alias.is_none());
        bare.into_iter()
            .find_map(|(_, used)| self.find_in(*used, kind, name))
    }

    fn defines(&self, module: ModuleId, kind: Kind, name: &str) -> bool {
        self.index
            .get(module)
            .is_some_and(|i| i.contains_key(&(kind, name.to_owned())))
    }

    /// The item that defines `id`.
    pub(super) fn item(&self, kind: Kind, id: &DefId) -> Option<usize> {
        self.index.get(id.0)?.get(&(kind, id.1.clone())).copied()
    }

    /// The definition that `name` means; an error when there is none.
    pub(super) fn lookup(
        &mut self,
        env: &Env,
        kind: Kind,
        name: &str,
        span: Span,
    ) -> Option<DefId> {
        let found = self.find(env, kind, name);
        if found.is_none() {
            self.undefined(env, kind, name, span);
        }
        found
    }

    /// Reports a name that nothing defines, with the nearest one that something does.
    pub(super) fn undefined(&mut self, env: &Env, kind: Kind, name: &str, span: Span) {
        let title = format!("there is no {} {}", kind.word(), kind.quoted(name));
        let mut diagnostic = Diagnostic::error(Code::Undefined, title, span);
        if let Some(near) = nearest(name, &self.names(env, kind)) {
            diagnostic.help = Some(format!("did you mean {}?", kind.quoted(&near)));
        } else if let Some(other) = self.other_kind(env, kind, name) {
            diagnostic.help = Some(format!(
                "{} is a {}, and a {} is needed here",
                other.quoted(name),
                other.word(),
                kind.word()
            ));
        } else {
            diagnostic.help = Some(format!("define it: {}", kind.example()));
        }
        self.report(diagnostic);
    }

    /// A kind of definition that does have the name.
    fn other_kind(&self, env: &Env, kind: Kind, name: &str) -> Option<Kind> {
        use Kind::{Bucket, Param, Proxy, Service, Set, Template, Zone};
        [Set, Service, Zone, Bucket, Proxy, Template, Param]
            .into_iter()
            .find(|k| *k != kind && self.find(env, *k, name).is_some())
    }

    /// Every name of a kind that can be written in the file of `env`.
    pub(super) fn names(&self, env: &Env, kind: Kind) -> Vec<String> {
        let mut names = Vec::new();
        let mut add = |module: ModuleId, prefix: &str| {
            let index = self.index.get(module).into_iter().flatten();
            names.extend(
                index
                    .filter(|((k, _), _)| *k == kind)
                    .map(|((_, n), _)| format!("{prefix}{n}")),
            );
        };
        add(env.module, "");
        add(0, "");
        for (alias, used) in self.modules.get(env.module).iter().flat_map(|m| &m.uses) {
            let prefix = alias.as_ref().map(|a| format!("{a}.")).unwrap_or_default();
            add(*used, &prefix);
        }
        if kind != Kind::Set {
            names.extend(env.locals.keys().cloned());
        }
        names
    }

    /// Marks a definition as being computed. `false`, with an error, when it already is.
    pub(super) fn enter(&mut self, kind: Kind, id: &DefId, span: Span) -> bool {
        let entry = (kind, id.clone());
        if self.open.contains(&entry) {
            let title = format!(
                "the {} {} is defined by itself",
                kind.word(),
                kind.quoted(&id.1)
            );
            let help = "follow the names from here: they lead back; write one of them out";
            self.report(Diagnostic::error(Code::Undefined, title, span).help(help));
            return false;
        }
        self.open.push(entry);
        true
    }

    /// Ends what [`Self::enter`] began.
    pub(super) fn leave(&mut self) {
        self.open.pop();
    }

    /// Reports names that are defined twice in one file.
    pub(super) fn check_names(&mut self) {
        for module in 0..self.modules.len() {
            let env = self.env(module);
            let tree = self.tree(module);
            let mut first: BTreeMap<(Kind, &str), &Name> = BTreeMap::new();
            for item in &tree.items {
                let Some((kind, name)) = definition(&item.node) else {
                    continue;
                };
                if let Some(earlier) = first.get(&(kind, name.node.as_str())) {
                    let title = format!(
                        "the {} {} is defined twice",
                        kind.word(),
                        kind.quoted(&name.node)
                    );
                    let earlier = env.span(earlier.span);
                    self.report(
                        Diagnostic::error(Code::DuplicateName, title, env.span(name.span))
                            .at("again here")
                            .and(earlier, "first here")
                            .help("rename one of the two, or take it out"),
                    );
                } else {
                    first.insert((kind, &name.node), name);
                }
            }
        }
    }

    /// Computes every definition of every file, used or not, so that each mistake is found.
    pub(super) fn define_all(&mut self) {
        for module in 0..self.modules.len() {
            let env = self.env(module);
            let tree = self.tree(module);
            for item in &tree.items {
                let Some((kind, name)) = definition(&item.node) else {
                    continue;
                };
                let id = (module, name.node.clone());
                let span = env.span(name.span);
                match kind {
                    Kind::Set => drop(self.set(&id, span)),
                    Kind::Service => drop(self.service(&id, span)),
                    Kind::Zone => drop(self.zone(&id, span)),
                    Kind::Bucket => drop(self.bucket(&id, span)),
                    Kind::Proxy => drop(self.proxy(&id, span)),
                    Kind::Param => drop(self.param(&id, span)),
                    Kind::Template => {}
                }
            }
        }
    }
}

/// The name most like `name`, if one is like it enough to be meant. Of two equally like it, the
/// one with the same first letter: that one is rarely wrong.
pub(crate) fn nearest(name: &str, names: &[String]) -> Option<String> {
    let far = 1 + name.chars().count() / 4;
    let first = name.chars().next();
    names
        .iter()
        .map(|n| {
            let distance = strsim::damerau_levenshtein(name, n);
            (distance, n.chars().next() != first, n)
        })
        .filter(|(distance, _, _)| *distance <= far)
        .min()
        .map(|(_, _, n)| n.clone())
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn only_likely_names_are_suggested() {
        let names = ["https", "ftps", "ssh", "dns"].map(str::to_owned);
        assert_eq!(nearest("htps", &names).as_deref(), Some("https"));
        assert_eq!(nearest("shs", &names).as_deref(), Some("ssh"));
        assert_eq!(nearest("postgres", &names), None);
    }
}
