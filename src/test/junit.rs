//! Results as `JUnit` has them, in XML.

use polc_compiler::inline::TestResult;
use polc_compiler::interpret::render;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::Tested;
use super::live::{Cell, Column};
use crate::exit::Error;

/// A suite for each policy, a case for each test. No times: what a test says does not depend on
/// them, and so the same results give the same text.
pub(super) fn report(all: &[Tested]) -> Result<String, Error> {
    let mut report = Report::new("polc");
    for tested in all {
        let mut suite = TestSuite::new(tested.path.clone());
        suite.add_test_cases(tested.results.iter().map(|test| case(tested, test)));
        report.add_test_suite(suite);
        report.add_test_suites(tested.columns.iter().map(|c| live(tested, c)));
    }
    report.to_string().map_err(|e| Error::environment(&e))
}

fn case(tested: &Tested, test: &TestResult) -> TestCase {
    let sources = &tested.session.compilation.sources;
    let mut texts = Vec::new();
    let mut message = None;
    for step in &test.steps {
        let Some(failure) = &step.failure else {
            continue;
        };
        let line = tested.line(step);
        let wrong = format!(
            "line {line}: expected {}, got {}",
            step.expected, failure.got
        );
        let help = failure.help.iter().cloned();
        let trace = failure.judged.iter();
        let trace = trace.map(|j| render(&j.decision, &tested.ir, sources, false));
        texts.push(
            std::iter::once(wrong.clone())
                .chain(help)
                .chain(trace)
                .collect::<Vec<_>>(),
        );
        message.get_or_insert(wrong);
    }
    let status = match message {
        None => TestCaseStatus::success(),
        Some(message) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(message);
            status.set_description(texts.concat().join("\n"));
            status
        }
    };
    let mut case = TestCase::new(test.title.clone(), status);
    case.set_classname(tested.path.clone());
    case.set_assertions(test.steps.len());
    case
}

/// A suite for a target.
fn live(tested: &Tested, column: &Column) -> TestSuite {
    let name = format!("{} ({})", tested.path, column.target);
    let mut suite = TestSuite::new(name.clone());
    for (test, cells) in tested.results.iter().zip(&column.tests) {
        let (mut failed, mut untried) = (Vec::new(), Vec::new());
        for (step, cell) in test.steps.iter().zip(cells) {
            let line = tested.line(step);
            match cell {
                Cell::Passed => {}
                Cell::Failed(reason) => {
                    failed.push(format!("line {line}: expected {}: {reason}", step.expected));
                }
                Cell::Untried(reason) => untried.push(format!("line {line}: {reason}")),
            }
        }
        let mut status = match failed.first() {
            Some(first) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(first.clone());
                status
            }
            None if untried.is_empty() => TestCaseStatus::success(),
            None => TestCaseStatus::skipped(),
        };
        failed.extend(untried.into_iter().map(|u| format!("not played: {u}")));
        if !failed.is_empty() {
            status.set_description(failed.join("\n"));
        }
        let mut case = TestCase::new(test.title.clone(), status);
        case.set_classname(name.clone());
        case.set_assertions(test.steps.len());
        suite.add_test_case(case);
    }
    suite
}
