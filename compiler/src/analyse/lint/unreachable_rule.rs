//! POL101

use super::{Context, duplicate_rule, lint};
use crate::analyse::model::{Source, View};
use crate::analyse::reach::{RuleReach, Status};
use crate::diagnostic::{Diagnostic, Meta};
use crate::ir::{Rule, Verdict};

lint! {
    /// No packet comes to a rule: earlier rules that do the same take all that it means, alone or
    /// together.
    ///
    /// It does nothing, and who reads it believes that it does. If it was to make an exception, it
    /// stands too late; if an earlier rule was widened, it has been left behind.
    ///
    /// A rule that an equal one makes superfluous is a [duplicate](POL107.md), and one that is hidden by
    /// rules that do something else is [shadowed](POL103.md). A default that the rules of its block leave
    /// nothing to is no mistake.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow https from 192.0.2.0/25    as lower
    ///   allow https from 192.0.2.128/25  as upper
    ///   allow tcp/443 from 192.0.2.64-192.0.2.200
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow https from 192.0.2.0/25    as lower
    ///   allow https from 192.0.2.128/25  as upper
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Fix
    ///
    /// The rule is deleted, unless it stands in a template or a test counts on its name.
    pub(super) static LINT: "POL101" "unreachable-rule" Error, Default, Exact, fix;
    "Earlier rules that do the same leave a rule nothing."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    for (reach, rule) in hidden(cx).filter(|(reach, rule)| !is_opposed(cx, reach, rule)) {
        let Some(diagnostic) = report(cx, &LINT, reach, rule) else {
            continue;
        };
        let diagnostic =
            diagnostic.help("delete it, or put it before them if it was to do something else");
        let deletable = cx.is_own(rule.span)
            && !cx.is_shared(rule.span)
            && !duplicate_rule::is_tested(cx, rule);
        let fix = deletable.then(|| cx.delete(rule.span, "delete the rule"));
        out.push(match fix.flatten() {
            Some(fix) => diagnostic.fix(fix),
            None => diagnostic,
        });
    }
}

/// The rules that no packet comes to, but for those that are written twice.
pub(super) fn hidden<'c>(cx: &'c Context) -> impl Iterator<Item = (&'c RuleReach, &'c Rule)> {
    let rules = cx.reach().rules.iter();
    let hidden = rules.filter(|reach| reach.status == Status::Unreachable);
    let hidden = hidden.filter_map(|reach| Some((reach, reach.id.of(cx.ir)?)));
    hidden.filter(|(reach, rule)| {
        let first = reach.duplicate_of.and_then(|first| first.of(cx.ir));
        first.is_none_or(|first| !duplicate_rule::same(cx, first, rule))
    })
}

/// Whether one of what hides a rule does something else.
pub(super) fn is_opposed(cx: &Context, reach: &RuleReach, rule: &Rule) -> bool {
    reach.blockers.iter().any(|blocker| match blocker {
        Source::Rule(id) => id.of(cx.ir).is_some_and(|r| r.verdict != rule.verdict),
        Source::Fact(_) => rule.verdict != Some(Verdict::Allow),
    })
}

/// Says which rules hide one, and shows it with a packet; `None` when the interpreter disagrees.
pub(super) fn report(
    cx: &Context,
    lint: &'static Meta,
    reach: &RuleReach,
    rule: &Rule,
) -> Option<Diagnostic> {
    let hidden = |sample| cx.is_hidden(reach.id, sample);
    if !reach.sample.as_ref().is_none_or(hidden) {
        return None;
    }
    let blockers: Vec<String> = reach.blockers.iter().map(|b| name(cx, *b)).collect();
    let verb = if blockers.len() == 1 {
        "takes"
    } else {
        "together take"
    };
    let title = format!(
        "nothing comes to `{}`: {} {verb} every packet of it",
        rule.name,
        listed(&blockers)
    );
    let mut diagnostic = lint.report(title, rule.span);
    for blocker in reach.blockers.iter().filter_map(|b| of(cx, *b)) {
        diagnostic = diagnostic.related(
            blocker.span,
            format!("`{}` {}", blocker.name, does(blocker)),
        );
    }
    Some(way(cx, diagnostic, reach, rule))
}

/// The way of a packet that the rule means.
fn way(cx: &Context, diagnostic: Diagnostic, reach: &RuleReach, rule: &Rule) -> Diagnostic {
    let Some(sample) = &reach.sample else {
        return diagnostic;
    };
    let model = cx.model();
    let point = model.plain(sample);
    let mut blockers: Vec<_> = reach
        .blockers
        .iter()
        .filter_map(|b| match b {
            Source::Rule(id) => Some(*id),
            Source::Fact(_) => None,
        })
        .collect();
    blockers.sort_unstable();
    let view = View::of(reach.id.stage);
    let takes = blockers
        .into_iter()
        .find(|blocker| {
            let regions = model.rule(*blocker, view).unwrap_or_default();
            regions.iter().any(|region| region.contains(&point))
        })
        .and_then(|id| id.of(cx.ir));
    let Some(takes) = takes else {
        return diagnostic;
    };
    let example = cx.in_words(sample);
    diagnostic
        .step(
            takes.span,
            format!("{example}: `{}` {}", takes.name, does(takes)),
        )
        .step(rule.span, format!("`{}` is not asked", rule.name))
}

fn of<'c>(cx: &'c Context, source: Source) -> Option<&'c Rule> {
    match source {
        Source::Rule(id) => id.of(cx.ir),
        Source::Fact(_) => None,
    }
}

fn name(cx: &Context, source: Source) -> String {
    of(cx, source).map_or_else(
        || "what always passes".to_owned(),
        |rule| format!("`{}`", rule.name),
    )
}

/// What a rule does, in the third person.
pub(super) fn does(rule: &Rule) -> &'static str {
    match &rule.verdict {
        None => "decides nothing",
        Some(Verdict::Allow) => "allows it",
        Some(Verdict::Deny) => "denies it",
        Some(Verdict::Reject(_)) => "rejects it",
        Some(Verdict::Notrack) => "hands it on untracked",
        Some(Verdict::Direct) => "leaves it as it is",
        Some(Verdict::Redirect { .. }) => "redirects it",
        Some(Verdict::Dnat(_)) => "sends it to another address",
        Some(Verdict::Proxy(_)) => "hands it to a proxy",
        Some(Verdict::Route { .. }) => "sends it by another table",
        Some(Verdict::Snat(_) | Verdict::Masquerade) => "gives it another source",
    }
}

/// Names in a sentence: `a`, `b` and `c`.
pub(super) fn listed(names: &[String]) -> String {
    match names {
        [] => "what always passes".to_owned(),
        [one] => one.clone(),
        [most @ .., last] if names.len() <= 4 => format!("{} and {last}", most.join(", ")),
        [a, b, c, rest @ ..] => format!("{a}, {b}, {c} and {} more", rest.len()),
        [a, b] => format!("{a} and {b}"),
    }
}
