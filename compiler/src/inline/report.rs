//! Failed steps as diagnostics.

use super::{StepResult, TestResult, run};
use crate::diagnostic::{Code, Diagnostic};
use crate::interpret::render;
use crate::ir::Ir;
use crate::policy::Policy;
use crate::resolve::Options;
use crate::source::SourceMap;

/// The diagnostics of all failed steps of all tests of a policy. `options` are those with which it
/// was compiled.
pub fn check(policy: &Policy, ir: &Ir, sources: &SourceMap, options: &Options) -> Vec<Diagnostic> {
    let results = run(policy, ir, options);
    let steps = results
        .iter()
        .flat_map(|t| t.steps.iter().map(move |s| (t, s)));
    steps
        .filter_map(|(test, step)| diagnostic(ir, sources, test, step))
        .collect()
}

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
    let mut diagnostic = Diagnostic::error(Code::TestFailed, title, failure.span).at(label);
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
