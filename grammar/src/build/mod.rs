//! Parse tree → syntax tree.
//!
//! pest has settled the shape; what is left is to read literals and to find the heads of blocks.
//! Whatever is wrong with a literal is an error, and the smallest node that cannot do without the
//! literal is left out of the tree. A function that returns `None` has reported why.

mod body;
mod clause;
mod expr;
mod item;
mod literal;
mod stmt;
mod test;
mod value;

pub(crate) use self::literal::addr_lit;

use crate::ast::{Name, Span, Spanned};
use crate::error::{SyntaxError, SyntaxErrorKind};
use crate::grammar::{Pair, Rule};

/// Builds trees for slices of one source text.
pub(crate) struct Builder<'s> {
    /// The whole source text.
    source: &'s str,
    /// Where in it the slice begins that pest has parsed.
    base: usize,
    /// What was found wrong.
    pub(crate) errors: Vec<SyntaxError>,
}

impl<'s> Builder<'s> {
    /// A builder for pairs of the slice of `source` that starts at `base`.
    pub(crate) fn new(source: &'s str, base: usize) -> Self {
        Self {
            source,
            base,
            errors: Vec::new(),
        }
    }

    /// The span of a pair, without the blanks and comments that pest counts in at its end.
    fn span(&self, pair: &Pair<'_>) -> Span {
        let start = pair.as_span().start();
        let text = pair.as_str();
        if !text.contains('#') {
            return self.range(start, start + text.trim_end().len());
        }
        // The last leaf ends where the pair does.
        let mut last = pair.clone();
        while let Some(child) = last.clone().into_inner().next_back() {
            last = child;
        }
        self.range(start, last.as_span().end())
    }

    /// A range of the slice, as a span of the source.
    pub(crate) fn range(&self, start: usize, end: usize) -> Span {
        let at = |offset: usize| (self.base + offset).min(self.source.len());
        Span::new(at(start), at(end))
    }

    /// The text of a leaf with its span.
    fn name(&self, leaf: &Pair<'_>) -> Name {
        Spanned::new(leaf.as_str().to_owned(), self.leaf_span(leaf))
    }

    /// The span of a leaf, which needs no trimming.
    fn leaf_span(&self, leaf: &Pair<'_>) -> Span {
        let span = leaf.as_span();
        self.range(span.start(), span.end())
    }

    /// Reports a mistake.
    fn fail<T>(&mut self, error: SyntaxError) -> Option<T> {
        self.errors.push(error);
        None
    }

    /// Reports a pair that the grammar does not allow here. It keeps a mismatch between grammar
    /// and builder from going unnoticed.
    fn unknown<T>(&mut self, pair: &Pair<'_>) -> Option<T> {
        let span = self.span(pair);
        let message = format!("cannot read `{}` here", pair.as_str().trim_end());
        self.fail(SyntaxError::new(SyntaxErrorKind::Unexpected, span, message))
    }

    /// The first child of `pair` with the given rule, or an error.
    fn child<'t>(&mut self, pair: &Pair<'t>, wanted: Rule) -> Option<Pair<'t>> {
        match pair
            .clone()
            .into_inner()
            .find(|child| child.as_rule() == wanted)
        {
            Some(child) => Some(child),
            None => self.unknown(pair),
        }
    }

    /// The only child of `pair`, or an error.
    fn only<'t>(&mut self, pair: &Pair<'t>) -> Option<Pair<'t>> {
        match pair.clone().into_inner().next() {
            Some(child) => Some(child),
            None => self.unknown(pair),
        }
    }

    /// Builds each child of `pair` that has the given rule. All are built, so that each mistake
    /// is reported; `None` when any of them failed.
    fn each<'t, T>(
        &mut self,
        pair: &Pair<'t>,
        wanted: Rule,
        mut build: impl FnMut(&mut Self, Pair<'t>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let mut all = Vec::new();
        let mut complete = true;
        for child in pair
            .clone()
            .into_inner()
            .filter(|child| child.as_rule() == wanted)
        {
            match build(self, child) {
                Some(node) => all.push(node),
                None => complete = false,
            }
        }
        complete.then_some(all)
    }

    /// Builds a node and pairs it with the span of its pair.
    fn spanned<'t, T>(
        &mut self,
        pair: Pair<'t>,
        build: impl FnOnce(&mut Self, Pair<'t>) -> Option<T>,
    ) -> Option<Spanned<T>> {
        let span = self.span(&pair);
        build(self, pair).map(|node| Spanned::new(node, span))
    }
}

/// Whether `pair` has a child with the given rule.
fn has(pair: &Pair<'_>, wanted: Rule) -> bool {
    pair.clone()
        .into_inner()
        .any(|child| child.as_rule() == wanted)
}
