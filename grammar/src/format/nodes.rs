//! What the layout needs to know of the tree: which pieces of the text stand on lines of their
//! own, and where in them a line may be broken or aligned.

use crate::ast::{
    Clause, Element, End, Ends, File, Item, SetBody, SetExpr, SetTerm, Span, Spanned, Stmt,
    TemplateNode, Value,
};

/// A piece of text with lines of its own: an item, a statement, a step, an option.
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) kind: Kind,
    /// What stands in its block, if it has one.
    pub(super) children: Option<Vec<Node>>,
}

/// What kinds of node are aligned with their neighbours, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A rule or a default: verb, rest, name.
    Rule,
    /// Something with a `=` after its name; aligned with its like only.
    Definition(&'static str),
    /// A line of a proxy: word, rest.
    Option,
    /// A line of a test: verb, rest.
    Step,
    /// A claim.
    Claim,
    /// A block.
    Block,
    /// Anything else.
    Other,
}

/// The places where a line may be broken or aligned, all in source order.
#[derive(Default)]
pub(super) struct Marks<'f> {
    /// Set bodies, with their braces.
    pub(super) bodies: Vec<(Span, &'f [Spanned<Element>])>,
    /// Where clauses and options start.
    pub(super) breaks: Vec<u32>,
    /// Where `as NAME` clauses of rules start.
    pub(super) names: Vec<u32>,
}

/// The nodes and marks of a file.
pub(super) fn read(file: &File) -> (Vec<Node>, Marks<'_>) {
    let mut reader = Reader {
        marks: Marks::default(),
    };
    let nodes = file
        .items
        .iter()
        .map(|item| reader.item(&item.node, item.span))
        .collect();
    let mut marks = reader.marks;
    marks.bodies.sort_by_key(|(span, _)| *span);
    marks.breaks.sort_unstable();
    marks.names.sort_unstable();
    (nodes, marks)
}

struct Reader<'f> {
    marks: Marks<'f>,
}

impl<'f> Reader<'f> {
    fn item(&mut self, item: &'f Item, span: Span) -> Node {
        let mut kind = Kind::Other;
        let mut children = None;
        match item {
            Item::Policy(policy) => {
                self.marks
                    .breaks
                    .extend(policy.meta.iter().map(|meta| meta.span.start));
            }
            Item::Param(param) => {
                kind = Kind::Definition("param");
                self.values(param.default.iter());
            }
            Item::Set(set) => {
                kind = Kind::Definition("set");
                self.set_expr(&set.expr);
                self.marks
                    .breaks
                    .extend(set.options.iter().map(|option| option.span.start));
            }
            Item::Service(_) => kind = Kind::Definition("service"),
            Item::Zone(zone) => {
                kind = Kind::Definition("zone");
                zone.net.iter().for_each(|net| self.set_expr(net));
            }
            Item::Bucket(bucket) => {
                kind = Kind::Definition("bucket");
                self.marks
                    .breaks
                    .extend(bucket.options.iter().map(|option| option.span.start));
            }
            Item::Proxy(proxy) => {
                let mut spans: Vec<Span> = proxy.options.iter().map(|option| option.span).collect();
                // `bypass` with several principals is one line.
                spans.dedup();
                children = Some(leaves(spans, Kind::Option));
            }
            Item::Template(template) => {
                self.values(
                    template
                        .params
                        .iter()
                        .filter_map(|param| param.default.as_ref()),
                );
                let nodes = template.body.iter().map(|node| match &node.node {
                    TemplateNode::Item(item) => self.item(item, node.span),
                    TemplateNode::Stmt(stmt) => self.stmt(stmt, node.span),
                });
                children = Some(nodes.collect());
            }
            Item::Guard(guard) => children = Some(self.stmts(&guard.body)),
            Item::Steer(body) | Item::Egress(body) => children = Some(self.stmts(body)),
            Item::Section(section) => {
                self.clauses(&section.clauses);
                children = Some(self.stmts(&section.body));
            }
            Item::Default(default) => {
                kind = Kind::Rule;
                self.clauses(&default.clauses);
            }
            Item::Apply(apply) => self.values(apply.args.iter()),
            Item::Claim(claim) => {
                kind = Kind::Claim;
                self.clauses(&claim.clauses);
            }
            Item::Test(test) => {
                let spans = test.steps.iter().map(|step| step.span).collect();
                children = Some(leaves(spans, Kind::Step));
            }
            Item::Use(_) | Item::Strict(_) | Item::Raw(_) => {}
        }
        if children.is_some() {
            kind = Kind::Block;
        }
        Node {
            span,
            kind,
            children,
        }
    }

    fn stmts(&mut self, stmts: &'f [Spanned<Stmt>]) -> Vec<Node> {
        stmts
            .iter()
            .map(|stmt| self.stmt(&stmt.node, stmt.span))
            .collect()
    }

    fn stmt(&mut self, stmt: &'f Stmt, span: Span) -> Node {
        match stmt {
            Stmt::Rule(rule) => {
                self.clauses(&rule.clauses);
                let named = rule
                    .clauses
                    .iter()
                    .filter(|c| matches!(c.node, Clause::As(_)));
                self.marks
                    .names
                    .extend(named.map(|clause| clause.span.start));
                Node {
                    span,
                    kind: Kind::Rule,
                    children: None,
                }
            }
            Stmt::Default(default) => {
                self.clauses(&default.clauses);
                Node {
                    span,
                    kind: Kind::Rule,
                    children: None,
                }
            }
            Stmt::Apply(apply) => {
                self.values(apply.args.iter());
                Node {
                    span,
                    kind: Kind::Other,
                    children: None,
                }
            }
            Stmt::Group(group) => {
                self.clauses(&group.clauses);
                Node {
                    span,
                    kind: Kind::Block,
                    children: Some(self.stmts(&group.body)),
                }
            }
        }
    }

    fn clauses(&mut self, clauses: &'f [Spanned<Clause>]) {
        for clause in clauses {
            self.marks.breaks.push(clause.span.start);
            if let Clause::From(ends) | Clause::To(ends) | Clause::ToOriginal(ends) = &clause.node {
                self.ends(ends);
            }
        }
    }

    fn ends(&mut self, ends: &'f Ends) {
        for end in &ends.list {
            if let End::Body(body) = &end.node {
                self.body(body, end.span);
            }
        }
    }

    fn set_expr(&mut self, expr: &'f SetExpr) {
        for term in std::iter::once(&expr.first).chain(expr.rest.iter().map(|(_, term)| term)) {
            if let SetTerm::Body(body) = &term.node {
                self.body(body, term.span);
            }
        }
    }

    fn values(&mut self, values: impl Iterator<Item = &'f Spanned<Value>>) {
        for value in values {
            if let Value::Set(expr) = &value.node {
                self.set_expr(expr);
            }
        }
    }

    fn body(&mut self, body: &'f SetBody, span: Span) {
        self.marks.bodies.push((span, &body.elements));
    }
}

/// Nodes without blocks.
fn leaves(spans: Vec<Span>, kind: Kind) -> Vec<Node> {
    spans
        .into_iter()
        .map(|span| Node {
            span,
            kind,
            children: None,
        })
        .collect()
}
