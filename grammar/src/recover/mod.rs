//! Parses a text that has mistakes: all that is well formed ends up in the tree, and each
//! mistake is reported once.
//!
//! The text is cut into items; an item that does not parse is cut into its head and the pieces
//! of its body, and so on down to single statements. What does not parse there is one mistake,
//! explained by [`crate::diagnose`].

mod split;
pub(crate) mod structure;

use std::ops::Range;

use pest::Parser;

use self::split::{Pieces, block_of, split};
use self::structure::Structure;
use crate::ast::{
    File, Group, Item, ProxyOption, Section, Span, Spanned, Stmt, TemplateNode, TestStep,
};
use crate::build::Builder;
use crate::diagnose::{Failure, Place, diagnose};
use crate::error::SyntaxError;
use crate::grammar::{Grammar, Pair, Rule};
use crate::scan::Kind;

/// Parses as much of a broken text as possible.
pub(crate) fn recover(source: &str, structure: Structure, file: &mut File) -> Vec<SyntaxError> {
    let mut patched = source.to_owned();
    for stray in &structure.strays {
        // A blank in place of each stray closer: offsets stay what they are.
        patched.replace_range(stray.range(), " ");
    }
    let mut recovery = Recovery {
        source: &patched,
        errors: structure.errors.clone(),
        structure,
    };
    recovery.items(&mut file.items);
    let mut errors = recovery.errors;
    errors.sort_by_key(|error| error.span);
    errors.dedup();
    errors
}

struct Recovery<'s> {
    source: &'s str,
    structure: Structure,
    errors: Vec<SyntaxError>,
}

impl Recovery<'_> {
    fn items(&mut self, out: &mut Vec<Spanned<Item>>) {
        let all = 0..self.structure.tokens.len();
        for piece in split(self.source, &self.structure, all, Pieces::Items) {
            let mut nodes = Vec::new();
            self.item(&piece, Place::File, &mut nodes);
            for node in nodes {
                if let TemplateNode::Item(item) = node.node {
                    out.push(Spanned::new(item, node.span));
                }
            }
        }
    }

    /// An item of a file or a node of a template.
    fn item(&mut self, piece: &Range<usize>, place: Place, out: &mut Vec<Spanned<TemplateNode>>) {
        let failure = if place == Place::File {
            let mut items = Vec::new();
            let failure = self.attempt(piece, None, Rule::only_item, |builder, pair| {
                builder.item(pair, &mut items);
            });
            out.extend(items.into_iter().map(|item| item.map(TemplateNode::Item)));
            failure
        } else {
            self.attempt(piece, None, Rule::only_node, |builder, pair| {
                builder.node(pair, out);
            })
        };
        if failure.is_none() {
            return;
        }
        let Some(open) = block_of(self.source, &self.structure, piece.clone()) else {
            return self.report(piece, place, failure);
        };
        let head = piece.start..open;
        let mut nodes = Vec::new();
        if place == Place::File {
            let mut items = Vec::new();
            let failure = self.attempt(&head, Some(open), Rule::only_item, |builder, pair| {
                builder.item(pair, &mut items);
            });
            self.report(&head, place, failure);
            nodes.extend(items.into_iter().map(|item| item.map(TemplateNode::Item)));
        } else {
            let failure = self.attempt(&head, Some(open), Rule::only_node, |builder, pair| {
                builder.node(pair, &mut nodes);
            });
            self.report(&head, place, failure);
        }
        let body = self.body(&head, open);
        let end = self.span_of(&(piece.start..self.structure.after(open))).end;
        if let Some(last) = nodes.last_mut() {
            last.span.end = end;
            fill(&mut last.node, body);
        }
        out.append(&mut nodes);
    }

    /// The body of the item with the given head, read as what its first word says.
    fn body(&mut self, head: &Range<usize>, open: usize) -> Body {
        let first = self
            .structure
            .tokens
            .get(head.start)
            .map_or("", |t| t.text(self.source));
        let inside = open + 1..self.structure.end_of(open).unwrap_or(open + 1);
        match first {
            "template" => {
                let mut nodes = Vec::new();
                for piece in split(self.source, &self.structure, inside, Pieces::Nodes) {
                    self.item(&piece, Place::Template, &mut nodes);
                }
                Body::Nodes(nodes)
            }
            "test" => {
                let mut steps = Vec::new();
                for piece in split(self.source, &self.structure, inside, Pieces::Steps) {
                    let failure = self.attempt(&piece, None, Rule::only_step, |builder, pair| {
                        steps.extend(builder.step(pair));
                    });
                    self.report(&piece, Place::Test, failure);
                }
                Body::Steps(steps)
            }
            "proxy" => {
                let mut options = Vec::new();
                for piece in split(self.source, &self.structure, inside, Pieces::Options) {
                    let failure = self.attempt(&piece, None, Rule::only_option, |builder, pair| {
                        builder.proxy_option(pair, &mut options);
                    });
                    self.report(&piece, Place::Proxy, failure);
                }
                Body::Options(options)
            }
            _ => Body::Stmts(self.stmts(inside)),
        }
    }

    fn stmts(&mut self, inside: Range<usize>) -> Vec<Spanned<Stmt>> {
        let mut stmts = Vec::new();
        for piece in split(self.source, &self.structure, inside, Pieces::Stmts) {
            self.stmt(&piece, &mut stmts);
        }
        stmts
    }

    fn stmt(&mut self, piece: &Range<usize>, out: &mut Vec<Spanned<Stmt>>) {
        let failure = self.attempt(piece, None, Rule::only_stmt, |builder, pair| {
            builder.stmt(pair, out);
        });
        if failure.is_none() {
            return;
        }
        let Some(open) = block_of(self.source, &self.structure, piece.clone()) else {
            return self.report(piece, Place::Block, failure);
        };
        let head = piece.start..open;
        let mut stmts = Vec::new();
        let failure = self.attempt(&head, Some(open), Rule::only_stmt, |builder, pair| {
            builder.stmt(pair, &mut stmts);
        });
        self.report(&head, Place::Block, failure);
        let inside = open + 1..self.structure.end_of(open).unwrap_or(open + 1);
        let body = self.stmts(inside);
        let end = self.span_of(&(piece.start..self.structure.after(open))).end;
        if let Some(Spanned {
            node: Stmt::Group(group),
            span,
        }) = stmts.last_mut()
        {
            group.body = body;
            span.end = end;
        }
        out.append(&mut stmts);
    }

    /// Parses a piece and builds from it; with `open`, the head of a block whose opener that is, as
    /// if the block were empty. The failure, if it does not parse.
    fn attempt(
        &mut self,
        piece: &Range<usize>,
        open: Option<usize>,
        entry: Rule,
        mut build: impl FnMut(&mut Builder<'_>, &Pair<'_>),
    ) -> Option<Failure> {
        let mut span = self.span_of(piece);
        let Some(mut closers) = self.closers(piece) else {
            return Some(Failure::at(span.end as usize));
        };
        if let Some(brace) = open.and_then(|open| self.structure.tokens.get(open)) {
            span.end = brace.span.end;
            closers.push('}');
        }
        let mut text = self.source.get(span.range()).unwrap_or_default();
        let mut owned = String::new();
        if !closers.is_empty() {
            owned.extend([text, &closers]);
            text = &owned;
        }
        match Grammar::parse(entry, text) {
            Ok(pairs) => {
                let mut builder = Builder::new(self.source, span.start as usize, span.end as usize);
                for pair in pairs.flat_map(Pair::into_inner) {
                    if pair.as_rule() != Rule::EOI {
                        build(&mut builder, &pair);
                    }
                }
                // What stands behind the piece was put there to close it.
                builder.errors.retain(|error| error.span.start < span.end);
                self.errors.append(&mut builder.errors);
                None
            }
            Err(error) => Some(Failure::new(&error, span.start as usize)),
        }
    }

    /// What closes the openers of a piece whose closers are missing at its end. `None` when one
    /// is missing before its end: then only parts of the piece can be parsed.
    fn closers(&self, piece: &Range<usize>) -> Option<String> {
        let mut closers = String::new();
        for index in piece.clone().rev() {
            let Some(end) = self.structure.end_of(index) else {
                continue;
            };
            if self.structure.is_closed(index) {
                continue;
            }
            if end < piece.end {
                return None;
            }
            closers.push(match self.structure.tokens.get(index)?.kind {
                Kind::Open(b'(') => ')',
                Kind::Open(b'[') => ']',
                _ => '}',
            });
        }
        Some(closers)
    }

    /// From the first to the last token of a range of tokens.
    fn span_of(&self, piece: &Range<usize>) -> Span {
        match self.structure.tokens.get(piece.clone()) {
            Some([first, .., last]) => first.span.to(last.span),
            Some([token]) => token.span,
            _ => Span::default(),
        }
    }

    /// Reports the failure to parse a piece, if there is one.
    fn report(&mut self, piece: &Range<usize>, place: Place, failure: Option<Failure>) {
        let Some(failure) = failure else { return };
        // One mistake, one error: what is wrong with its braces or strings is known already.
        let span = self.span_of(piece);
        let known = |error: &SyntaxError| {
            error.span.start >= span.start && error.span.end <= span.end.max(error.span.start)
        };
        if self.structure.errors.iter().any(known) {
            return;
        }
        let tokens = self.structure.tokens.get(piece.clone()).unwrap_or_default();
        self.errors
            .push(diagnose(self.source, tokens, place, &failure));
    }
}

/// The body of a block, by what it is made of.
enum Body {
    Stmts(Vec<Spanned<Stmt>>),
    Nodes(Vec<Spanned<TemplateNode>>),
    Steps(Vec<Spanned<TestStep>>),
    Options(Vec<Spanned<ProxyOption>>),
}

/// Puts a body into the item that was parsed without it.
fn fill(node: &mut TemplateNode, body: Body) {
    match (node, body) {
        (
            TemplateNode::Item(
                Item::Steer(slot) | Item::Egress(slot) | Item::Section(Section { body: slot, .. }),
            )
            | TemplateNode::Stmt(Stmt::Group(Group { body: slot, .. })),
            Body::Stmts(stmts),
        ) => *slot = stmts,
        (TemplateNode::Item(Item::Guard(guard)), Body::Stmts(stmts)) => guard.body = stmts,
        (TemplateNode::Item(Item::Template(template)), Body::Nodes(nodes)) => template.body = nodes,
        (TemplateNode::Item(Item::Test(test)), Body::Steps(steps)) => test.steps = steps,
        (TemplateNode::Item(Item::Proxy(proxy)), Body::Options(options)) => proxy.options = options,
        // The head was not that of the block: what stood inside was still checked.
        _ => {}
    }
}
