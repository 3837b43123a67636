//! Diagnostics for programs.

use serde::Serialize;

use super::{Diagnostic, Edit, Label, Severity};
use crate::source::{SourceMap, Span};

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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related: Vec<Place<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    flow: Vec<Place<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    notes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<Mend<'a>>,
}

#[derive(Serialize)]
struct Mend<'a> {
    title: &'a str,
    safe: bool,
    edits: Vec<Change<'a>>,
}

#[derive(Serialize)]
struct Change<'a> {
    file: &'a str,
    start: u32,
    end: u32,
    text: &'a str,
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
/// severity, message, help, labels: [{file, line, column, start, end, message}], related, flow,
/// notes, fix: {title, safe, edits: [{file, start, end, text}]}}]}`. Lines and columns count from 1,
/// offsets are bytes; `related` and `flow` hold places like `labels`. What is empty is left out,
/// but for `labels`.
pub fn render<'a>(
    parts: impl Iterator<Item = (&'a [Diagnostic], &'a SourceMap)>,
) -> Result<String, serde_json::Error> {
    let entries = parts.flat_map(|(found, sources)| found.iter().map(move |d| entry(d, sources)));
    serde_json::to_string_pretty(&Report {
        diagnostics: entries.collect(),
    })
}

fn entry<'a>(diagnostic: &'a Diagnostic, sources: &'a SourceMap) -> Entry<'a> {
    let file = |span: Span| sources.get(span.file).map_or("", |s| &*s.name);
    let place = |span: Span, message: &'a str| {
        let (line, column) = sources.position(span);
        Place {
            file: file(span),
            line,
            column,
            start: span.start,
            end: span.end,
            message,
        }
    };
    let places = |labels: &'a [Label]| labels.iter().map(|l| place(l.span, &l.text)).collect();
    let change = |edit: &'a Edit| Change {
        file: file(edit.span),
        start: edit.span.start,
        end: edit.span.end,
        text: &edit.text,
    };
    Entry {
        code: diagnostic.code.id(),
        name: diagnostic.code.name(),
        severity: diagnostic.severity,
        message: &diagnostic.title,
        help: diagnostic.help.as_deref(),
        labels: places(&diagnostic.labels),
        related: places(&diagnostic.related),
        flow: diagnostic
            .flow
            .iter()
            .map(|step| place(step.span, &step.text))
            .collect(),
        notes: &diagnostic.notes,
        fix: diagnostic.fix.as_ref().map(|fix| Mend {
            title: &fix.title,
            safe: fix.safe,
            edits: fix.edits.iter().map(change).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::tests::full;

    #[test]
    fn all_of_it_is_there() {
        let (diagnostic, sources) = full();
        let parts = [(std::slice::from_ref(&diagnostic), &sources)];
        let json = render(parts.into_iter()).expect("JSON");
        insta::assert_snapshot!(json, @r#"
        {
          "diagnostics": [
            {
              "code": "POL102",
              "name": "unmatchable-rule",
              "severity": "warning",
              "message": "never",
              "labels": [
                {
                  "file": "a.pol",
                  "line": 2,
                  "column": 1,
                  "start": 8,
                  "end": 13
                }
              ],
              "related": [
                {
                  "file": "a.pol",
                  "line": 1,
                  "column": 1,
                  "start": 0,
                  "end": 5,
                  "message": "takes all of it"
                },
                {
                  "file": "b.pol",
                  "line": 1,
                  "column": 1,
                  "start": 0,
                  "end": 5,
                  "message": "takes some of it"
                }
              ],
              "flow": [
                {
                  "file": "a.pol",
                  "line": 1,
                  "column": 1,
                  "start": 0,
                  "end": 5,
                  "message": "`a` does not hold"
                },
                {
                  "file": "b.pol",
                  "line": 1,
                  "column": 1,
                  "start": 0,
                  "end": 5,
                  "message": "`c` denies it"
                }
              ],
              "notes": [
                "b is the last letter"
              ],
              "fix": {
                "title": "delete it",
                "safe": false,
                "edits": []
              }
            }
          ]
        }
        "#);
    }
}
