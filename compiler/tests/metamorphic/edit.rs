//! Changes of a text at places that its tree knows, and where the statements of a policy are.

use polc_compiler::ir::{Ir, Rule, Stage};
use polc_grammar::ast::{Clause, File, Item, Span, Spanned, Stmt};

/// Changes of a text that do not overlap.
#[derive(Default)]
pub(crate) struct Edits(Vec<(Span, String)>);

impl Edits {
    pub(crate) fn replace(&mut self, span: Span, text: impl Into<String>) {
        self.0.push((span, text.into()));
    }

    pub(crate) fn insert(&mut self, at: u32, text: impl Into<String>) {
        self.replace(Span { start: at, end: at }, text);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn apply(mut self, text: &str) -> String {
        self.0.sort_by_key(|(span, _)| *span);
        let mut out = String::new();
        let mut at = 0;
        for (span, new) in &self.0 {
            let place = span.range();
            out.push_str(&text[at..place.start]);
            out.push_str(new);
            at = place.end;
        }
        out.push_str(&text[at..]);
        out
    }
}

/// The part of a text.
pub(crate) fn slice(text: &str, span: Span) -> &str {
    &text[span.range()]
}

/// Every list of statements, those of groups too; templates have none of their own.
pub(crate) fn bodies(file: &File) -> Vec<&[Spanned<Stmt>]> {
    let mut out = Vec::new();
    for item in &file.items {
        match &item.node {
            Item::Guard(guard) => nested(&guard.body, &mut out),
            Item::Steer(body) | Item::Egress(body) => nested(body, &mut out),
            Item::Section(section) => nested(&section.body, &mut out),
            _ => {}
        }
    }
    out
}

fn nested<'f>(body: &'f [Spanned<Stmt>], out: &mut Vec<&'f [Spanned<Stmt>]>) {
    out.push(body);
    for stmt in body {
        if let Stmt::Group(group) = &stmt.node {
            nested(&group.body, out);
        }
    }
}

/// A rule that is written once.
#[derive(Clone, Copy)]
pub(crate) struct Written<'a> {
    pub(crate) span: Span,
    pub(crate) tree: &'a polc_grammar::ast::Rule,
    /// What was made of it.
    pub(crate) rule: &'a Rule,
    pub(crate) stage: Stage,
}

impl<'a> Written<'a> {
    /// The rule that a statement is; `None` when it asks for an empty set and was left out.
    pub(crate) fn of(stmt: &'a Spanned<Stmt>, ir: &'a Ir) -> Option<Self> {
        let Stmt::Rule(tree) = &stmt.node else {
            return None;
        };
        let verb = tree.verb.span;
        let mut made = ir
            .rules()
            .filter(|(_, r)| (r.span.start, r.span.end) == (verb.start, verb.end));
        let (stage, rule) = made.next()?;
        assert!(
            made.next().is_none(),
            "{}: two rules at one place",
            rule.name
        );
        Some(Self {
            span: stmt.span,
            tree,
            rule,
            stage,
        })
    }

    /// Whether what it does depends on the name that it gets from its place: its own bucket, and log
    /// entries without a text, have it.
    pub(crate) fn needs_its_place(&self, ir: &Ir) -> bool {
        let own = |id: usize| ir.buckets[id].name.starts_with(&*self.rule.name);
        let text = |log: &polc_compiler::ir::Log| log.text.is_none();
        !self.rule.named
            && (self.rule.effects.log.as_ref().is_some_and(text) || self.rule.buckets().any(own))
    }

    /// Whether it does nothing but decide, to every packet that it means.
    pub(crate) fn only_decides(&self) -> bool {
        let effects = &self.rule.effects;
        let quiet = effects.log.is_none() && effects.mark.is_none() && effects.add.is_none();
        quiet && self.rule.limits.is_empty() && self.rule.verdict.is_some()
    }

    /// The place of its name.
    pub(crate) fn name(&self) -> Option<Span> {
        self.tree
            .clauses
            .iter()
            .find_map(|clause| match &clause.node {
                Clause::As(name) => Some(name.span),
                _ => None,
            })
    }
}

/// Every rule that is written once.
pub(crate) fn rules<'a>(file: &'a File, ir: &'a Ir) -> Vec<Written<'a>> {
    let all = bodies(file).into_iter().flatten();
    all.filter_map(|stmt| Written::of(stmt, ir)).collect()
}

/// How deep a place is indented.
pub(crate) fn indent(text: &str, at: u32) -> &str {
    let head = &text[..at as usize];
    let line = &head[head.rfind('\n').map_or(0, |n| n + 1)..];
    &line[..line.len() - line.trim_start().len()]
}
