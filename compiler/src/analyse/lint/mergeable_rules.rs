//! POL108

use polc_grammar::ast::{Clause, Ends, Item, Rule, Spanned, Stmt, Verb};

use super::{Context, duplicate_rule, lint};
use crate::diagnostic::{Diagnostic, Edit, Fix};
use crate::source::Span;

lint! {
    /// Neighbouring rules differ in nothing but their services, their sources or their destinations:
    /// they could be one rule with a list.
    ///
    /// One rule is read at once, and one change to it changes all of it. Of several, somebody adds a
    /// condition to two and forgets the third.
    ///
    /// Rules with names, rates, counters or log entries of their own are left alone.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// policy web owner sre
    ///
    /// to host {
    ///   allow tcp/80
    ///   allow tcp/443
    ///   allow udp/443
    ///   default deny
    /// }
    ///
    /// ensure allow tcp/80 to host
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// policy web owner sre
    ///
    /// to host {
    ///   allow tcp/80, tcp/443, udp/443
    ///   default deny
    /// }
    ///
    /// ensure allow tcp/80 to host
    /// ```
    ///
    /// ## Fix
    ///
    /// The first rule gets the list, and the others are deleted, where no test names one of them.
    pub(super) static LINT: "POL108" "mergeable-rules" Note, Strict, Syntactic, fix;
    "Neighbouring rules could be one."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let syntax = cx.syntax(cx.policy.file);
    for item in &syntax.items {
        match &item.node {
            Item::Section(section) => body(cx, &section.body, out),
            Item::Guard(guard) => body(cx, &guard.body, out),
            Item::Steer(stmts) | Item::Egress(stmts) => body(cx, stmts, out),
            _ => {}
        }
    }
}

/// In what neighbours differ.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Differ {
    Services,
    Sources,
    Destinations,
}

/// A rule and its place.
type Placed<'s> = (&'s Rule, polc_grammar::span::Span);

/// Looks for runs of rules that differ in the same thing.
fn body(cx: &Context, stmts: &[Spanned<Stmt>], out: &mut Vec<Diagnostic>) {
    let mut run: Vec<Placed> = Vec::new();
    let mut differ = None;
    for stmt in stmts {
        let rule = match &stmt.node {
            Stmt::Rule(rule) => rule,
            other => {
                end(cx, &mut run, differ, out);
                // A rate or counter of a group is one for each rule inside.
                if let Stmt::Group(group) = other
                    && !group.clauses.iter().any(|c| is_own(&c.node))
                {
                    body(cx, &group.body, out);
                }
                continue;
            }
        };
        let last = run.last().and_then(|(last, _)| difference(cx, last, rule));
        if last.is_none() || run.len() > 1 && last != differ {
            end(cx, &mut run, differ, out);
        }
        differ = last;
        run.push((rule, stmt.span));
    }
    end(cx, &mut run, differ, out);
}

/// Whether a clause would be another one in a rule for all.
fn is_own(clause: &Clause) -> bool {
    matches!(
        clause,
        Clause::As(_) | Clause::Limit(..) | Clause::Log { .. } | Clause::Count | Clause::Add(_)
    )
}

/// In what two rules differ, if it is one list.
fn difference(cx: &Context, a: &Rule, b: &Rule) -> Option<Differ> {
    let own = |rule: &Rule| rule.clauses.iter().any(|c| is_own(&c.node));
    let verbs = [Verb::Allow, Verb::Deny, Verb::Reject, Verb::Direct];
    if a.verb.node != b.verb.node || !verbs.contains(&a.verb.node) || own(a) || own(b) {
        return None;
    }
    let (services_a, services_b) = (services(cx, a), services(cx, b));
    if clauses(cx, a, |_| true) == clauses(cx, b, |_| true) {
        let named = !services_a.is_empty() && !services_b.is_empty();
        return (named && services_a != services_b).then_some(Differ::Services);
    }
    if services_a != services_b {
        return None;
    }
    [Differ::Sources, Differ::Destinations]
        .into_iter()
        .find(|differ| {
            let rest = |clause: &Clause| ends(clause, *differ).is_none();
            list(a, *differ).is_some()
                && list(b, *differ).is_some()
                && clauses(cx, a, rest) == clauses(cx, b, rest)
        })
}

/// The ends of a clause that says where from, or where to.
fn ends(clause: &Clause, differ: Differ) -> Option<&Ends> {
    match (clause, differ) {
        (Clause::From(ends), Differ::Sources) | (Clause::To(ends), Differ::Destinations) => {
            Some(ends)
        }
        _ => None,
    }
}

/// The one list of a rule that can be joined with another one.
fn list(rule: &Rule, differ: Differ) -> Option<polc_grammar::span::Span> {
    if differ == Differ::Services {
        return across(rule.services.iter().map(|s| s.span));
    }
    let mut all = rule.clauses.iter().filter_map(|c| ends(&c.node, differ));
    let one = all
        .next()
        .filter(|ends| !ends.not && all.next().is_none())?;
    across(one.list.iter().map(|end| end.span))
}

fn across(
    mut spans: impl Iterator<Item = polc_grammar::span::Span>,
) -> Option<polc_grammar::span::Span> {
    let first = spans.next()?;
    let last = spans.last().unwrap_or(first);
    Some(polc_grammar::span::Span {
        start: first.start,
        end: last.end,
    })
}

fn text<'a>(cx: &Context<'a>, span: polc_grammar::span::Span) -> &'a str {
    cx.text(cx.policy.file)
        .get(span.range())
        .unwrap_or_default()
}

fn services<'a>(cx: &Context<'a>, rule: &Rule) -> Vec<&'a str> {
    rule.services.iter().map(|s| text(cx, s.span)).collect()
}

/// The texts of some of a rule's clauses, whatever their order.
fn clauses<'a>(cx: &Context<'a>, rule: &Rule, which: impl Fn(&Clause) -> bool) -> Vec<&'a str> {
    let some = rule.clauses.iter().filter(|c| which(&c.node));
    let mut texts: Vec<&str> = some.map(|c| text(cx, c.span)).collect();
    texts.sort_unstable();
    texts
}

/// Reports a run of rules, if it is one, and begins anew.
fn end(cx: &Context, run: &mut Vec<Placed>, differ: Option<Differ>, out: &mut Vec<Diagnostic>) {
    let run = std::mem::take(run);
    let (Some(((first, _), others)), Some(differ)) = (run.split_first(), differ) else {
        return;
    };
    if others.is_empty() {
        return;
    }
    let what = match differ {
        Differ::Services => "services",
        Differ::Sources => "sources",
        Differ::Destinations => "destinations",
    };
    let place = |span| Span::new(cx.policy.file, span);
    let title = format!("these {} rules differ in their {what} only", run.len());
    let mut diagnostic = LINT
        .report(title, place(first.verb.span))
        .help(format!("make it one rule with a list of {what}"));
    for (rule, _) in others {
        diagnostic = diagnostic.and(place(rule.verb.span), "");
    }
    let spans: Vec<Span> = run.iter().map(|(rule, _)| place(rule.verb.span)).collect();
    let mut rules = cx.ir.rules().filter(|(_, rule)| spans.contains(&rule.span));
    let tested = rules.any(|(_, rule)| duplicate_rule::is_tested(cx, rule));
    let fix = join(cx, first, others, differ).filter(|_| !tested);
    out.push(match fix {
        Some(fix) => diagnostic.fix(fix),
        None => diagnostic,
    });
}

fn join(cx: &Context, first: &Rule, others: &[Placed], differ: Differ) -> Option<Fix> {
    let file = cx.policy.file;
    let end = list(first, differ)?.end;
    let more: Option<Vec<&str>> = others
        .iter()
        .map(|(rule, _)| Some(text(cx, list(rule, differ)?)))
        .collect();
    let at = polc_grammar::span::Span { start: end, end };
    let mut edits = vec![Edit {
        span: Span::new(file, at),
        text: format!(", {}", more?.join(", ")),
    }];
    edits.extend(
        others
            .iter()
            .map(|(_, span)| cx.cut(Span::new(file, *span))),
    );
    Some(Fix {
        safe: true,
        title: "make them one rule".to_owned(),
        edits,
    })
}
