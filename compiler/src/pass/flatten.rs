//! Groups are flattened onto the rules inside, and every rule gets its name, its cubes and its
//! verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use polc_grammar::ast::Verb;

use super::nat;
use super::settle::{asks_unrouted, settle};
use super::verb::{check_clauses, wrong_stage};
use crate::diagnostic::{self, Code, Diagnostic};
use crate::ir::cube::{MOST_CUBES, both, without};
use crate::ir::{
    Block, Bucket, BucketId, Cube, Effects, Governs, Ir, Limit, Log, Mark, Rule, Stage, Verdict,
};
use crate::policy::{self, Clauses, Condition, Meta, Policy, RateRef, Stmt};
use crate::source::Span;

/// The IR of a policy. Rules that are wrong are reported and left out.
pub fn flatten(policy: &Policy, as_of: &str, diagnostics: &mut Vec<Diagnostic>) -> Ir {
    let ir = Ir {
        name: policy.name.clone(),
        as_of: as_of.to_owned(),
        guard: Vec::new(),
        steer: Vec::new(),
        filter: Vec::new(),
        egress: Vec::new(),
        blocks: Vec::new(),
        buckets: policy.buckets.clone(),
        dynamic: policy.dynamic.clone(),
        proxies: policy.proxies.clone(),
        governs: Governs::default(),
        strict_icmp: policy.strict_icmp,
        strict_tcp: policy.strict_tcp,
        raw: policy.raw.clone(),
    };
    let mut flattener = Flattener {
        buckets: ir.buckets.iter().map(|b| Arc::clone(&b.name)).collect(),
        ir,
        diagnostics,
        names: BTreeMap::new(),
        left_out: None,
    };
    for block in &policy.blocks {
        flattener.block(block);
    }
    if let Some(default) = &policy.default {
        flattener.top_default(default);
    }
    let Flattener { ir, left_out, .. } = flattener;
    if let Some(span) = left_out.filter(|_| !diagnostic::has_errors(diagnostics)) {
        let title = "this rule was left out, and nobody has said why";
        diagnostics.push(
            Diagnostic::error(Code::Internal, title, span)
                .help("this is a defect of polc: please report it with the policy"),
        );
    }
    ir
}

struct Flattener<'a> {
    ir: Ir,
    diagnostics: &'a mut Vec<Diagnostic>,
    /// Where each name is given.
    names: BTreeMap<Arc<str>, Span>,
    /// The names of buckets.
    buckets: BTreeSet<Arc<str>>,
    /// The last rule left out for a mistake that resolving it has found.
    left_out: Option<Span>,
}

/// What the surroundings of a statement say.
#[derive(Clone)]
struct Context<'p> {
    stage: Stage,
    block: usize,
    label: Arc<str>,
    cubes: Vec<Cube>,
    /// Whether no packet can be here, for a reason that has been reported.
    nothing: bool,
    /// The clauses of the groups around, the outermost first.
    around: Vec<&'p Clauses>,
}

/// Numbers for the unnamed rules of a block.
struct Count(usize);

impl Flattener<'_> {
    fn block(&mut self, block: &policy::Block) {
        let outside = Context {
            stage: block.stage,
            block: self.ir.blocks.len(),
            label: Arc::clone(&block.label),
            cubes: vec![Cube::any()],
            nothing: false,
            around: Vec::new(),
        };
        let context = self.inside(&outside, &block.clauses, block.span);
        let settled = context.cubes.iter().flat_map(|c| settle(c, block.stage));
        let scope = settled.collect();
        self.ir.blocks.push(Block {
            label: Arc::clone(&block.label),
            stage: block.stage,
            scope,
            stateless: block.stateless,
            span: block.span,
        });
        self.body(&block.body, &context, &mut Count(0));
    }

    /// The surroundings within `clauses`; reports when no packet can be there.
    fn inside<'p>(&mut self, outer: &Context<'p>, clauses: &'p Clauses, span: Span) -> Context<'p> {
        let mut context = outer.clone();
        context.around.push(clauses);
        let Some(cubes) = narrow(&outer.cubes, clauses) else {
            self.too_complex(span);
            context.nothing = true;
            return context;
        };
        context.cubes = cubes;
        let seen = |c: &Cube| !settle(c, outer.stage).is_empty();
        if !outer.nothing && !context.cubes.iter().any(seen) {
            context.nothing = true;
            if !asks_empty_set(clauses) && !clauses.broken {
                let title = "no packet can match this block";
                self.unmatchable(title, span, &context.around, None);
            }
        }
        context
    }

    fn top_default(&mut self, default: &policy::Rule) {
        self.ir.blocks.push(Block {
            label: "default".into(),
            stage: Stage::Filter,
            scope: settle(&Cube::any(), Stage::Filter),
            stateless: false,
            span: default.span,
        });
        let context = Context {
            stage: Stage::Filter,
            block: self.ir.blocks.len() - 1,
            label: "default".into(),
            cubes: vec![Cube::any()],
            nothing: false,
            around: Vec::new(),
        };
        self.rule(default, true, &context, "default".into());
    }

    fn body<'p>(&mut self, body: &'p [Stmt], context: &Context<'p>, count: &mut Count) {
        for stmt in body {
            match stmt {
                Stmt::Group(clauses, inner) => {
                    let head = clauses.conditions.first().map(|c| c.span);
                    let place = self.ir.blocks.get(context.block).map(|b| b.span);
                    if let Some(span) = head.or(place) {
                        let context = self.inside(context, clauses, span);
                        self.body(inner, &context, count);
                    }
                }
                Stmt::Rule(rule) => {
                    count.0 += 1;
                    let name = format!("{}#{}", context.label, count.0).into();
                    self.rule(rule, false, context, name);
                }
                Stmt::Default(rule) => {
                    let depth = context.around.len();
                    let name = if depth > 1 {
                        count.0 += 1;
                        format!("{}#{}", context.label, count.0)
                    } else {
                        format!("{}#default", context.label)
                    };
                    self.rule(rule, true, context, name.into());
                }
            }
        }
    }

    fn rule(
        &mut self,
        rule: &policy::Rule,
        is_default: bool,
        context: &Context,
        unnamed: Arc<str>,
    ) {
        let name = self.name(rule, unnamed);
        let around = || context.around.iter().rev().copied();
        let clauses = || std::iter::once(&rule.clauses).chain(around());
        if clauses().any(|c| c.broken) && !is_default {
            self.left_out = Some(rule.span);
            return;
        }
        let Some(cubes) = self.cubes(rule, context) else {
            return;
        };
        let mark = clauses().find_map(|c| c.mark).map(|(mark, _)| mark);
        let verdict = match self.verdict(rule, is_default, context.stage, &cubes, mark) {
            Some(verdict) => verdict,
            // The stage does end in a default, if a wrong one.
            None if is_default => Some(Verdict::Deny),
            None => return,
        };
        let limits: Vec<Limit> = around()
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .chain(std::iter::once(&rule.clauses))
            .flat_map(|c| &c.limits)
            .map(|limit| Limit {
                sense: limit.sense,
                bucket: self.own(&limit.rate, &name, limit.span),
            })
            .collect();
        let log = clauses().find_map(|c| c.log.as_ref()).map(|log| Log {
            text: log.text.clone(),
            at: log
                .at
                .as_ref()
                .map(|rate| self.own(rate, &format!("{name}-log"), log.span)),
        });
        let effects = Effects {
            log,
            count: clauses().any(|c| c.count),
            mark,
            add: clauses().find_map(|c| c.add).map(|(index, _)| index),
        };
        let meta = clauses().fold(Meta::default(), |meta, c| meta.or(&c.meta));
        let rule = Rule {
            name,
            named: rule.clauses.name.is_some(),
            span: rule.span,
            block: context.block,
            is_default,
            cubes,
            limits,
            effects,
            verdict,
            admit: rule.clauses.admit.is_some(),
            owner: meta.owner,
            ticket: meta.ticket,
            note: meta.note,
        };
        self.ir.stage_mut(context.stage).push(rule);
    }

    /// The rule's name; two rules cannot share one.
    fn name(&mut self, rule: &policy::Rule, unnamed: Arc<str>) -> Arc<str> {
        let (name, span) = match (&rule.clauses.name, rule.clauses.name_span) {
            (Some(name), Some(span)) => (Arc::from(name.node.as_str()), span),
            _ => (unnamed, rule.span),
        };
        if let Some(first) = self.names.insert(Arc::clone(&name), span) {
            self.diagnostics.push(
                Diagnostic::error(
                    Code::DuplicateName,
                    format!("two rules are called `{name}`"),
                    span,
                )
                .and(first, "the first is here")
                .help(
                    "a rule's name is its identity in counters, logs and tests: give each its own",
                ),
            );
        }
        name
    }

    /// The packets that the rule is about; `None` when there are none, which has been reported.
    fn cubes(&mut self, rule: &policy::Rule, context: &Context) -> Option<Vec<Cube>> {
        if context.nothing {
            return None;
        }
        let Some(cubes) = matched(rule, context) else {
            self.too_complex(rule.span);
            return None;
        };
        if context.stage == Stage::Steer && cubes.iter().any(asks_unrouted) {
            let title = "arriving packets are not routed yet: nobody knows where they leave";
            let help = "say `from host` beside it: what this host sends is routed before steer";
            let diagnostic = Diagnostic::error(Code::WrongClause, title, rule.span);
            self.diagnostics.push(diagnostic.help(help));
            self.left_out = Some(rule.span);
            return None;
        }
        let settled: Vec<Cube> = cubes
            .iter()
            .flat_map(|c| settle(c, context.stage))
            .collect();
        if !settled.is_empty() {
            return Some(settled);
        }
        if rule.services.as_ref().is_some_and(Vec::is_empty) {
            // An unknown service has been reported where it stands.
            self.left_out = Some(rule.span);
        } else if !asks_empty_set(&rule.clauses) {
            let mut clauses = context.around.clone();
            clauses.push(&rule.clauses);
            let title = "no packet can match this rule";
            let services = rule.services.as_deref();
            self.unmatchable(title, rule.span, &clauses, services);
        }
        None
    }

    /// Reports what no packet can match, with the conditions that exclude one another.
    fn unmatchable(
        &mut self,
        title: &str,
        span: Span,
        clauses: &[&Clauses],
        services: Option<&[Cube]>,
    ) {
        let help = "its conditions, with those around it, exclude one another";
        let mut diagnostic = Diagnostic::error(Code::UnmatchableRule, title, span).help(help);
        let conditions: Vec<&Condition> = clauses.iter().flat_map(|c| &c.conditions).collect();
        let culprits = culprits(&conditions, services);
        for condition in culprits.iter().filter(|c| c.span != span) {
            diagnostic = diagnostic.and(condition.span, "this must hold too");
        }
        self.diagnostics.push(diagnostic);
    }

    fn too_complex(&mut self, span: Span) {
        let title = format!("this has more than {MOST_CUBES} alternatives");
        let help = "split it, or name what it lists in a set or a service";
        self.diagnostics
            .push(Diagnostic::error(Code::TooComplex, title, span).help(help));
    }

    /// The bucket's index; a rate of the rule's own becomes a bucket of that name.
    fn own(&mut self, rate: &RateRef, name: &str, span: Span) -> BucketId {
        match rate {
            RateRef::Shared(index) => *index,
            RateRef::Own(rate, key) => {
                let mut unique: Arc<str> = name.into();
                let mut number = 2;
                while !self.buckets.insert(Arc::clone(&unique)) {
                    unique = format!("{name}-{number}").into();
                    number += 1;
                }
                self.ir.buckets.push(Bucket {
                    name: unique,
                    rate: *rate,
                    key: *key,
                    max: None,
                    idle: None,
                    full: polc_grammar::ast::Sense::Over,
                    span,
                });
                self.ir.buckets.len() - 1
            }
        }
    }

    /// What the rule decides; `None` when that is wrong and has been reported.
    #[expect(
        clippy::option_option,
        reason = "a `match` rule rightly decides nothing"
    )]
    fn verdict(
        &mut self,
        rule: &policy::Rule,
        is_default: bool,
        stage: Stage,
        cubes: &[Cube],
        mark: Option<Mark>,
    ) -> Option<Option<Verdict>> {
        if is_default && rule.verb == Verb::Match {
            let title = "a default decides, and `match` decides nothing";
            let help = "write a `match` rule, and a `default` behind it";
            let diagnostic = Diagnostic::error(Code::WrongStage, title, rule.span);
            self.diagnostics.push(diagnostic.help(help));
            return None;
        }
        if let Some(help) = wrong_stage(rule.verb, stage) {
            let title = format!("`{}` does not belong in {}", rule.verb.word(), stage.name());
            let diagnostic = Diagnostic::error(Code::WrongStage, title, rule.span);
            self.diagnostics.push(diagnostic.help(help));
            return None;
        }
        if let Err(diagnostic) = check_clauses(rule) {
            self.diagnostics.push(diagnostic);
            return None;
        }
        let found = match rule.verb {
            Verb::Match => return Some(None),
            Verb::Allow => Ok(Verdict::Allow),
            Verb::Deny => Ok(Verdict::Deny),
            Verb::Notrack => Ok(Verdict::Notrack),
            Verb::Direct => Ok(Verdict::Direct),
            Verb::Masquerade => Ok(Verdict::Masquerade),
            Verb::Reject => nat::reject(rule, cubes),
            Verb::Redirect => nat::redirect(rule, cubes),
            Verb::Dnat => nat::dnat(rule, cubes),
            Verb::Snat => nat::snat(rule, cubes),
            Verb::Proxy => nat::proxy(rule, cubes, &self.ir.proxies, mark),
            Verb::Route => nat::route(rule, mark),
        };
        match found {
            Ok(verdict) => Some(Some(verdict)),
            Err(diagnostic) => {
                self.diagnostics.push(diagnostic);
                None
            }
        }
    }
}

/// What the rule's conditions and services leave of its surroundings; `None` when that takes too
/// many cubes.
fn matched(rule: &policy::Rule, context: &Context) -> Option<Vec<Cube>> {
    let mut cubes = narrow(&context.cubes, &rule.clauses)?;
    if let Some(services) = &rule.services {
        cubes = both(&cubes, services)?;
    }
    let around = context.around.iter().flat_map(|c| &c.except);
    for except in rule.clauses.except.iter().chain(around) {
        cubes = without(&cubes, except)?;
    }
    Some(cubes)
}

/// Packets of `cubes` that meet the conditions; `None` when that takes too many cubes.
fn narrow(cubes: &[Cube], clauses: &Clauses) -> Option<Vec<Cube>> {
    clauses
        .conditions
        .iter()
        .try_fold(cubes.to_vec(), |out, c| both(&out, &c.cubes))
}

fn asks_empty_set(clauses: &Clauses) -> bool {
    clauses.conditions.iter().any(|c| c.empty_set)
}

/// Conditions that exclude one another: one that nothing meets, a pair, or one that the services exclude.
fn culprits<'c>(conditions: &[&'c Condition], services: Option<&[Cube]>) -> Vec<&'c Condition> {
    if let Some(one) = conditions.iter().find(|c| c.cubes.is_empty()) {
        return vec![one];
    }
    for (at, a) in conditions.iter().enumerate() {
        if let Some(b) = conditions
            .iter()
            .skip(at + 1)
            .find(|b| excludes(&a.cubes, &b.cubes))
        {
            return vec![a, b];
        }
    }
    let excluded = |c: &&Condition| services.is_some_and(|s| excludes(s, &c.cubes));
    conditions
        .iter()
        .copied()
        .filter(excluded)
        .take(1)
        .collect()
}

/// Whether no packet is in one of `a` and one of `b`.
fn excludes(a: &[Cube], b: &[Cube]) -> bool {
    !a.iter()
        .any(|x| b.iter().any(|y| x.intersection(y).is_some()))
}
