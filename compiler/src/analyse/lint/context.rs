//! What a lint sees.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::syntax::{Node, Syntax};
use super::{Settings, World};
use crate::analyse::model::{Model, Moved};
use crate::analyse::reach::{Reach, reach};
use crate::diagnostic::{Diagnostic, Edit, Fix};
use crate::interpret::Sieve;
use crate::ir::{Cube, Ir};
use crate::packet::Region;
use crate::policy::Policy;
use crate::source::{FileId, SourceMap, Span};

/// The cubes of a question, whether buckets are empty in it, what steer has done to the flows, and
/// the regions that this means.
pub(super) type Asked = (Vec<Cube>, bool, Moved, Arc<[Region]>);

/// What several lints use, and what takes all processors to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shared {
    /// [`Context::world`].
    World,
    /// [`Context::reach`].
    Reach,
}

/// A policy that compiles, and what can be asked about it, by many lints at a time.
pub struct Context<'a> {
    /// Every text read.
    pub sources: &'a SourceMap,
    /// The typed policy.
    pub policy: &'a Policy,
    /// Its normal form.
    pub ir: &'a Ir,
    /// What the repository says about lint.
    pub settings: &'a Settings,
    /// Texts that have been parsed for it.
    trees: Mutex<BTreeMap<FileId, Arc<Syntax>>>,
    model: OnceLock<Model<'a>>,
    world: OnceLock<World>,
    reach: OnceLock<Reach>,
    sieve: OnceLock<Arc<Sieve>>,
    /// What the last questions were about, the last one at the end: most lints ask one of every
    /// rule.
    pub(super) last_asked: Mutex<Vec<Asked>>,
    /// How many rules come from each place.
    rules_at: OnceLock<BTreeMap<Span, usize>>,
    /// Findings that the interpreter does not agree with.
    defects: Mutex<Vec<Diagnostic>>,
}

impl<'a> Context<'a> {
    /// For a policy that compiles.
    pub fn new(
        sources: &'a SourceMap,
        policy: &'a Policy,
        ir: &'a Ir,
        settings: &'a Settings,
    ) -> Self {
        Self {
            sources,
            policy,
            ir,
            settings,
            trees: Mutex::default(),
            model: OnceLock::new(),
            world: OnceLock::new(),
            reach: OnceLock::new(),
            sieve: OnceLock::new(),
            last_asked: Mutex::default(),
            rules_at: OnceLock::new(),
            defects: Mutex::default(),
        }
    }

    /// Makes what several lints are going to ask for, so that it is not made by each of them.
    pub(super) fn prepare(&self, world: bool, reach: bool) {
        if world || reach {
            self.model();
        }
        rayon::join(
            || world.then(|| self.world()),
            || reach.then(|| self.reach()),
        );
    }

    /// The policy as sets of packets.
    pub fn model(&self) -> &Model<'a> {
        once(&self.model, || Model::new(self.policy, self.ir))
    }

    /// What comes from the world.
    pub fn world(&self) -> &World {
        once(&self.world, || {
            World::of(self.model(), &self.settings.world)
        })
    }

    /// Which rules decide anything.
    pub fn reach(&self) -> &Reach {
        once(&self.reach, || reach(self.model()))
    }

    /// The policy's rules, for many packets.
    pub(super) fn sieve(&self) -> Arc<Sieve> {
        Arc::clone(once(&self.sieve, || Arc::new(Sieve::new(self.ir))))
    }

    /// Whether what lints share is there.
    #[cfg(test)]
    pub(super) fn has(&self, shared: Shared) -> bool {
        match shared {
            Shared::World => self.world.get().is_some(),
            Shared::Reach => self.reach.get().is_some(),
        }
    }

    /// Adds a finding that the interpreter does not agree with.
    pub(super) fn add_defect(&self, defect: Diagnostic) {
        let mut defects = self.defects.lock().unwrap_or_else(PoisonError::into_inner);
        defects.push(defect);
    }

    /// Takes the findings that the interpreter does not agree with; they are in no order.
    pub(super) fn take_defects(&self) -> Vec<Diagnostic> {
        let mut defects = self.defects.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *defects)
    }

    /// Whether a place is in the policy's own file: what others use is not judged by one user.
    pub fn is_own(&self, span: Span) -> bool {
        span.file == self.policy.file
    }

    /// Whether the policy decides anything; a library does not.
    pub fn has_blocks(&self) -> bool {
        !self.policy.blocks.is_empty() || self.policy.default.is_some()
    }

    /// The text of a file.
    pub fn text(&self, file: FileId) -> &'a str {
        self.sources.get(file).map_or("", |source| &source.text)
    }

    /// The text at a place.
    pub fn text_of(&self, span: Span) -> &'a str {
        let text = self.text(span.file);
        text.get(span.start as usize..span.end as usize)
            .unwrap_or_default()
    }

    /// The syntax of a file.
    pub fn syntax(&self, file: FileId) -> Arc<Syntax> {
        let trees = || self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        let known = trees().get(&file).cloned();
        known.unwrap_or_else(|| {
            let tree = Arc::new(Syntax::of(self.text(file)));
            Arc::clone(trees().entry(file).or_insert(tree))
        })
    }

    /// What stands around a place: items, groups and statements, the innermost first. Of a rule's
    /// span, the first is the rule.
    pub fn around(&self, span: Span) -> Vec<Node> {
        self.syntax(span.file).around(span.start).cloned().collect()
    }

    /// Whether several rules of the IR come from this place: it is in a template, and a change
    /// there changes all of them.
    pub fn is_shared(&self, span: Span) -> bool {
        let rules_at = once(&self.rules_at, || {
            let mut rules_at = BTreeMap::new();
            for (_, rule) in self.ir.rules() {
                *rules_at.entry(rule.span).or_default() += 1;
            }
            rules_at
        });
        rules_at.get(&span).is_some_and(|rules| *rules > 1)
    }

    /// Deletes the item or statement at a place, with its line if nothing else is on it; `None`
    /// when none is there.
    pub fn delete(&self, span: Span, title: &str) -> Option<Fix> {
        let syntax = self.syntax(span.file);
        let node = syntax.around(span.start).next()?;
        let edit = self.cut(Span::new(span.file, node.span));
        Some(Fix {
            safe: true,
            title: title.to_owned(),
            edits: vec![edit],
        })
    }

    /// Takes a piece of text out: with the lines that it stands on, and the comment behind it, if
    /// nothing else is on them.
    pub fn cut(&self, span: Span) -> Edit {
        let text = self.text(span.file);
        let (start, end) = (span.start as usize, span.end as usize);
        let (before, after) = (text.get(..start), text.get(end..));
        let (Some(before), Some(after)) = (before, after) else {
            return edit(span, start, end);
        };
        let head = before.trim_end_matches([' ', '\t']);
        let indent = before.len() - head.len();
        let alone_before = head.is_empty() || head.ends_with('\n');
        let line = after.find('\n').map_or(after.len(), |at| at + 1);
        let rest = after.get(..line).unwrap_or_default().trim();
        let alone_behind = rest.is_empty() || rest.starts_with('#');
        if !alone_before {
            return edit(span, start - indent, end);
        }
        if !alone_behind {
            let blanks = after.len() - after.trim_start_matches([' ', '\t']).len();
            return edit(span, start, end + blanks);
        }
        let first = start - indent;
        let paragraph = first == 0 || text.get(..first).is_some_and(|t| t.ends_with("\n\n"));
        let next = after.get(line..).unwrap_or_default();
        let blank_line = paragraph && next.starts_with('\n');
        edit(span, first, end + line + usize::from(blank_line))
    }
}

/// What a cell holds, made if it holds nothing yet.
///
/// It is made before the cell is locked, unlike [`OnceLock::get_or_init`] does it: what is made here
/// has several processors work at it, and one that waits for the others takes up another lint
/// meanwhile. If that lint asked for the same thing, it would wait for the lock that is held below
/// it on its own stack, for ever. As it is, the worst is that two make the same.
fn once<T>(cell: &OnceLock<T>, work: impl FnOnce() -> T) -> &T {
    cell.get().unwrap_or_else(|| {
        let made = work();
        cell.get_or_init(|| made)
    })
}

fn edit(place: Span, start: usize, end: usize) -> Edit {
    let span = polc_grammar::span::Span::new(start, end);
    Edit {
        span: Span::new(place.file, span),
        text: String::new(),
    }
}
