//! Reading the policy file and everything it uses.

use std::sync::{Arc, LazyLock};

use polc_grammar::ast::{self, Item};

use super::Files;
use crate::diagnostic::{self, Code, Diagnostic};
use crate::source::{FileId, SourceMap, Span};

/// An index into the list of modules.
pub(super) type ModuleId = usize;

/// One file, read.
pub(super) struct Module {
    pub(super) file: FileId,
    pub(super) tree: Arc<ast::File>,
    /// What it uses: the prefix, if any, and the module.
    pub(super) uses: Vec<(Option<String>, ModuleId)>,
    /// The module that each of its `use` items names, by the item's index.
    pub(super) used_at: Vec<(usize, ModuleId)>,
    /// Its normalised path.
    pub(super) name: String,
}

/// The name under which the prelude's text is shown.
const PRELUDE: &str = "prelude";

/// How many files may use one another in a row.
const DEEPEST: usize = 64;

pub(crate) const PRELUDE_TEXT: &str = include_str!("prelude.pol");

/// The prelude's tree: parsed once, for it is the same for every policy.
static PRELUDE_TREE: LazyLock<Arc<ast::File>> =
    LazyLock::new(|| Arc::new(polc_grammar::parse(PRELUDE_TEXT).file));

/// What is defined everywhere.
pub(crate) fn prelude() -> &'static ast::File {
    &PRELUDE_TREE
}

/// The modules of a policy: the prelude first, then the policy's file, then what it uses.
pub(super) struct Loader<'a> {
    pub(super) files: &'a dyn Files,
    pub(super) sources: SourceMap,
    pub(super) modules: Vec<Module>,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Files being read, outermost first.
    open: Vec<String>,
}

impl<'a> Loader<'a> {
    /// With the prelude; `policy` is the name of the policy's file.
    pub(super) fn new(files: &'a dyn Files, policy: &str) -> Self {
        let mut loader = Self {
            files,
            sources: SourceMap::of(policy),
            modules: Vec::new(),
            diagnostics: Vec::new(),
            open: Vec::new(),
        };
        let file = loader.sources.add(PRELUDE, PRELUDE_TEXT);
        loader.enter(PRELUDE, file, &PRELUDE_TREE);
        loader
    }

    /// Parses a text that has been read, and reads what it uses.
    pub(super) fn add(&mut self, name: &str, text: &str) -> ModuleId {
        let file = self.sources.add(name, text);
        let parsed = polc_grammar::parse(text);
        let mistakes = parsed
            .errors
            .into_iter()
            .map(|error| diagnostic::syntax(error, file));
        self.diagnostics.extend(mistakes);
        self.enter(name, file, &Arc::new(parsed.file))
    }

    /// Takes a tree as a module, and reads what it uses.
    fn enter(&mut self, name: &str, file: FileId, tree: &Arc<ast::File>) -> ModuleId {
        let id = self.modules.len();
        self.modules.push(Module {
            file,
            tree: Arc::clone(tree),
            uses: Vec::new(),
            used_at: Vec::new(),
            name: name.to_owned(),
        });
        self.open.push(name.to_owned());
        for (index, item) in tree.items.iter().enumerate() {
            let Item::Use(item) = &item.node else {
                continue;
            };
            self.check_alias(id, item, file);
            let Some(used) = self.open(name, &item.path, file) else {
                continue;
            };
            if let Some(module) = self.modules.get_mut(id) {
                module
                    .uses
                    .push((item.alias.as_ref().map(|a| a.node.clone()), used));
                module.used_at.push((index, used));
            }
        }
        self.open.pop();
        id
    }

    /// Reports a prefix that an earlier `use` of the module `id` has.
    fn check_alias(&mut self, id: ModuleId, item: &ast::Use, file: FileId) {
        let Some(alias) = &item.alias else { return };
        let uses = self.modules.get(id).map_or(&[][..], |m| &m.uses);
        if uses
            .iter()
            .any(|(taken, _)| taken.as_ref() == Some(&alias.node))
        {
            let title = format!("two files are called `{}`", alias.node);
            let span = Span::new(file, alias.span);
            let diagnostic = Diagnostic::error(Code::DuplicateName, title, span);
            self.diagnostics
                .push(diagnostic.help("give each file a prefix of its own"));
        }
    }

    /// The module of a used file.
    fn open(&mut self, from: &str, path: &ast::Spanned<String>, file: FileId) -> Option<ModuleId> {
        let name = join(from, &path.node);
        let span = Span::new(file, path.span);
        if let Some(start) = self.open.iter().position(|open| *open == name) {
            let mut way: Vec<&str> = self.open.iter().skip(start).map(String::as_str).collect();
            way.push(&name);
            let title = format!("`{name}` uses itself: {}", way.join(" → "));
            let help = "move what both need into a third file, and use that from both";
            self.diagnostics
                .push(Diagnostic::error(Code::ImportCycle, title, span).help(help));
            return None;
        }
        // The first is the prelude, which is no file.
        let mut known = self.modules.iter().enumerate().skip(1);
        if let Some((known, _)) = known.find(|(_, m)| m.name == name) {
            return Some(known);
        }
        if self.open.len() >= DEEPEST {
            let title = format!("more than {DEEPEST} files use one another in a row");
            let help = "use the files that are needed from here";
            self.diagnostics
                .push(Diagnostic::error(Code::TooComplex, title, span).help(help));
            return None;
        }
        match self.files.read(&name) {
            Ok(text) => Some(self.add(&name, &text)),
            Err(error) => {
                let title = format!("cannot read `{name}`: {error}");
                let help = "the path is relative to the file that says `use`";
                self.diagnostics
                    .push(Diagnostic::error(Code::FileNotFound, title, span).help(help));
                None
            }
        }
    }
}

/// The path `path` as seen from the file `from`, with `.` and `..` resolved where they can be.
pub(super) fn join(from: &str, path: &str) -> String {
    let base = match from.rsplit_once('/') {
        Some((base, _)) if !path.starts_with('/') => format!("{base}/"),
        _ => String::new(),
    };
    let full = format!("{base}{path}");
    let mut parts: Vec<&str> = Vec::new();
    for part in full.split('/') {
        match part {
            "." | "" => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let root = if full.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use polc_grammar::ast::Item;

    use super::join;

    #[test]
    fn the_prelude_has_no_mistakes() {
        let parsed = polc_grammar::parse(super::PRELUDE_TEXT);
        assert_eq!(parsed.errors, []);
        let services = parsed
            .file
            .items
            .iter()
            .filter(|i| matches!(i.node, Item::Service(_)));
        assert!(services.count() >= 60);
    }

    #[test]
    fn paths_are_relative_to_the_file_that_names_them() {
        assert_eq!(join("a.pol", "lib/x.pol"), "lib/x.pol");
        assert_eq!(join("p/a.pol", "lib/x.pol"), "p/lib/x.pol");
        assert_eq!(join("p/a.pol", "../x.pol"), "x.pol");
        assert_eq!(join("p/a.pol", "./x.pol"), "p/x.pol");
        assert_eq!(join("/etc/a.pol", "x.pol"), "/etc/x.pol");
        assert_eq!(join("a.pol", "/x.pol"), "/x.pol");
        assert_eq!(join("a.pol", "../../x.pol"), "../../x.pol");
    }
}
