//! What stands where in a text: items, groups and statements, and the comments between them.

use polc_grammar::ast::{Clause, Comment, File, Item, Service, Span, Spanned, Stmt, TemplateNode};

/// An item, a group or a statement.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its text.
    pub span: Span,
    /// The part of it before its block; all of it when it has none.
    pub head: Span,
    /// Its own clauses.
    pub clauses: Vec<Spanned<Clause>>,
    /// The services of a rule.
    pub services: Vec<Spanned<Service>>,
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
        self.nodes.iter().rev().filter(holds)
    }
}

fn visit_item(item: &Item, span: Span, nodes: &mut Vec<Node>) {
    let (clauses, body): (&[_], &[_]) = match item {
        Item::Section(section) => (&section.clauses, &section.body),
        Item::Guard(guard) => (&[], &guard.body),
        Item::Steer(body) | Item::Egress(body) => (&[], body),
        Item::Default(default) => (&default.clauses, &[]),
        Item::Template(template) => {
            let first = template.body.first().map(|node| node.span);
            push(span, first, &[], &[], nodes);
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
    push(
        span,
        body.first().map(|stmt| stmt.span),
        clauses,
        &[],
        nodes,
    );
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
    let services: &[_] = match stmt {
        Stmt::Rule(rule) => &rule.services,
        _ => &[],
    };
    push(
        span,
        body.first().map(|stmt| stmt.span),
        clauses,
        services,
        nodes,
    );
    for stmt in body {
        visit_stmt(&stmt.node, stmt.span, nodes);
    }
}

fn push(
    span: Span,
    body: Option<Span>,
    clauses: &[Spanned<Clause>],
    services: &[Spanned<Service>],
    nodes: &mut Vec<Node>,
) {
    let end = body.map_or(span.end, |first| first.start);
    nodes.push(Node {
        span,
        head: Span {
            start: span.start,
            end,
        },
        clauses: clauses.to_vec(),
        services: services.to_vec(),
    });
}
