//! Templates: what they may hold, and putting them in their place.

use std::collections::BTreeSet;
use std::sync::Arc;

use polc_grammar::ast::{self, Apply, Item, Spanned, Stmt as AstStmt, Template, TemplateNode};

use super::scope::Kind;
use super::{Env, Resolver};
use crate::diagnostic::{Code, Diagnostic};
use crate::ir::Stage;
use crate::policy::Stmt;
use crate::source::Span;

/// How deep templates may apply one another.
const DEEPEST: usize = 32;

/// How many templates a policy may apply, those that templates apply among them: each could apply
/// the next one twice.
const MOST_APPLIED: usize = 100_000;

impl Resolver<'_> {
    /// Reports mistakes in the head of every template, and definitions in its body, applied or
    /// not.
    pub(super) fn check_templates(&mut self) {
        for module in 0..self.modules.len() {
            let env = self.env(module);
            let tree = self.tree(module);
            for item in &tree.items {
                if let Item::Template(template) = &item.node {
                    self.check_parameters(template, &env);
                    self.check_body(template, &env);
                }
            }
        }
    }

    fn check_parameters(&mut self, template: &Template, env: &Env) {
        let mut names = BTreeSet::new();
        let mut optional = false;
        for param in &template.params {
            let span = env.span(param.name.span);
            let name = &param.name.node;
            self.check_param_type(&param.ty, env);
            if !names.insert(name.as_str()) {
                let title = format!("the parameter `{name}` is defined twice");
                let diagnostic = Diagnostic::error(Code::DuplicateName, title, span);
                self.report(diagnostic.help("rename one of the two, or take it out"));
            }
            if param.default.is_some() {
                optional = true;
            } else if optional {
                let title = format!("`{name}` has no default, and a parameter before it has one");
                let help = "put the parameters with a default last: arguments go by their order";
                self.report(Diagnostic::error(Code::BadApply, title, span).help(help));
            }
        }
    }

    fn check_body(&mut self, template: &Template, env: &Env) {
        for node in &template.body {
            let TemplateNode::Item(item) = &node.node else {
                continue;
            };
            let stays = matches!(
                item,
                Item::Policy(_)
                    | Item::Use(_)
                    | Item::Param(_)
                    | Item::Set(_)
                    | Item::Service(_)
                    | Item::Zone(_)
                    | Item::Bucket(_)
                    | Item::Proxy(_)
                    | Item::Template(_)
            );
            if stays {
                let title = "a template holds blocks or rules, and no definitions";
                let help = "write this outside of the template: its body sees it there";
                let span = env.span(node.span);
                self.report(Diagnostic::error(Code::BadApply, title, span).help(help));
            }
        }
    }

    /// The items of an applied template.
    pub(super) fn apply_items(&mut self, apply: &Apply, env: &Env, span: Span) {
        self.expand(apply, env, span, |resolver, node, inner| match &node.node {
            TemplateNode::Item(item) => {
                resolver.block_item(&Spanned::new(item.clone(), node.span), inner);
            }
            TemplateNode::Stmt(_) => {
                let title = "this template holds rules, which stand in a block";
                let help = "apply it inside a section, or inside `guard`, `steer` or `egress`";
                let at = inner.span(node.span);
                resolver.report(
                    Diagnostic::error(Code::BadApply, title, span)
                        .and(at, "this rule cannot stand alone")
                        .help(help),
                );
            }
        });
    }

    /// The statements of a template applied in a block.
    pub(super) fn apply_statements(
        &mut self,
        apply: &Apply,
        stage: Stage,
        env: &Env,
        span: Span,
    ) -> Vec<Stmt> {
        let mut out = Vec::new();
        self.expand(apply, env, span, |resolver, node, inner| {
            let stmt = match &node.node {
                TemplateNode::Stmt(stmt) => Some(stmt.clone()),
                TemplateNode::Item(item) => as_statement(item),
            };
            let Some(stmt) = stmt else {
                let title = "this template holds blocks, which stand at the top of a file";
                let at = inner.span(node.span);
                resolver.report(
                    Diagnostic::error(Code::BadApply, title, span)
                        .and(at, "this cannot stand inside a block")
                        .help("apply it outside of any block"),
                );
                return;
            };
            let stmt = Spanned::new(stmt, node.span);
            out.extend(resolver.statement(&stmt, stage, inner));
        });
        out
    }

    /// Calls `each` for every node of an applied template's body, in the template's scope.
    fn expand(
        &mut self,
        apply: &Apply,
        env: &Env,
        span: Span,
        mut each: impl FnMut(&mut Self, &Spanned<TemplateNode>, &Env),
    ) {
        let at = env.span(apply.name.span);
        let Some(id) = self.lookup(env, Kind::Template, &apply.name.node, at) else {
            return;
        };
        let tree = self.tree(id.0);
        let item = self
            .item(Kind::Template, &id)
            .and_then(|i| tree.items.get(i));
        let Some(Item::Template(template)) = item.map(|i| &i.node) else {
            return;
        };
        if self.expanding.contains(&id) || self.expanding.len() >= DEEPEST {
            let title = format!("the template `{}` applies itself", id.1);
            let help = "a template can apply others, but never come back to itself";
            self.report(Diagnostic::error(Code::Undefined, title, at).help(help));
            return;
        }
        self.applied += 1;
        if self.applied > MOST_APPLIED {
            // Said once: thousands more would follow.
            if self.applied == MOST_APPLIED + 1 {
                let title = format!("more than {MOST_APPLIED} templates are applied");
                let help = "a template that applies others twice grows with each level";
                self.report(Diagnostic::error(Code::TooComplex, title, at).help(help));
            }
            return;
        }
        let template_env = self.env(id.0);
        let needed = template
            .params
            .iter()
            .filter(|p| p.default.is_none())
            .count();
        let given = apply.args.len();
        if given < needed || given > template.params.len() {
            let title = format!("`{}` takes {}, not {given}", id.1, arguments(template));
            let list: Vec<String> = template
                .params
                .iter()
                .map(|p| format!("{}: {}", p.name.node, p.ty.node))
                .collect();
            let help = format!("its parameters are ({})", list.join(", "));
            self.report(Diagnostic::error(Code::BadApply, title, span).help(help));
            return;
        }
        let locals = self.bind_arguments(&template.params, &apply.args, env, &template_env);
        let inner = Env {
            locals: Arc::new(locals),
            ..template_env
        };
        self.expanding.push(id);
        for node in &template.body {
            each(self, node, &inner);
        }
        self.expanding.pop();
    }
}

fn arguments(template: &Template) -> String {
    match template.params.len() {
        1 => "1 argument".to_owned(),
        n => format!("{n} arguments"),
    }
}

/// An item that can also be read as a statement.
fn as_statement(item: &Item) -> Option<AstStmt> {
    match item {
        Item::Section(section) if !section.stateless => Some(AstStmt::Group(ast::Group {
            clauses: section.clauses.clone(),
            body: section.body.clone(),
        })),
        Item::Default(default) => Some(AstStmt::Default(default.clone())),
        Item::Apply(apply) => Some(AstStmt::Apply(apply.clone())),
        _ => None,
    }
}
