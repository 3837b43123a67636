//! `JUnit` XML: a suite for each policy, a failed case for each finding.

use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::{Checked, Place, message};

pub(super) fn render(checked: &[Checked]) -> Result<String, SerializeError> {
    let mut report = Report::new("polc");
    for checked in checked {
        let file = checked.file();
        let mut suite = TestSuite::new(file.as_str());
        for d in checked.active() {
            let place = d.place().map(|p| Place::of(p, checked.sources()));
            let place = place.map_or_else(
                || file.clone(),
                |p| format!("{}:{}:{}", p.file, p.line, p.column),
            );
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_type(format!("{} {}", d.severity.name(), d.code.id()));
            status.set_message(d.title.as_str());
            status.set_description(format!("{place}\n{}", message(d)));
            let name = format!("{} {} {place}", d.code.id(), d.code.name());
            let mut case = TestCase::new(name, status);
            case.set_classname(file.as_str());
            suite.add_test_case(case);
        }
        if suite.test_cases.is_empty() {
            let mut case = TestCase::new("no findings", TestCaseStatus::success());
            case.set_classname(file.as_str());
            suite.add_test_case(case);
        }
        report.add_test_suite(suite);
    }
    report.to_string()
}
