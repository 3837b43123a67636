//! Failed steps as diagnostics.

use super::{StepResult, TestResult};
use crate::diagnostic::{Code, Diagnostic};
use crate::interpret::render;
use crate::ir::Ir;
use crate::source::SourceMap;

/// The diagnostic of a failed step; `None` when it did not fail. Its help ends in the trace of the
/// packet that failed.
pub fn diagnostic(
    ir: &Ir,
    sources: &SourceMap,
    test: &TestResult,
    step: &StepResult,
) -> Option<Diagnostic> {
    let failure = step.failure.as_ref()?;
    let title = format!("test `{}` failed", test.title);
    let label = match &failure.judged {
        Some(_) => format!("expected {}, got {}", step.expected, failure.got),
        None => failure.got.clone(),
    };
    let mut diagnostic = Diagnostic::error(Code::TestFailed, title, step.span).at(label);
    if let Some(rule) = failure.by.and_then(|id| id.of(ir)) {
        diagnostic = diagnostic.and(rule.span, "this rule decides");
    }
    let trace = failure.judged.as_ref().map(|j| {
        let trace = render(&j.decision, ir, sources, false);
        format!("how it was judged: {}", trace.trim_end())
    });
    let help: Vec<String> = failure.help.iter().cloned().chain(trace).collect();
    if help.is_empty() {
        return Some(diagnostic);
    }
    Some(diagnostic.help(help.join("\n")))
}
