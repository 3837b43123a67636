//! A flow from the command line.

use polc_compiler::diagnostic::{Code, Diagnostic, syntax};
use polc_compiler::inline::{Bench, Case};
use polc_compiler::source::{FileId, SourceMap, Span};
use polc_grammar::ast::{Flow, Item, Qualifier, Spanned, Test, TestStep};
use polc_grammar::span::Span as TextSpan;
use polc_grammar::{SyntaxError, parse as parse_policy};

/// What the text is put between to be a policy.
const BEFORE: &str = "test \"\" { allow ";
/// A comment in the text ends with its line.
const BEHIND: &str = "\n}";

/// A flow and its qualifiers.
pub(super) type Given = (Flow, Vec<Spanned<Qualifier>>);

/// The text as diagnostics see it.
pub(super) fn sources(text: &str) -> SourceMap {
    let mut sources = SourceMap::default();
    sources.add("flow", text);
    sources
}

/// Reads a flow. Its places count from the beginning of the wrapped text.
pub(super) fn parse(text: &str) -> Result<Given, Vec<Diagnostic>> {
    let whole = |message: &str| {
        let end = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let span = Span {
            file: FileId::default(),
            start: 0,
            end,
        };
        vec![Diagnostic::error(Code::Syntax, message, span)]
    };
    let parsed = parse_policy(&format!("{BEFORE}{text}{BEHIND}"));
    if !parsed.errors.is_empty() {
        let shift = |error: SyntaxError| SyntaxError {
            span: inside(error.span, text),
            ..error
        };
        let errors = parsed.errors.into_iter();
        return Err(errors
            .map(|e| syntax(shift(e), FileId::default()))
            .collect());
    }
    let step = match parsed.file.items.as_slice() {
        [
            Spanned {
                node: Item::Test(Test { steps, .. }),
                ..
            },
        ] => match steps.as_slice() {
            [step] => &step.node,
            _ => return Err(whole("this is more than one flow")),
        },
        _ => return Err(whole("this is more than a flow")),
    };
    let TestStep::Expect {
        flow, qualifiers, ..
    } = step
    else {
        return Err(whole("this is no flow"));
    };
    let expects = |q: &&Spanned<Qualifier>| {
        matches!(
            q.node,
            Qualifier::Target(_) | Qualifier::Via(_) | Qualifier::Rule(_)
        )
    };
    if let Some(qualifier) = qualifiers.iter().find(expects) {
        let span = Span::new(FileId::default(), inside(qualifier.span, text));
        let message = "a trace expects nothing: it shows what happens";
        return Err(vec![Diagnostic::error(Code::BadExpectation, message, span)]);
    }
    Ok((flow.clone(), qualifiers.clone()))
}

/// The packets that a flow means.
pub(super) fn cases(
    bench: &Bench<'_>,
    text: &str,
    given: &Given,
) -> Result<Vec<Case>, Vec<Diagnostic>> {
    let (flow, qualifiers) = given;
    bench.cases(flow, qualifiers).map_err(|problem| {
        let span = Span::new(FileId::default(), inside(problem.span, text));
        let diagnostic = Diagnostic::error(Code::BadExpectation, problem.message, span);
        vec![match problem.help {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        }]
    })
}

/// A place of the wrapped text, in the text itself.
fn inside(span: TextSpan, text: &str) -> TextSpan {
    let shift = |at: u32| {
        let at = (at as usize).saturating_sub(BEFORE.len()).min(text.len());
        u32::try_from(at).unwrap_or(u32::MAX)
    };
    TextSpan {
        start: shift(span.start),
        end: shift(span.end),
    }
}
