//! POL116

use polc_grammar::ast::{Item, Span as Place, Spanned, Stmt, TemplateNode};

use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::source::Span;

lint! {
    /// A section, a guard, a steer or egress block, or a group has no statement: it decides nothing.
    ///
    /// It looks as if something were said about the traffic that its head names. What is written
    /// there is decided elsewhere, by a default mostly.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// zone lan = eth1
    ///
    /// from lan to host {}
    ///
    /// default deny
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// zone lan = eth1
    ///
    /// from lan to host { allow https }
    ///
    /// default deny
    /// ```
    pub(super) static LINT: "POL116" "dead-chain-or-policy" Warning, Default, Syntactic;
    "A block has no statement."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let file = cx.policy.file;
    let mut empty = Vec::new();
    for item in &cx.syntax(file).items {
        visit_item(&item.node, item.span, &mut empty);
    }
    for place in empty {
        let span = Span::new(file, place);
        out.push(
            LINT.report("this block has no statement", span)
                .help("say what it is for, or delete it"),
        );
    }
}

fn visit_item(item: &Item, place: Place, empty: &mut Vec<Place>) {
    match item {
        Item::Section(section) => visit(&section.body, place, empty),
        Item::Guard(guard) => visit(&guard.body, place, empty),
        Item::Steer(body) | Item::Egress(body) => visit(body, place, empty),
        Item::Template(template) => {
            for node in &template.body {
                match &node.node {
                    TemplateNode::Item(item) => visit_item(item, node.span, empty),
                    TemplateNode::Stmt(stmt) => visit_stmt(stmt, node.span, empty),
                }
            }
        }
        _ => {}
    }
}

fn visit(body: &[Spanned<Stmt>], place: Place, empty: &mut Vec<Place>) {
    if body.is_empty() {
        empty.push(place);
    }
    for stmt in body {
        visit_stmt(&stmt.node, stmt.span, empty);
    }
}

fn visit_stmt(stmt: &Stmt, place: Place, empty: &mut Vec<Place>) {
    if let Stmt::Group(group) = stmt {
        visit(&group.body, place, empty);
    }
}
