//! A code quality report as GitLab reads it.

use polc_compiler::diagnostic::Severity;
use serde::Serialize;

use super::{Checked, Identities, Place, message};

#[derive(Serialize)]
struct Issue {
    description: String,
    check_name: String,
    fingerprint: String,
    severity: &'static str,
    location: Location,
}

#[derive(Serialize)]
struct Location {
    path: String,
    lines: Lines,
}

#[derive(Serialize)]
struct Lines {
    begin: usize,
    end: usize,
}

pub(super) fn render(checked: &[Checked]) -> Result<String, serde_json::Error> {
    let mut identities = Identities::default();
    let mut issues = Vec::new();
    for checked in checked {
        for finding in checked.findings.iter().filter(|f| f.silence.is_none()) {
            let d = &finding.diagnostic;
            // A location is required: what stands in no file is said of the policy.
            let place = d.place().map(|p| Place::of(p, checked.sources()));
            let (path, begin, end) = place.map_or_else(
                || (checked.file(), 1, 1),
                |place| (place.file, place.line, place.end_line),
            );
            issues.push(Issue {
                description: format!("{}: {}", d.code.id(), message(d)),
                check_name: d.code.name().to_owned(),
                fingerprint: identities.id(&finding.fingerprint),
                severity: match d.severity {
                    Severity::Error => "major",
                    Severity::Warning => "minor",
                    Severity::Note => "info",
                },
                location: Location {
                    path,
                    lines: Lines { begin, end },
                },
            });
        }
    }
    serde_json::to_string_pretty(&issues).map(|text| text + "\n")
}
