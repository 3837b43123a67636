//! Finding what a name stands for.

use std::collections::{BTreeMap, BTreeSet};

use polc_grammar::ast::{Item, Name};

use super::load::{Module, ModuleId};
use super::{DefId, Env, Resolver, SetValue};
use crate::diagnostic::{Code, Diagnostic};
use crate::policy::{Definition, Value};
use crate::source::Span;

/// How many definitions may be made of one another in a row.
const DEEPEST: usize = 128;

/// Of how many names the nearest is looked for: with more it takes too long.
const MOST_NAMES: usize = 1000;

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
        self.meanings(env, kind, name).pop_first()
    }

    /// As [`Self::find`], for a name that stands at `span`; an error when several files that are
    /// used define it.
    pub(super) fn seek(&mut self, env: &Env, kind: Kind, name: &str, span: Span) -> Option<DefId> {
        let mut meanings = self.meanings(env, kind, name);
        let first = meanings.pop_first()?;
        if let Some(second) = meanings.pop_first() {
            let title = format!(
                "{} could be the {} of `{}` or of `{}`",
                kind.quoted(name),
                kind.word(),
                self.file_name(first.0),
                self.file_name(second.0)
            );
            let help = "give one of the files a prefix: `use \"…\" as …`";
            self.report(Diagnostic::error(Code::DuplicateName, title, span).help(help));
        }
        self.used.insert((kind, first.clone()));
        Some(first)
    }

    fn file_name(&self, module: ModuleId) -> &str {
        self.modules.get(module).map_or("", |m| &m.name)
    }

    /// Every definition that `name` can mean in the file of `env`: at most one, unless files that
    /// are used contradict each other.
    fn meanings(&self, env: &Env, kind: Kind, name: &str) -> BTreeSet<DefId> {
        let mut found = BTreeSet::new();
        self.candidates(env.module, kind, name, &mut BTreeSet::new(), &mut found);
        let prelude = 0;
        if found.is_empty() && self.defines(prelude, kind, name) {
            found.insert((prelude, name.to_owned()));
        }
        found
    }

    /// Adds every definition that `name` can mean in a module and what it uses: the module's own
    /// alone, if there is one. Each module is asked once, by however many ways it is used.
    fn candidates(
        &self,
        module: ModuleId,
        kind: Kind,
        name: &str,
        asked: &mut BTreeSet<ModuleId>,
        found: &mut BTreeSet<DefId>,
    ) {
        if !asked.insert(module) {
            return;
        }
        if self.defines(module, kind, name) {
            found.insert((module, name.to_owned()));
            return;
        }
        let uses = self.modules.get(module).map_or(&[][..], |m| &m.uses);
        if let Some((prefix, rest)) = name.split_once('.') {
            for (alias, used) in uses {
                if alias.as_deref() == Some(prefix) {
                    self.candidates(*used, kind, rest, &mut BTreeSet::new(), found);
                }
            }
            return;
        }
        for (_, used) in uses.iter().filter(|(alias, _)| alias.is_none()) {
            self.candidates(*used, kind, name, asked, found);
        }
    }

    fn defines(&self, module: ModuleId, kind: Kind, name: &str) -> bool {
        self.index
            .get(module)
            .is_some_and(|i| i.contains_key(&(kind, name.to_owned())))
    }

    /// Every definition of the policy's files that is right.
    pub(super) fn definitions(&self) -> Vec<Definition> {
        let modules = self.modules.iter().enumerate().skip(1);
        let items = modules.flat_map(|(id, m)| m.tree.items.iter().map(move |i| (id, i)));
        items
            .filter_map(|(module, item)| {
                let (kind, name) = definition(&item.node)?;
                let id = (module, name.node.clone());
                Some(Definition {
                    name: name.node.clone(),
                    value: self.value(kind, &id)?,
                    used: self.used.contains(&(kind, id)),
                    span: self.env(module).span(name.span),
                })
            })
            .collect()
    }

    fn value(&self, kind: Kind, id: &DefId) -> Option<Value> {
        match kind {
            Kind::Set => match self.sets.get(id)?.clone()? {
                SetValue::Static(set) => Some(Value::Set(set)),
                SetValue::Dynamic(index) => Some(Value::Dynamic(index)),
            },
            Kind::Service => self.services.get(id)?.clone().map(Value::Service),
            Kind::Zone => self.zones.get(id)?.clone().map(Value::Zone),
            Kind::Bucket => self.buckets.get(id)?.map(Value::Bucket),
            Kind::Proxy => self.proxies.get(id)?.map(Value::Proxy),
            Kind::Template => Some(Value::Template),
            Kind::Param => Some(Value::Param),
        }
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
        let found = self.seek(env, kind, name, span);
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
        if self.open.len() >= DEEPEST {
            let title = format!(
                "the {} {} is defined by more than {DEEPEST} others in a row",
                kind.word(),
                kind.quoted(&id.1)
            );
            let help = "define some of them without the others";
            self.report(Diagnostic::error(Code::TooComplex, title, span).help(help));
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
    if names.len() > MOST_NAMES {
        return None;
    }
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
