//! Workflow commands that GitHub shows as annotations at the lines of a change.
//!
//! It shows ten of each level for a step and drops the others, so that those go into the step's
//! summary, whose file is named by `GITHUB_STEP_SUMMARY`.

use std::fmt::Write as _;
use std::io::Write as _;

use polc_compiler::diagnostic::{Diagnostic, Severity};

use super::{Checked, Place, message};
use crate::exit::Error;

/// Annotations of one level that are shown.
const SHOWN: usize = 10;

pub(super) fn render(checked: &[Checked]) -> Result<String, Error> {
    let mut out = String::new();
    let mut rest = Vec::new();
    for severity in [Severity::Error, Severity::Warning, Severity::Note] {
        let active = checked.iter().flat_map(|c| c.active().map(move |d| (c, d)));
        let active = active.filter(|(_, d)| d.severity == severity);
        for (number, (checked, diagnostic)) in active.enumerate() {
            let place = diagnostic.place().map(|p| Place::of(p, checked.sources()));
            if number < SHOWN {
                out.push_str(&annotation(diagnostic, place.as_ref()));
            } else {
                rest.push(row(diagnostic, place.as_ref()));
            }
        }
    }
    if !rest.is_empty() {
        summarise(&rest, &mut out)?;
    }
    Ok(out)
}

fn annotation(diagnostic: &Diagnostic, place: Option<&Place>) -> String {
    let level = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "notice",
    };
    let mut properties = Vec::new();
    if let Some(place) = place {
        properties.push(format!("file={}", property(&place.file)));
        properties.push(format!("line={},col={}", place.line, place.column));
        properties.push(format!("endLine={}", place.end_line));
        // Columns are shown within one line only.
        if place.line == place.end_line {
            properties.push(format!("endColumn={}", place.end_column));
        }
    }
    let code = diagnostic.code;
    let title = format!("{} {}", code.id(), code.name());
    properties.push(format!("title={}", property(&title)));
    let text = data(&message(diagnostic));
    format!("::{level} {}::{text}\n", properties.join(","))
}

/// A line of the summary's table.
fn row(diagnostic: &Diagnostic, place: Option<&Place>) -> String {
    let place = place
        .map(|p| format!("{}:{}", p.file, p.line))
        .unwrap_or_default();
    let title = diagnostic.title.replace('|', "\\|");
    let (severity, code) = (diagnostic.severity.name(), diagnostic.code.id());
    format!("| {severity} | {code} | {place} | {title} |\n")
}

/// Writes what is not annotated into the step's summary; without one, says how much there is.
fn summarise(rows: &[String], out: &mut String) -> Result<(), Error> {
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|p| !p.is_empty()) else {
        let _ = writeln!(
            out,
            "::notice title=polc::{} more findings are not shown",
            rows.len()
        );
        return Ok(());
    };
    let head = "## polc\n\n| severity | code | place | finding |\n|---|---|---|---|\n";
    let text = format!("{head}{}\n", rows.concat());
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|e| Error::environment(&e))
}

/// A message as a command carries it.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// The value of a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_separates_is_escaped() {
        assert_eq!(data("a\n100%: b,c"), "a%0A100%25: b,c");
        assert_eq!(property("a:b,c"), "a%3Ab%2Cc");
    }
}
