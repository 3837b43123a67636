//! Diagnostics for programs.

use serde::Serialize;

use super::{Diagnostic, Label, Severity};
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

/// The diagnostics of some compilations as one JSON object: `{"diagnostics": [{code, name,
/// severity, message, help, labels: [{file, line, column, start, end, message}]}]}`. Lines and
/// columns count from 1, offsets are bytes.
pub fn render<'a>(
    parts: impl Iterator<Item = (&'a [Diagnostic], &'a SourceMap)>,
) -> Result<String, serde_json::Error> {
    let entries = parts.flat_map(|(found, sources)| found.iter().map(move |d| entry(d, sources)));
    serde_json::to_string_pretty(&Report {
        diagnostics: entries.collect(),
    })
}

fn entry<'a>(diagnostic: &'a Diagnostic, sources: &'a SourceMap) -> Entry<'a> {
    let place = |label: &'a Label| {
        let (line, column) = sources.position(label.span);
        Place {
            file: sources.get(label.span.file).map_or("", |s| &s.name),
            line,
            column,
            start: label.span.start,
            end: label.span.end,
            message: &label.text,
        }
    };
    Entry {
        code: diagnostic.code.id(),
        name: diagnostic.code.name(),
        severity: diagnostic.severity,
        message: &diagnostic.title,
        help: diagnostic.help.as_deref(),
        labels: diagnostic.labels.iter().map(place).collect(),
    }
}
