//! What makes a finding the same one tomorrow, in a text that has changed around it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use sha2::{Digest as _, Sha256};

use super::syntax::Syntax;
use crate::Compilation;
use crate::diagnostic::Diagnostic;
use crate::source::{FileId, Span};

/// The identity of a finding: no line numbers, no layout, no comments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// The code.
    pub code: String,
    /// The policy, or the used file that it stands in.
    pub policy: String,
    /// The rule's name; the block of a rule without one, whose number may change; empty elsewhere.
    pub rule: String,
    /// A hash of the statement's words.
    pub hash: String,
}

impl Fingerprint {
    /// All of it as one hash; `nth` tells equal ones apart, from 0.
    pub fn id(&self, nth: usize) -> String {
        let Self {
            code,
            policy,
            rule,
            hash,
        } = self;
        short_hash(&format!("{code}\n{policy}\n{rule}\n{hash}\n{nth}"))
    }
}

/// Identifies the findings of one compilation.
pub struct Fingerprints<'a> {
    compilation: &'a Compilation,
    trees: RefCell<BTreeMap<FileId, Rc<Syntax>>>,
}

impl<'a> Fingerprints<'a> {
    /// For the findings of `compilation`.
    pub fn new(compilation: &'a Compilation) -> Self {
        Self {
            compilation,
            trees: RefCell::default(),
        }
    }

    /// The identity of a finding.
    pub fn of(&self, finding: &Diagnostic) -> Fingerprint {
        let file = finding
            .place()
            .map_or(self.compilation.policy.file, |p| p.file);
        Fingerprint {
            code: finding.code.id().to_owned(),
            policy: self.policy(file),
            rule: finding.place().map(|p| self.rule(p)).unwrap_or_default(),
            hash: short_hash(&finding.place().map(|p| self.words(p)).unwrap_or_default()),
        }
    }

    fn policy(&self, file: FileId) -> String {
        let policy = &self.compilation.policy;
        if file == policy.file {
            return policy.name.clone();
        }
        let name = self.compilation.sources.get(file).map_or("", |s| &s.name);
        let stem = name.rsplit('/').next().unwrap_or(name);
        stem.strip_suffix(".pol").unwrap_or(stem).to_owned()
    }

    fn syntax(&self, file: FileId) -> Rc<Syntax> {
        let text = || self.compilation.sources.get(file).map_or("", |s| &s.text);
        let mut trees = self.trees.borrow_mut();
        let tree = trees
            .entry(file)
            .or_insert_with(|| Rc::new(Syntax::of(text())));
        Rc::clone(tree)
    }

    fn rule(&self, place: Span) -> String {
        let syntax = self.syntax(place.file);
        let Some(node) = syntax.around(place.start).next() else {
            return String::new();
        };
        let ir = self.compilation.ir.as_ref();
        let stands_here = |span: Span| {
            span.file == place.file && node.head.start <= span.start && span.start < node.head.end
        };
        let mut rules = ir
            .into_iter()
            .flat_map(|ir| ir.rules().map(move |(_, r)| (ir, r)));
        match rules.find(|(_, rule)| stands_here(rule.span)) {
            Some((_, rule)) if rule.named => rule.name.to_string(),
            Some((ir, rule)) => {
                let block = ir.blocks.get(rule.block);
                block.map(|b| b.label.to_string()).unwrap_or_default()
            }
            None => String::new(),
        }
    }

    /// The words of the statement or block head at a place, without comments, a blank between them.
    fn words(&self, place: Span) -> String {
        let text = self
            .compilation
            .sources
            .get(place.file)
            .map_or("", |s| &s.text);
        let syntax = self.syntax(place.file);
        let head = syntax.around(place.start).next().map(|node| node.head);
        let (mut at, end) = head.map_or((place.start, place.end), |h| (h.start, h.end));
        let mut words: Vec<&str> = Vec::new();
        let mut add = |from: u32, to: u32| {
            let part = text.get(from as usize..to as usize).unwrap_or_default();
            words.extend(part.split_whitespace());
        };
        for comment in &syntax.comments {
            let span = comment.text.span;
            if at <= span.start && span.end <= end {
                add(at, span.start);
                at = span.end;
            }
        }
        add(at, end);
        words.join(" ")
    }
}

/// The first half of a SHA-256, in hexadecimal.
fn short_hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let bytes = digest.iter().take(16);
    bytes.fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
