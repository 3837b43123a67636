//! What stands where in a text: items, groups and statements, and the comments between them.

use std::ops::Range;

use polc_grammar::ast::{Clause, Comment, File, Item, Span, Spanned, Stmt, TemplateNode};

/// An item, a group or a statement.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its text.
    pub span: Span,
    /// The part of it before its block; all of it when it has none.
    pub head: Span,
    /// Its own clauses.
    pub clauses: Vec<Spanned<Clause>>,
}

/// What a text is made of.
#[derive(Clone, Debug)]
pub struct Syntax {
    /// In source order: what is around something stands before it.
    pub nodes: Vec<Node>,
    /// Every comment, in source order.
    pub comments: Vec<Comment>,
    /// The tree that the nodes are taken from.
    pub items: Vec<Spanned<Item>>,
}

impl Syntax {
    /// Reads a text. What is not well formed in it is left out.
    pub fn of(text: &str) -> Self {
        let File { items, comments } = polc_grammar::parse(text).file;
        let mut nodes = Vec::new();
        for item in &items {
            visit_item(&item.node, item.span, &mut nodes);
        }
        Self {
            nodes,
            comments,
            items,
        }
    }

    /// The nodes around a place, the innermost first.
    pub fn around(&self, at: u32) -> impl Iterator<Item = &Node> {
        let holds = move |node: &&Node| node.span.start <= at && at < node.span.end;
        let begun = self.nodes.partition_point(|node| node.span.start <= at);
        self.nodes.iter().take(begun).rev().filter(holds)
    }

    /// What a comment speaks of: `None` for the whole file, where nothing stands before it; else the
    /// statements on its line, or those that follow a comment on a line of its own.
    pub fn covered(&self, text: &str, comment: &Comment) -> Option<Vec<Span>> {
        let Span { start, end } = comment.text.span;
        let first = self.nodes.first().map_or(u32::MAX, |node| node.span.start);
        if comment.own_line && start < first {
            return None;
        }
        let line = if comment.own_line {
            let next = self
                .nodes
                .iter()
                .map(|n| n.span.start)
                .find(|at| *at >= end);
            next.filter(|at| self.is_blank(text, end, *at))
        } else {
            Some(start)
        };
        let line = line.map(|at| line_of(text, at)).unwrap_or_default();
        let begins = |node: &&Node| line.contains(&node.span.start);
        let mut spans: Vec<Span> = self.nodes.iter().filter(begins).map(|n| n.span).collect();
        if spans.is_empty() {
            let inside = |node: &&Node| node.head.start <= start && start < node.head.end;
            let ends = |node: &&Node| line.start < node.span.end && node.span.end <= start;
            let inside = self.nodes.iter().rev().find(inside);
            let ended = self.nodes.iter().filter(ends).max_by_key(|n| n.span.end);
            let ended = ended.filter(|_| !comment.own_line);
            spans.extend(inside.or(ended).map(|node| node.span));
        }
        Some(spans)
    }

    /// Whether only blanks and comments stand between two places.
    fn is_blank(&self, text: &str, from: u32, to: u32) -> bool {
        let mut at = from;
        let blank = |from: u32, to: u32| {
            let text = text.get(from as usize..to as usize);
            text.is_some_and(|text| text.trim().is_empty())
        };
        for comment in &self.comments {
            let span = comment.text.span;
            if span.start >= from && span.end <= to {
                if !blank(at, span.start) {
                    return false;
                }
                at = span.end;
            }
        }
        blank(at, to)
    }
}

/// The line that holds the byte at `at`.
fn line_of(text: &str, at: u32) -> Range<u32> {
    let (before, behind) = text.split_at_checked(at as usize).unwrap_or((text, ""));
    let start = before.rfind('\n').map_or(0, |found| found + 1);
    let end = before.len() + behind.find('\n').unwrap_or(behind.len());
    let span = Span::new(start, end);
    span.start..span.end
}

fn visit_item(item: &Item, span: Span, nodes: &mut Vec<Node>) {
    let (clauses, body): (&[_], &[_]) = match item {
        Item::Section(section) => (&section.clauses, &section.body),
        Item::Guard(guard) => (&[], &guard.body),
        Item::Steer(body) | Item::Egress(body) => (&[], body),
        Item::Default(default) => (&default.clauses, &[]),
        Item::Template(template) => {
            let first = template.body.first().map(|node| node.span);
            push(span, first, &[], nodes);
            for node in &template.body {
                match &node.node {
                    TemplateNode::Item(item) => visit_item(item, node.span, nodes),
                    TemplateNode::Stmt(stmt) => visit_stmt(stmt, node.span, nodes),
                }
            }
            return;
        }
        _ => (&[], &[]),
    };
    push(span, body.first().map(|stmt| stmt.span), clauses, nodes);
    for stmt in body {
        visit_stmt(&stmt.node, stmt.span, nodes);
    }
}

fn visit_stmt(stmt: &Stmt, span: Span, nodes: &mut Vec<Node>) {
    let (clauses, body): (&[_], &[_]) = match stmt {
        Stmt::Rule(rule) => (&rule.clauses, &[]),
        Stmt::Default(default) => (&default.clauses, &[]),
        Stmt::Group(group) => (&group.clauses, &group.body),
        Stmt::Apply(_) => (&[], &[]),
    };
    push(span, body.first().map(|stmt| stmt.span), clauses, nodes);
    for stmt in body {
        visit_stmt(&stmt.node, stmt.span, nodes);
    }
}

fn push(span: Span, body: Option<Span>, clauses: &[Spanned<Clause>], nodes: &mut Vec<Node>) {
    let end = body.map_or(span.end, |first| first.start);
    nodes.push(Node {
        span,
        head: Span {
            start: span.start,
            end,
        },
        clauses: clauses.to_vec(),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the comment `# X` in a text covers.
    fn covered(text: &str) -> Option<Vec<&str>> {
        let syntax = Syntax::of(text);
        let comment = syntax.comments.iter().find(|c| c.text.node == "# X");
        let spans = syntax.covered(text, comment.expect("a comment"))?;
        Some(spans.iter().map(|span| &text[span.range()]).collect())
    }

    #[test]
    fn a_comment_at_the_head_covers_the_file() {
        assert_eq!(covered("# X\npolicy p\n"), None);
        assert_eq!(covered("# X\n"), None);
        assert_eq!(covered("policy p # X\n"), Some(vec!["policy p"]));
    }

    #[test]
    fn a_comment_covers_its_line_or_the_statement_below() {
        let rules = "to host {\n  allow ssh\n  # X\n  # more\n\n  allow dns\n  default deny\n}\n";
        assert_eq!(covered(rules), Some(vec!["allow dns"]));
        let rules = "to host {\n  allow ssh  allow dns # X\n  default deny\n}\n";
        assert_eq!(covered(rules), Some(vec!["allow ssh", "allow dns"]));
        let last = "to host {\n  allow ssh\n  default deny\n  # X\n}\nset a = {}\n";
        assert_eq!(covered(last), Some(vec![]));
    }

    #[test]
    fn a_comment_on_a_long_statement_covers_it() {
        let inside = "to host {\n  allow ssh\n    from any # X\n    log\n  default deny\n}\n";
        assert_eq!(
            covered(inside),
            Some(vec!["allow ssh\n    from any # X\n    log"])
        );
        let below = "to host {\n  allow ssh\n    # X\n    log\n  default deny\n}\n";
        assert_eq!(covered(below), Some(vec!["allow ssh\n    # X\n    log"]));
        let end = "to host {\n  allow ssh\n    log # X\n  default deny\n}\n";
        assert_eq!(covered(end), Some(vec!["allow ssh\n    log"]));
    }

    #[test]
    fn a_comment_at_a_block_covers_the_block() {
        let block = "set a = {}\n# X\nto host {\n  allow ssh\n}\nset b = {}\n";
        assert_eq!(covered(block), Some(vec!["to host {\n  allow ssh\n}"]));
        let end = "to host {\n  allow ssh\n} # X\nset b = {}\n";
        assert_eq!(covered(end), Some(vec!["to host {\n  allow ssh\n}"]));
    }
}
