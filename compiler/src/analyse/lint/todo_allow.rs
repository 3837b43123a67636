//! POL710

use std::collections::BTreeSet;

use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::ir::{Rule, Stage, Verdict};
use crate::source::Span;

lint! {
    /// A comment or a note says that a rule which lets something through is there for a time only, or
    /// not finished.
    ///
    /// Such rules stay. `expires 2028-03-31` has polc remind of it: the policy no longer compiles
    /// once the date has passed. A rule with `expires` or `review` is not reported.
    ///
    /// The words are `todo`, `fixme`, `xxx`, `hack`, `temporary`, `temporarily`, `workaround`.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow https
    ///   # TODO: close when the migration is done
    ///   allow rsync from 192.0.2.9
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow https
    ///   # Until the migration is done.
    ///   allow rsync from 192.0.2.9 expires 2028-03-31
    ///   default deny
    /// }
    /// ```
    pub(super) static LINT: "POL710" "todo-allow" Note, Default, Heuristic;
    "A comment says that an allow is for a time only."
}

const WORDS: &[&str] = &[
    "todo",
    "fixme",
    "xxx",
    "hack",
    "temporary",
    "temporarily",
    "workaround",
];

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    let file = cx.policy.file;
    let (text, syntax) = (cx.text(file), cx.syntax(file));
    let opening = cx.ir.rules().filter(|(stage, rule)| opens(*stage, rule));
    let opening: Vec<Span> = opening.map(|(_, rule)| rule.span).collect();
    let mut found = BTreeSet::new();
    for comment in syntax.comments.iter().filter(|c| is_todo(&c.text.node)) {
        let covered = syntax.covered(text, comment).unwrap_or_default();
        for place in covered {
            let rules = opening
                .iter()
                .filter(|rule| rule.file == file && place.start == rule.start);
            found.extend(rules.map(|rule| (rule.start, rule.end, comment.text.span.start)));
        }
    }
    let noted = cx.ir.rules().filter(|(stage, rule)| opens(*stage, rule));
    let noted =
        noted.filter(|(_, r)| r.span.file == file && r.note.as_deref().is_some_and(is_todo));
    found.extend(noted.map(|(_, rule)| (rule.span.start, rule.span.end, rule.span.start)));
    for (start, end, _) in found {
        let span = Span { file, start, end };
        if !is_dated(cx, span) {
            let title = "this is said to be for a time only";
            out.push(
                LINT.report(title, span)
                    .help("add `expires DATE`, or mend it"),
            );
        }
    }
}

fn opens(stage: Stage, rule: &Rule) -> bool {
    let allows = rule.verdict == Some(Verdict::Allow) && stage == Stage::Filter;
    allows || rule.admit
}

fn is_todo(text: &str) -> bool {
    let mut words = text.split(|c: char| !c.is_alphanumeric());
    let order = text
        .trim_start_matches('#')
        .trim_start()
        .starts_with("polc:");
    !order && words.any(|word| WORDS.contains(&word.to_lowercase().as_str()))
}

/// Whether the rule, or something around it, has a date.
fn is_dated(cx: &Context, span: Span) -> bool {
    use polc_grammar::ast::{Clause, Meta};
    let around = cx.around(span);
    let mut clauses = around.iter().flat_map(|node| &node.clauses);
    clauses.any(|c| matches!(c.node, Clause::Meta(Meta::Expires(_) | Meta::Review(_))))
}
