//! Groups are flattened onto the rules inside, and every rule gets its name, its cubes and its
//! verdict.
//!
//! What the stage implies is made explicit here: loopback traffic is left out of every cube that
//! does not name `lo`; guard sees arriving packets, egress leaving ones; a cube of steer is either
//! of arriving packets or of locally generated ones, for they pass different hooks.

use std::collections::BTreeMap;
use std::sync::Arc;

use polc_grammar::ast::Verb;

use super::nat;
use crate::diagnostic::{Code, Diagnostic};
use crate::ir::{
    Block, Bucket, BucketId, Cube, Effects, Governs, Ir, Limit, Log, Rule, Side, Stage, Verdict,
};
use crate::packet::{IfaceSet, Pattern};
use crate::policy::{self, Clauses, Condition, Meta, Policy, RateRef, Stmt, Via};
use crate::source::Span;

/// The most cubes of one rule.
const MOST_CUBES: usize = 4096;

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
        ir,
        diagnostics,
        names: BTreeMap::new(),
    };
    for block in &policy.blocks {
        flattener.block(block);
    }
    if let Some(default) = &policy.default {
        flattener.top_default(default);
    }
    flattener.ir
}

struct Flattener<'a> {
    ir: Ir,
    diagnostics: &'a mut Vec<Diagnostic>,
    /// Where each name is given.
    names: BTreeMap<Arc<str>, Span>,
}

/// What the surroundings of a statement say.
#[derive(Clone)]
struct Context<'p> {
    stage: Stage,
    block: usize,
    label: Arc<str>,
    cubes: Vec<Cube>,
    empty_set: bool,
    /// The clauses of the groups around, the outermost first.
    around: Vec<&'p Clauses>,
}

/// Numbers for the unnamed rules of a block.
struct Count(usize);

impl Flattener<'_> {
    fn block(&mut self, block: &policy::Block) {
        let (cubes, empty_set) = narrow(&[Cube::any()], &block.clauses);
        let scope = cubes.iter().flat_map(|c| settle(c, block.stage)).collect();
        self.ir.blocks.push(Block {
            label: Arc::clone(&block.label),
            stage: block.stage,
            scope,
            stateless: block.stateless,
            span: block.span,
        });
        let context = Context {
            stage: block.stage,
            block: self.ir.blocks.len() - 1,
            label: Arc::clone(&block.label),
            cubes,
            empty_set,
            around: vec![&block.clauses],
        };
        self.body(&block.body, &context, &mut Count(0));
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
            empty_set: false,
            around: Vec::new(),
        };
        self.rule(default, true, &context, "default".into());
    }

    fn body<'p>(&mut self, body: &'p [Stmt], context: &Context<'p>, count: &mut Count) {
        for stmt in body {
            match stmt {
                Stmt::Group(clauses, inner) => {
                    let mut context = context.clone();
                    let (cubes, empty) = narrow(&context.cubes, clauses);
                    context.cubes = cubes;
                    context.empty_set |= empty;
                    context.around.push(clauses);
                    self.body(inner, &context, count);
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
            return;
        }
        let Some(cubes) = self.cubes(rule, context) else {
            return;
        };
        let verdict = match self.verdict(rule, is_default, context.stage, &cubes) {
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
            mark: clauses().find_map(|c| c.mark).map(|(mark, _)| mark),
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
        let (mut cubes, empty) = narrow(&context.cubes, &rule.clauses);
        if let Some(services) = &rule.services {
            cubes = both(&cubes, services);
        }
        let around = context.around.iter().flat_map(|c| &c.except);
        for except in rule.clauses.except.iter().chain(around) {
            cubes = cubes
                .iter()
                .flat_map(|cube| cube.difference(except))
                .collect();
        }
        if cubes.len() > MOST_CUBES {
            let title = format!("the rule has more than {MOST_CUBES} alternatives");
            let help = "split it, or name what it lists in a set or a service";
            let diagnostic = Diagnostic::error(Code::TooComplex, title, rule.span);
            self.diagnostics.push(diagnostic.help(help));
            return None;
        }
        let settled: Vec<Cube> = cubes
            .iter()
            .flat_map(|c| settle(c, context.stage))
            .collect();
        // An unknown service has been reported where it stands.
        let broken = rule.services.as_ref().is_some_and(Vec::is_empty);
        if settled.is_empty() && !empty && !context.empty_set && !broken {
            let title = "no packet can match this rule";
            let help = "its conditions, with those around it, exclude one another";
            let mut diagnostic =
                Diagnostic::error(Code::UnmatchableRule, title, rule.span).help(help);
            let around = context.around.iter().copied();
            let conditions = around.chain(std::iter::once(&rule.clauses));
            let conditions: Vec<&Condition> = conditions.flat_map(|c| &c.conditions).collect();
            for condition in culprits(&conditions, rule.services.as_deref()) {
                diagnostic = diagnostic.and(condition.span, "this must hold too");
            }
            self.diagnostics.push(diagnostic);
        }
        (!settled.is_empty()).then_some(settled)
    }

    /// The bucket's index; a rate of the rule's own becomes a bucket of that name.
    fn own(&mut self, rate: &RateRef, name: &str, span: Span) -> BucketId {
        match rate {
            RateRef::Shared(index) => *index,
            RateRef::Own(rate, key) => {
                let taken = self
                    .ir
                    .buckets
                    .iter()
                    .filter(|b| b.name.starts_with(name))
                    .count();
                let name = if taken == 0 {
                    name.to_owned()
                } else {
                    format!("{name}-{}", taken + 1)
                };
                self.ir.buckets.push(Bucket {
                    name: name.into(),
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
    ) -> Option<Option<Verdict>> {
        if is_default && rule.verb == Verb::Match {
            let title = "a default decides, and `match` decides nothing";
            let help = "write a `match` rule, and a `default` behind it";
            let diagnostic = Diagnostic::error(Code::WrongStage, title, rule.span);
            self.diagnostics.push(diagnostic.help(help));
            return None;
        }
        if let Some(help) = wrong_stage(rule.verb, stage) {
            let title = format!("`{}` does not belong in {}", word(rule.verb), stage.name());
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
            Verb::Proxy => nat::proxy(rule, cubes, &self.ir.proxies),
            Verb::Route => nat::route(rule),
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

/// Packets of `cubes` that meet the conditions, and whether an empty set is among those.
fn narrow(cubes: &[Cube], clauses: &Clauses) -> (Vec<Cube>, bool) {
    let mut out = cubes.to_vec();
    for condition in &clauses.conditions {
        out = both(&out, &condition.cubes);
    }
    (out, clauses.conditions.iter().any(|c| c.empty_set))
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
            .find(|b| both(&a.cubes, &b.cubes).is_empty())
        {
            return vec![a, b];
        }
    }
    let excluded = |c: &&Condition| services.is_some_and(|s| both(s, &c.cubes).is_empty());
    conditions
        .iter()
        .copied()
        .filter(excluded)
        .take(1)
        .collect()
}

fn both(a: &[Cube], b: &[Cube]) -> Vec<Cube> {
    a.iter()
        .flat_map(|x| b.iter().filter_map(|y| x.intersection(y)))
        .collect()
}

/// The packets of a cube that the stage sees.
fn settle(cube: &Cube, stage: Stage) -> Vec<Cube> {
    let any = IfaceSet::full();
    let local = Cube {
        ingress: Side::host(),
        ..Cube::any()
    };
    let arriving = Cube {
        ingress: Side::ifaces(any.clone()),
        ..Cube::any()
    };
    let leaving = Cube {
        egress: Side::ifaces(any),
        ..Cube::any()
    };
    let lo = names_loopback(&cube.ingress) || names_loopback(&cube.egress);
    let own = || without_loopback(cube.clone(), lo);
    match stage {
        Stage::Guard => {
            let unrouted = own().intersection(&arriving).into_iter();
            unrouted
                .map(|c| Cube {
                    egress: Side::any(),
                    ..c
                })
                .collect()
        }
        Stage::Egress => own().intersection(&leaving).into_iter().collect(),
        Stage::Steer => {
            let unrouted = cube.egress.ifaces.is_full() || cube.egress.ifaces.is_empty();
            let arriving = unrouted.then(|| {
                let egress = cube.egress.clone();
                own().intersection(&arriving).map(|c| Cube { egress, ..c })
            });
            let local = own()
                .intersection(&local)
                .filter(|c| !c.egress.ifaces.is_empty());
            arriving.flatten().into_iter().chain(local).collect()
        }
        Stage::Filter => {
            let cube = own();
            let (from, to) = (&cube.ingress, &cube.egress);
            let passes_a_hook = (to.host || !to.ifaces.is_empty()) && !from.ifaces.is_empty()
                || from.host && !to.ifaces.is_empty();
            cube.normal()
                .filter(|_| passes_a_hook)
                .into_iter()
                .collect()
        }
    }
}

/// Whether the side names `lo` itself.
fn names_loopback(side: &Side) -> bool {
    side.ifaces
        .include()
        .is_some_and(|i| i.contains(&Pattern::Name("lo".to_owned())))
}

fn without_loopback(mut cube: Cube, named: bool) -> Cube {
    if !named {
        let rest = IfaceSet::not_loopback();
        cube.ingress.ifaces = cube.ingress.ifaces.intersection(&rest);
        cube.egress.ifaces = cube.egress.ifaces.intersection(&rest);
    }
    cube
}

/// The verb as it is written.
pub(super) fn word(verb: Verb) -> &'static str {
    match verb {
        Verb::Allow => "allow",
        Verb::Deny => "deny",
        Verb::Reject => "reject",
        Verb::Match => "match",
        Verb::Direct => "direct",
        Verb::Redirect => "redirect",
        Verb::Dnat => "dnat",
        Verb::Snat => "snat",
        Verb::Masquerade => "masquerade",
        Verb::Proxy => "proxy",
        Verb::Route => "route",
        Verb::Notrack => "notrack",
    }
}

/// What to do about a verb that the stage does not have; `None` when it has it.
fn wrong_stage(verb: Verb, stage: Stage) -> Option<&'static str> {
    use Stage::{Egress, Filter, Guard, Steer};
    use Verb::{
        Allow, Deny, Direct, Dnat, Masquerade, Match, Notrack, Proxy, Redirect, Reject, Route, Snat,
    };
    match (stage, verb) {
        (Guard, Allow | Deny | Match | Notrack)
        | (Steer, Direct | Redirect | Dnat | Proxy | Route | Deny | Match)
        | (Filter, Allow | Deny | Reject | Match)
        | (Egress, Masquerade | Snat | Direct | Match) => None,
        (Guard, Reject) => Some("guard does not answer: write `deny`, or reject in a section"),
        (Guard, _) => Some("guard has `allow`, `deny`, `match` and `notrack`"),
        (Steer, Allow) => {
            Some("write `direct … and allow`: the flow goes its way and skips filter")
        }
        (Steer, _) => {
            Some("steer has `direct`, `redirect`, `dnat`, `proxy`, `route`, `deny` and `match`")
        }
        (Filter, Direct | Redirect | Dnat | Proxy | Route) => {
            Some("this decides where a flow goes: write it in `steer { … }`")
        }
        (Filter, Snat | Masquerade) => Some("this rewrites the source: write it in `egress { … }`"),
        (Filter, _) => Some("a section has `allow`, `deny`, `reject` and `match`"),
        (Egress, Deny | Reject | Allow) => {
            Some("egress rewrites sources and refuses nothing: write this in a section")
        }
        (Egress, _) => Some("egress has `masquerade`, `snat`, `direct` and `match`"),
    }
}

/// Clauses that the verb does not have.
fn check_clauses(rule: &policy::Rule) -> Result<(), Diagnostic> {
    let clauses = &rule.clauses;
    let wrong = |span: Span, title: String| Err(Diagnostic::error(Code::WrongClause, title, span));
    let verb = word(rule.verb);
    if let Some(targets) = &clauses.targets
        && !matches!(rule.verb, Verb::Redirect | Verb::Dnat | Verb::Snat)
    {
        return wrong(targets.span, format!("`{verb}` has no target"));
    }
    match (clauses.via, rule.verb) {
        (Some(Via::Proxy(_, span)), verb) if verb != Verb::Proxy => {
            return wrong(span, format!("`{}` does not go via a proxy", word(verb)));
        }
        (Some(Via::Table(_, span)), verb) if verb != Verb::Route => {
            return wrong(
                span,
                format!("`{}` does not go via a routing table", word(verb)),
            );
        }
        _ => {}
    }
    if let Some((_, span)) = clauses.reject
        && rule.verb != Verb::Reject
    {
        return wrong(span, format!("`{verb}` does not answer"));
    }
    if let Some(span) = clauses.admit
        && matches!(rule.verb, Verb::Deny | Verb::Match)
    {
        return wrong(span, format!("`{verb}` does not let anything through"));
    }
    Ok(())
}
