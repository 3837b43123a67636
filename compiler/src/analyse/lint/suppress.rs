//! Silences findings that a comment answers for, and judges those comments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use polc_grammar::ast;

use super::directive::{self, Directive, Mistake};
use super::syntax::Syntax;
use super::{Context, Meta, Rule, bad_suppression, suppression_without_reason, unused_suppression};
use crate::diagnostic::{Code, Diagnostic, Edit, Fix};
use crate::source::{FileId, Span};

/// A finding that a comment has silenced.
#[derive(Clone, Debug)]
pub struct Suppressed {
    /// What was found.
    pub finding: Diagnostic,
    /// Why it may stay.
    pub reason: Option<String>,
    /// The comment.
    pub comment: Span,
}

/// A comment that silences, with what it covers and what it has silenced.
struct Suppression {
    comment: Span,
    directive: Directive,
    /// The statements it speaks of; `None` for the whole file.
    scope: Option<Vec<ast::Span>>,
    expired: bool,
    used: BTreeSet<&'static Meta>,
}

/// Takes out of `findings` what comments answer for, and adds what is wrong with the comments of the
/// policy's own file.
pub(super) fn suppress(cx: &Context, findings: &mut Vec<Diagnostic>) -> Vec<Suppressed> {
    let mut problems = Vec::new();
    let mut files = BTreeMap::new();
    let own = cx.policy.file;
    files.insert(own, read(cx, own, &mut problems));
    let mut silenced = Vec::new();
    for finding in std::mem::take(findings) {
        let file = finding.place().map_or(own, |place| place.file);
        // What is wrong with the comments of another file is said where that file is the policy.
        let comments = files
            .entry(file)
            .or_insert_with(|| read(cx, file, &mut Vec::new()));
        match comments.iter_mut().find_map(|s| s.answer(cx, &finding)) {
            Some((reason, comment)) => silenced.push(Suppressed {
                finding,
                reason,
                comment,
            }),
            None => findings.push(finding),
        }
    }
    if cx.has_blocks() {
        let comments = files.get(&own).into_iter().flatten();
        problems.extend(comments.filter_map(|s| unused(cx, s)));
    }
    problems.retain_mut(|problem| cx.settings.admits(problem));
    findings.extend(problems);
    silenced
}

impl Suppression {
    /// The reason and the comment, if it silences the finding.
    fn answer(&mut self, cx: &Context, finding: &Diagnostic) -> Option<(Option<String>, Span)> {
        let mut codes = self.directive.codes.iter();
        let (meta, _) = codes.find(|(meta, _)| meta.id == finding.code.id())?;
        let covered = match (&self.scope, finding.place()) {
            (Some(spans), Some(place)) => spans
                .iter()
                .any(|s| s.start <= place.start && place.start < s.end),
            (scope, _) => scope.is_none(),
        };
        if !covered || self.expired || !silenceable(cx, meta) {
            return None;
        }
        self.used.insert(meta);
        Some((self.directive.reason.clone(), self.comment))
    }
}

/// Whether a comment can silence the code at all.
fn silenceable(cx: &Context, meta: &'static Meta) -> bool {
    let about_comments = [
        &bad_suppression::PAGE,
        &suppression_without_reason::PAGE,
        &unused_suppression::PAGE,
    ];
    !about_comments.contains(&meta) && !cx.settings.never_suppress.contains(&Rule(meta))
}

/// The comments of a file that silence; what is wrong with them is added to `problems`.
fn read(cx: &Context, file: FileId, problems: &mut Vec<Diagnostic>) -> Vec<Suppression> {
    if !cx.text(file).contains("polc:") {
        return Vec::new();
    }
    let syntax: Arc<Syntax> = cx.syntax(file);
    let mut out = Vec::new();
    for comment in &syntax.comments {
        let within = |range: std::ops::Range<usize>| {
            let start = comment.text.span.start as usize;
            let span = ast::Span::new(start + range.start, start + range.end);
            Span::new(file, span)
        };
        let span = Span::new(file, comment.text.span);
        match directive::parse(&comment.text.node) {
            None => {}
            Some(Err(Mistake { what, at })) => {
                let at = if at.is_empty() { span } else { within(at) };
                let help = "write `# polc: allow(POL401, reason=\"why\")`";
                problems.push(bad_suppression::PAGE.report(what, at).help(help));
            }
            Some(Ok(directive)) => {
                for (meta, at) in &directive.codes {
                    if !silenceable(cx, meta) {
                        let title = format!("`{}` cannot be silenced by a comment", meta.id);
                        let help = "mend what it found, or ask who keeps `polc.yaml`";
                        let finding = bad_suppression::PAGE.report(title, within(at.clone()));
                        problems.push(finding.help(help));
                    }
                }
                problems.extend(without_reason(&directive, span));
                let expired = expired(cx, &directive, span);
                out.push(Suppression {
                    scope: syntax.covered(cx.text(file), comment),
                    comment: span,
                    directive,
                    expired: expired.is_some(),
                    used: BTreeSet::new(),
                });
                problems.extend(expired);
            }
        }
    }
    out
}

fn without_reason(directive: &Directive, comment: Span) -> Option<Diagnostic> {
    let help = "say why it may stay: `reason=\"…\"`";
    let title = "this silences a finding without a reason";
    let page = &suppression_without_reason::PAGE;
    let unsaid = directive.reason.is_none();
    unsaid.then(|| page.report(title, comment).help(help))
}

fn expired(cx: &Context, directive: &Directive, comment: Span) -> Option<Diagnostic> {
    let until = directive.until?.to_string();
    // Dates as text are in order of time.
    (until < cx.ir.as_of).then(|| {
        let title = format!("this silenced findings until {until}");
        let help = "mend what it hides, or give it a new date";
        Diagnostic::error(Code::Expired, title, comment).help(help)
    })
}

/// A finding about the codes for which the comment has silenced nothing.
fn unused(cx: &Context, suppression: &Suppression) -> Option<Diagnostic> {
    let idle = |meta: &'static Meta| {
        cx.settings.wants(meta) && silenceable(cx, meta) && !suppression.used.contains(meta)
    };
    let codes = &suppression.directive.codes;
    let (unused, rest): (Vec<_>, Vec<_>) = codes.iter().partition(|(meta, _)| idle(meta));
    if unused.is_empty() || suppression.expired {
        return None;
    }
    let names: Vec<String> = unused.iter().map(|(m, _)| format!("`{}`", m.id)).collect();
    let title = format!("{} is not found here", names.join(", "));
    let edit = if rest.is_empty() {
        cx.cut(suppression.comment)
    } else {
        without(cx, suppression, &unused)?
    };
    let fix = Fix {
        safe: true,
        title: "take it out of the comment".to_owned(),
        edits: vec![edit],
    };
    let finding = unused_suppression::PAGE.report(title, suppression.comment);
    let help = "take it out: it would hide what comes later";
    Some(finding.help(help).fix(fix))
}

/// The comment's arguments without some codes.
fn without(
    cx: &Context,
    suppression: &Suppression,
    unused: &[&(&'static Meta, std::ops::Range<usize>)],
) -> Option<Edit> {
    let Span { file, start, end } = suppression.comment;
    let text = cx.text(file).get(start as usize..end as usize)?;
    let arguments = &suppression.directive.arguments;
    let kept = arguments
        .iter()
        .filter(|at| !unused.iter().any(|(_, gone)| gone == *at));
    let kept: Vec<&str> = kept.filter_map(|at| text.get(at.clone())).collect();
    let (first, last) = (arguments.first()?, arguments.last()?);
    let start = start as usize;
    let span = ast::Span::new(start + first.start, start + last.end);
    Some(Edit {
        span: Span::new(file, span),
        text: kept.join(", "),
    })
}
