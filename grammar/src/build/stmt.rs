//! Statements and blocks, and where the head of a block begins.

use super::Builder;
use crate::ast::{
    Apply, Clause, DefaultStmt, Group, Rule as PolicyRule, Span, Spanned, Stmt, Verb,
};
use crate::error::{SyntaxError, SyntaxErrorKind};
use crate::grammar::{Pair, Rule};

/// A rule, claim or default, cut off from the block behind it.
pub(super) struct Cut<'t> {
    /// Where it begins and ends.
    pub(super) span: Span,
    /// Its own clauses.
    pub(super) clauses: Vec<Pair<'t>>,
    /// The head and the block of the group or section behind it.
    pub(super) tail: Option<(Vec<Pair<'t>>, Pair<'t>)>,
}

impl Builder<'_> {
    /// The statements of a block that is a child of `pair`. Those that are wrong are left out.
    pub(super) fn block(&mut self, pair: &Pair<'_>) -> Option<Vec<Spanned<Stmt>>> {
        let block = self.child(pair, Rule::block)?;
        Some(self.stmts(&block))
    }

    fn stmts(&mut self, block: &Pair<'_>) -> Vec<Spanned<Stmt>> {
        let mut stmts = Vec::new();
        for part in block
            .clone()
            .into_inner()
            .filter(|part| part.as_rule() == Rule::stmt)
        {
            self.stmt(&part, &mut stmts);
        }
        stmts
    }

    /// One statement, or a rule and the group behind it.
    pub(crate) fn stmt(&mut self, pair: &Pair<'_>, out: &mut Vec<Spanned<Stmt>>) {
        let Some(kind) = self.only(pair) else { return };
        match kind.as_rule() {
            Rule::rule_stmt => {
                let Some(cut) = self.cut(&kind) else { return };
                let rule = self.rule(&kind, &cut).map(Stmt::Rule);
                out.extend(rule.map(|rule| Spanned::new(rule, cut.span)));
                out.extend(self.tail_group(cut));
            }
            Rule::default_stmt => {
                let Some(cut) = self.cut(&kind) else { return };
                let default = self.default_stmt(&kind, &cut).map(Stmt::Default);
                out.extend(default.map(|default| Spanned::new(default, cut.span)));
                out.extend(self.tail_group(cut));
            }
            Rule::apply => {
                let span = self.span(&kind);
                out.extend(
                    self.apply(&kind)
                        .map(|apply| Spanned::new(Stmt::Apply(apply), span)),
                );
            }
            Rule::group => {
                let span = self.span(&kind);
                let clauses = self.clauses(&kind);
                let body = self.block(&kind);
                if let (Some(clauses), Some(body)) = (clauses, body) {
                    out.push(Spanned::new(Stmt::Group(Group { clauses, body }), span));
                }
            }
            _ => {
                let _: Option<()> = self.unknown(&kind);
            }
        }
    }

    /// The verb, services and own clauses of a rule.
    fn rule(&mut self, pair: &Pair<'_>, cut: &Cut<'_>) -> Option<PolicyRule> {
        let verb = self.verb(pair);
        let services = self.own_services(pair);
        let clauses = self.all_clauses(&cut.clauses);
        Some(PolicyRule {
            verb: verb?,
            services: services?,
            clauses: clauses?,
        })
    }

    /// `default VERDICT clause…`
    pub(super) fn default_stmt(&mut self, pair: &Pair<'_>, cut: &Cut<'_>) -> Option<DefaultStmt> {
        let verb = self.verb(pair);
        let clauses = self.all_clauses(&cut.clauses);
        Some(DefaultStmt {
            verb: verb?,
            clauses: clauses?,
        })
    }

    /// The services of a rule or claim: none when it names none.
    pub(super) fn own_services(
        &mut self,
        pair: &Pair<'_>,
    ) -> Option<Vec<Spanned<crate::ast::Service>>> {
        match pair
            .clone()
            .into_inner()
            .find(|part| part.as_rule() == Rule::services)
        {
            Some(services) => self.services(&services),
            None => Some(Vec::new()),
        }
    }

    /// Builds clauses, all of them, so that each mistake is reported.
    pub(super) fn all_clauses(&mut self, pairs: &[Pair<'_>]) -> Option<Vec<Spanned<Clause>>> {
        let built: Vec<_> = pairs.iter().map(|pair| self.clause(pair.clone())).collect();
        built.into_iter().collect()
    }

    fn tail_group(&mut self, cut: Cut<'_>) -> Option<Spanned<Stmt>> {
        let (head, block) = cut.tail?;
        let span = self.tail_span(&head, &block);
        let clauses = self.all_clauses(&head);
        let body = self.stmts(&block);
        Some(Spanned::new(
            Stmt::Group(Group {
                clauses: clauses?,
                body,
            }),
            span,
        ))
    }

    /// The clauses, statements and span of a section behind a claim or default.
    pub(super) fn tail_section(
        &mut self,
        (head, block): (Vec<Pair<'_>>, Pair<'_>),
    ) -> Option<(Vec<Spanned<Clause>>, Vec<Spanned<Stmt>>, Span)> {
        let span = self.tail_span(&head, &block);
        let clauses = self.all_clauses(&head);
        let body = self.stmts(&block);
        Some((clauses?, body, span))
    }

    fn tail_span(&self, head: &[Pair<'_>], block: &Pair<'_>) -> Span {
        let span = self.span(block);
        head.first().map_or(span, |first| self.span(first).to(span))
    }

    /// `apply NAME(args)`
    pub(super) fn apply(&mut self, pair: &Pair<'_>) -> Option<Apply> {
        let name = self.name_of(pair)?;
        let args = self.each(pair, Rule::value, Self::value)?;
        Some(Apply { name, args })
    }

    /// The verb that is a child of `pair`.
    pub(super) fn verb(&mut self, pair: &Pair<'_>) -> Option<Spanned<Verb>> {
        let leaf = self.child(pair, Rule::verb)?;
        self.verb_leaf(&leaf)
    }

    pub(super) fn verb_leaf(&mut self, leaf: &Pair<'_>) -> Option<Spanned<Verb>> {
        let verb = match leaf.as_str() {
            "allow" => Verb::Allow,
            "deny" => Verb::Deny,
            "reject" => Verb::Reject,
            "match" => Verb::Match,
            "direct" => Verb::Direct,
            "redirect" => Verb::Redirect,
            "dnat" => Verb::Dnat,
            "snat" => Verb::Snat,
            "masquerade" => Verb::Masquerade,
            "proxy" => Verb::Proxy,
            "route" => Verb::Route,
            "notrack" => Verb::Notrack,
            _ => return self.unknown(leaf),
        };
        Some(Spanned::new(verb, self.leaf_span(leaf)))
    }

    /// Cuts a rule, claim or default off from the block behind it (see `rule_stmt` in the grammar).
    pub(super) fn cut<'t>(&mut self, pair: &Pair<'t>) -> Option<Cut<'t>> {
        let parts = pair.clone().into_inner();
        let mut clauses: Vec<_> = parts
            .clone()
            .filter(|part| part.as_rule() == Rule::clause)
            .collect();
        let Some(block) = parts.clone().find(|part| part.as_rule() == Rule::block) else {
            return Some(Cut {
                span: self.span(pair),
                clauses,
                tail: None,
            });
        };
        let outer = self.indent(pair).1;
        let mut heads = clauses.iter().enumerate().filter(|(_, clause)| {
            let (starts_line, indent) = self.indent(clause);
            starts_line && indent <= outer
        });
        let (Some((at, _)), None) = (heads.next(), heads.next()) else {
            return self.no_head(pair, &block);
        };
        let head = clauses.split_off(at);
        let last = clauses.last().cloned().or_else(|| {
            parts
                .filter(|part| !matches!(part.as_rule(), Rule::clause | Rule::block))
                .last()
        });
        let start = self.leaf_span(pair);
        let start = Span {
            start: start.start,
            end: start.start,
        };
        let span = last.map_or(start, |last| start.to(self.span(&last)));
        Some(Cut {
            span,
            clauses,
            tail: Some((head, block)),
        })
    }

    fn no_head<T>(&mut self, pair: &Pair<'_>, block: &Pair<'_>) -> Option<T> {
        let open = self.child(block, Rule::open)?;
        let what = match pair.as_rule() {
            Rule::claim => "claim",
            Rule::default_stmt => "default",
            _ => "rule",
        };
        let message = format!("a {what} has no block of its own");
        let error = SyntaxError::new(SyntaxErrorKind::BlockHead, self.leaf_span(&open), message)
            .help(format!(
                "if the block belongs to clauses of its own, start those on a new line, indented \
                 no deeper than the {what} before"
            ));
        let failed = self.fail(error);
        // What stands inside may have mistakes of its own.
        self.stmts(block);
        failed
    }

    /// Whether a pair is the first on its line, and how deep that line is indented.
    fn indent(&self, pair: &Pair<'_>) -> (bool, usize) {
        let start = self.leaf_span(pair).start as usize;
        let before = self.source.get(..start).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        let indent = line.len() - line.trim_start().len();
        (indent == line.len(), indent)
    }
}
