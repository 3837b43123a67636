//! Diagnostics for programs.

use serde::Serialize;

use super::{Diagnostic, Severity};
use crate::source::SourceMap;

#[derive(Serialize)]
struct Report<'a> {
    diagnostics: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    code: &'static str,
    name: &'static str,
    severity: Severity,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
    labels: Vec<Place<'a>>,
}

#[derive(Serialize)]
struct Place<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    start: u32,
    end: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
}

/// The diagnostics as one JSON object: `{"diagnostics": [{code, name, severity, message, help,
/// labels: [{file, line, column, start, end, message}]}]}`. Lines and columns count from 1,
/// offsets are bytes.
pub fn render(
    diagnostics: &[Diagnostic],
    sources: &SourceMap,
) -> Result<String, serde_json::Error> {
    let entries = diagnostics.iter().map(|d| Entry {
        code: d.code.id(),
        name: d.code.name(),
        severity: d.severity,
        message: &d.title,
        help: d.help.as_deref(),
        labels: d
            .labels
            .iter()
            .map(|l| {
                let (line, column) = sources.position(l.span);
                Place {
                    file: sources.get(l.span.file).map_or("", |s| &s.name),
                    line,
                    column,
                    start: l.span.start,
                    end: l.span.end,
                    message: &l.text,
                }
            })
            .collect(),
    });
    serde_json::to_string_pretty(&Report {
        diagnostics: entries.collect(),
    })
}
