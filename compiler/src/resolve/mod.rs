//! Syntax → typed policy.
//!
//! [`resolve`] reads the policy's file and what it uses, looks up every name, binds parameters,
//! expands templates, computes sets, and checks types. Each file is a scope; the prelude is the
//! outermost. A template's body is resolved in the scope of the file that defines it, with its
//! parameters bound to values that were resolved where it is applied: names cannot leak either
//! way.

mod block;
mod claim;
mod clause;
mod ends;
mod expr;
mod iface;
mod load;
mod param;
mod proxy;
mod rate;
mod scope;
mod service;
mod set;
mod setfile;
mod template;
mod zone;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use polc_grammar::ast;

use crate::diagnostic::{Code, Diagnostic};
use crate::packet::AddrSet;
use crate::policy::{Meta, Policy};
use crate::source::{FileId, SourceMap, Span};

pub(crate) use load::{PRELUDE_TEXT, prelude};
pub(crate) use scope::nearest;

use load::{Loader, ModuleId};
use param::Bound;

/// Reads files for the compiler, which opens none itself.
pub trait Files {
    /// The text of the file at `path`, which is relative to where the policy's own path is
    /// relative to, or absolute.
    fn read(&self, path: &str) -> std::io::Result<String>;
}

/// What a policy is compiled with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Values of parameters, as text.
    pub params: BTreeMap<String, String>,
    /// Numbers of users that the policy names; others are looked up where the policy is loaded.
    pub users: BTreeMap<String, u32>,
    /// Numbers of groups that the policy names.
    pub groups: BTreeMap<String, u32>,
    /// The date at which `expires` and `review` are judged, `YYYY-MM-DD`.
    pub as_of: String,
}

/// What [`resolve`] found.
pub struct Resolved {
    /// Every text read.
    pub sources: SourceMap,
    /// The typed policy; incomplete when a diagnostic is an error.
    pub policy: Policy,
    /// What is wrong with it.
    pub diagnostics: Vec<Diagnostic>,
}

/// Resolves the policy with the given text; `path` is its path, to which others are relative.
pub fn resolve(path: &str, text: &str, files: &dyn Files, options: &Options) -> Resolved {
    let path = &load::join("", path);
    let mut loader = Loader::new(files, path);
    let root = loader.add(path, text);
    let stem = path.rsplit('/').next().unwrap_or(path);
    let name = stem.strip_suffix(".pol").unwrap_or(stem).to_owned();
    let file = loader
        .modules
        .get(root)
        .map_or_else(FileId::default, |m| m.file);
    let index = scope::index(&loader.modules);
    let mut resolver = Resolver {
        index,
        files,
        options,
        diagnostics: loader.diagnostics,
        sources: loader.sources,
        modules: loader.modules,
        root,
        sets: BTreeMap::new(),
        services: BTreeMap::new(),
        zones: BTreeMap::new(),
        buckets: BTreeMap::new(),
        units: BTreeMap::new(),
        proxies: BTreeMap::new(),
        params: BTreeMap::new(),
        used: BTreeSet::new(),
        open: Vec::new(),
        expanding: Vec::new(),
        applied: 0,
        seen: block::Seen::default(),
        policy: empty_policy(name, file),
    };
    resolver.run();
    Resolved {
        sources: resolver.sources,
        policy: resolver.policy,
        diagnostics: resolver.diagnostics,
    }
}

fn empty_policy(name: String, file: FileId) -> Policy {
    Policy {
        name,
        file,
        meta: Meta::default(),
        buckets: Vec::new(),
        dynamic: Vec::new(),
        proxies: Vec::new(),
        blocks: Vec::new(),
        default: None,
        strict_icmp: false,
        strict_tcp: false,
        raw: Vec::new(),
        claims: Vec::new(),
        tests: Vec::new(),
        definitions: Vec::new(),
    }
}

/// A definition's identity: its module and its name there.
type DefId = (ModuleId, String);

/// The state of one resolution. Definitions are computed when first used, and remembered; `None`
/// stands for one that is wrong and has been reported.
struct Resolver<'a> {
    files: &'a dyn Files,
    options: &'a Options,
    sources: SourceMap,
    modules: Vec<load::Module>,
    root: ModuleId,
    /// What each module defines: kind and name → index of the item.
    index: Vec<scope::Index>,
    diagnostics: Vec<Diagnostic>,
    sets: BTreeMap<DefId, Option<SetValue>>,
    services: BTreeMap<DefId, Option<Vec<crate::ir::Cube>>>,
    zones: BTreeMap<DefId, Option<crate::policy::Zone>>,
    buckets: BTreeMap<DefId, Option<usize>>,
    /// The unit that a bucket's rate was written with, by the bucket's index.
    units: BTreeMap<usize, ast::Unit>,
    proxies: BTreeMap<DefId, Option<usize>>,
    params: BTreeMap<DefId, Option<Bound>>,
    /// Definitions that something uses.
    used: BTreeSet<(scope::Kind, DefId)>,
    /// Definitions being computed, to find cycles.
    open: Vec<(scope::Kind, DefId)>,
    /// Templates being expanded, to find cycles.
    expanding: Vec<DefId>,
    /// How many templates have been applied.
    applied: usize,
    seen: block::Seen,
    policy: Policy,
}

/// What a set's name stands for.
#[derive(Clone, Debug)]
enum SetValue {
    /// Addresses.
    Static(AddrSet),
    /// An index into the policy's dynamic sets.
    Dynamic(usize),
}

/// Where a name is looked up: a file, and the template parameters that are bound.
#[derive(Clone)]
struct Env {
    module: ModuleId,
    file: FileId,
    locals: Arc<BTreeMap<String, Bound>>,
}

impl Env {
    /// The place of a syntax node of this file.
    fn span(&self, span: polc_grammar::span::Span) -> Span {
        Span::new(self.file, span)
    }
}

impl Resolver<'_> {
    fn run(&mut self) {
        self.check_names();
        self.check_templates();
        self.define_all();
        self.bind_unknown_params();
        let root = self.root;
        self.module_items(root);
        self.check_zones();
        self.policy.definitions = self.definitions();
    }

    /// The scope of a file.
    fn env(&self, module: ModuleId) -> Env {
        let file = self
            .modules
            .get(module)
            .map_or_else(FileId::default, |m| m.file);
        Env {
            module,
            file,
            locals: Arc::default(),
        }
    }

    fn tree(&self, module: ModuleId) -> Arc<ast::File> {
        self.modules
            .get(module)
            .map(|m| Arc::clone(&m.tree))
            .unwrap_or_default()
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn error(&mut self, code: Code, title: impl Into<String>, span: Span) {
        self.report(Diagnostic::error(code, title, span));
    }
}
