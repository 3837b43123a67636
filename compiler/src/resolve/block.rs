//! Items and statements: blocks and sections.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;
use std::sync::Arc;

use polc_grammar::ast::{self, Clause, End, Ends, Item, Spanned, Stmt as AstStmt, Strict};

use super::clause::Place;
use super::load::ModuleId;
use super::{Env, Resolver};
use crate::diagnostic::{Code, Diagnostic};
use crate::ir::{Raw, Stage};
use crate::policy::{Block, Clauses, Rule, Stmt, Test};
use crate::source::Span;

/// What has been met so far of things that there can be one of.
#[derive(Default)]
pub(super) struct Seen {
    policy: Option<Span>,
    default: Option<Span>,
    labels: BTreeSet<Arc<str>>,
    /// How many blocks wanted each label.
    wanted: BTreeMap<String, usize>,
    used: BTreeSet<ModuleId>,
}

impl Seen {
    /// A label as near to `wish` as can be.
    fn label(&mut self, wish: &str) -> Arc<str> {
        let number = self.wanted.entry(wish.to_owned()).or_default();
        loop {
            *number += 1;
            let label: Arc<str> = match *number {
                1 => wish.into(),
                number => format!("{wish}-{number}").into(),
            };
            if self.labels.insert(Arc::clone(&label)) {
                return label;
            }
        }
    }
}

impl Resolver<'_> {
    /// The blocks of a file, and of the files it uses where it uses them.
    pub(super) fn module_items(&mut self, module: ModuleId) {
        if !self.seen.used.insert(module) {
            return;
        }
        let env = self.env(module);
        let tree = self.tree(module);
        for (index, item) in tree.items.iter().enumerate() {
            if let Item::Use(_) = &item.node {
                let used = self
                    .modules
                    .get(module)
                    .and_then(|m| m.used_at.iter().find(|(at, _)| *at == index));
                if let Some((_, used)) = used.copied() {
                    self.module_items(used);
                }
                continue;
            }
            self.block_item(item, &env);
        }
    }

    /// One item that is not a definition.
    pub(super) fn block_item(&mut self, item: &Spanned<Item>, env: &Env) {
        let span = env.span(item.span);
        match &item.node {
            Item::Policy(policy) => self.policy_item(policy, env),
            Item::Guard(guard) => {
                let clause = guard
                    .on
                    .iter()
                    .map(|on| Spanned::new(Clause::In(on.clone()), item.span));
                let clauses: Vec<_> = clause.collect();
                let label = guard.on.as_ref().map_or_else(
                    || "guard".to_owned(),
                    |on| {
                        format!(
                            "guard-{}",
                            join(on.not, on.names.iter().map(|n| n.node.clone()))
                        )
                    },
                );
                self.push_block(
                    Stage::Guard,
                    &label,
                    false,
                    &clauses,
                    &guard.body,
                    env,
                    span,
                );
            }
            Item::Steer(body) => {
                self.push_block(Stage::Steer, "steer", false, &[], body, env, span);
            }
            Item::Egress(body) => {
                self.push_block(Stage::Egress, "egress", false, &[], body, env, span);
            }
            Item::Section(section) => {
                let label = section_label(&section.clauses);
                let (clauses, body) = (&section.clauses, &section.body);
                let stateless = section.stateless;
                self.push_block(Stage::Filter, &label, stateless, clauses, body, env, span);
            }
            Item::Default(default) => self.top_default(default, env, span),
            Item::Strict(strict) => match strict.node {
                Strict::Icmp => self.policy.strict_icmp = true,
                Strict::Tcp => self.policy.strict_tcp = true,
            },
            Item::Apply(apply) => self.apply_items(apply, env, span),
            Item::Claim(claim) => self.claim(claim, env, span),
            Item::Test(test) => self.policy.tests.push(Test {
                test: test.clone(),
                span,
            }),
            Item::Raw(raw) => self.raw(raw, env, span),
            Item::Use(_)
            | Item::Param(_)
            | Item::Set(_)
            | Item::Service(_)
            | Item::Zone(_)
            | Item::Bucket(_)
            | Item::Proxy(_)
            | Item::Template(_) => {}
        }
    }

    fn policy_item(&mut self, policy: &ast::Policy, env: &Env) {
        let span = env.span(policy.name.span);
        let mut meta = crate::policy::Meta::default();
        for (at, entry) in policy.meta.iter().enumerate() {
            let mut before = policy.meta.iter().take(at);
            let same = |m: &&Spanned<ast::Meta>| discriminant(&m.node) == discriminant(&entry.node);
            if let Some(first) = before.find(same) {
                self.said_twice(env.span(entry.span), env.span(first.span));
            }
            self.meta(&entry.node, env, &mut meta);
        }
        if env.module != self.root {
            return;
        }
        if let Some(first) = self.seen.policy.replace(span) {
            let diagnostic =
                Diagnostic::error(Code::PolicyName, "a file declares one policy", span);
            let diagnostic = diagnostic.and(first, "it is already declared here");
            self.report(diagnostic.help("take one of the two lines out"));
            return;
        }
        self.policy.name.clone_from(&policy.name.node);
        self.policy.meta = meta;
    }

    fn top_default(&mut self, default: &ast::DefaultStmt, env: &Env, span: Span) {
        let rule = self.default_rule(default, Stage::Filter, env);
        if let Some(first) = self.seen.default.replace(span) {
            let diagnostic = Diagnostic::error(
                Code::DuplicateName,
                "a policy has one top-level default",
                span,
            );
            let help = "take one out; a section may end in a default of its own";
            self.report(diagnostic.and(first, "the first is here").help(help));
            return;
        }
        self.policy.default = Some(rule);
    }

    fn raw(&mut self, raw: &ast::Raw, env: &Env, span: Span) {
        let target = match raw.target.node.as_str() {
            "nft" | "nftables" => "nftables",
            other => {
                let title = format!("there is no raw text for `{other}`");
                let at = env.span(raw.target.span);
                self.report(
                    Diagnostic::error(Code::Undefined, title, at).help("write `raw nft \"…\"`"),
                );
                return;
            }
        };
        let text = raw.text.node.clone();
        self.policy.raw.push(Raw {
            target: target.to_owned(),
            text,
            span,
        });
    }

    #[expect(clippy::too_many_arguments, reason = "a block is all of these")]
    fn push_block(
        &mut self,
        stage: Stage,
        label: &str,
        stateless: bool,
        clauses: &[Spanned<Clause>],
        body: &[Spanned<AstStmt>],
        env: &Env,
        span: Span,
    ) {
        let span = self.head(span, body.first().map(|s| env.span(s.span)));
        let clauses = self.clauses(clauses, stage, Place::Group, env);
        let body = self.statements(body, stage, env);
        let unique = self.seen.label(label);
        self.policy.blocks.push(Block {
            label: unique,
            stage,
            stateless,
            clauses,
            body,
            span,
        });
    }

    /// The part of a block before its opening brace; `first` is its first statement.
    fn head(&self, block: Span, first: Option<Span>) -> Span {
        let end = first.map_or(block.end, |s| s.start);
        let source = self.sources.get(block.file);
        let text = source.and_then(|s| s.text.get(block.start as usize..end as usize));
        let head = text.and_then(|t| Some(t.get(..t.rfind('{')?)?.trim_end()));
        let length = head.map_or(end - block.start, |h| u32::try_from(h.len()).unwrap_or(0));
        Span {
            end: block.start + length,
            ..block
        }
    }

    fn statements(&mut self, body: &[Spanned<AstStmt>], stage: Stage, env: &Env) -> Vec<Stmt> {
        body.iter()
            .flat_map(|stmt| self.statement(stmt, stage, env))
            .collect()
    }

    pub(super) fn statement(
        &mut self,
        stmt: &Spanned<AstStmt>,
        stage: Stage,
        env: &Env,
    ) -> Vec<Stmt> {
        match &stmt.node {
            AstStmt::Rule(rule) => vec![Stmt::Rule(self.rule(rule, stage, env))],
            AstStmt::Default(default) => {
                vec![Stmt::Default(self.default_rule(default, stage, env))]
            }
            AstStmt::Group(group) => {
                let clauses = self.clauses(&group.clauses, stage, Place::Group, env);
                vec![Stmt::Group(
                    clauses,
                    self.statements(&group.body, stage, env),
                )]
            }
            AstStmt::Apply(apply) => self.apply_statements(apply, stage, env, env.span(stmt.span)),
        }
    }

    fn rule(&mut self, rule: &ast::Rule, stage: Stage, env: &Env) -> Rule {
        let services = if rule.services.is_empty() {
            None
        } else {
            Some(self.service_list(&rule.services, env).unwrap_or_default())
        };
        let clauses = self.clauses(&rule.clauses, stage, Place::Rule, env);
        Rule {
            verb: rule.verb.node,
            span: env.span(rule.verb.span),
            services,
            clauses,
        }
    }

    fn default_rule(&mut self, default: &ast::DefaultStmt, stage: Stage, env: &Env) -> Rule {
        let clauses: Clauses = self.clauses(&default.clauses, stage, Place::Rule, env);
        Rule {
            verb: default.verb.node,
            span: env.span(default.verb.span),
            services: None,
            clauses,
        }
    }
}

/// `wan-to-host`, `from-host`, `to-dmz`.
fn section_label(clauses: &[Spanned<Clause>]) -> String {
    let ends = |pick: fn(&Clause) -> Option<&Ends>| {
        clauses.iter().find_map(|c| pick(&c.node)).map(ends_label)
    };
    let from = ends(|c| {
        if let Clause::From(ends) = c {
            Some(ends)
        } else {
            None
        }
    });
    let to = ends(|c| {
        if let Clause::To(ends) = c {
            Some(ends)
        } else {
            None
        }
    });
    match (from, to) {
        (Some(from), Some(to)) => format!("{from}-to-{to}"),
        (Some(from), None) => format!("from-{from}"),
        (None, Some(to)) => format!("to-{to}"),
        (None, None) => "section".to_owned(),
    }
}

fn ends_label(ends: &Ends) -> String {
    let words = ends.list.iter().map(|end| match &end.node {
        End::Any => "any".to_owned(),
        End::Host => "host".to_owned(),
        End::Name(name) | End::Ref(name) => name.clone(),
        End::Addr(_) | End::Body(_) => "addresses".to_owned(),
    });
    join(ends.not, words)
}

fn join(not: bool, words: impl Iterator<Item = String>) -> String {
    let words: Vec<String> = words.collect();
    format!("{}{}", if not { "not-" } else { "" }, words.join("+"))
}
