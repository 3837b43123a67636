//! Diagnostics for a terminal.

use std::fmt::{self, Write as _};
use std::ops::Range;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    SourceCode, SourceSpan, SpanContents,
};

use super::{Diagnostic, Severity};
use crate::source::SourceMap;

/// How to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// With colours and line-drawing characters.
    pub colour: bool,
    /// Columns of the terminal.
    pub width: usize,
}

/// Draws one diagnostic with the lines of source it is about.
pub fn render(diagnostic: &Diagnostic, sources: &SourceMap, style: Style) -> String {
    let theme = if style.colour {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_links(false)
        .with_width(style.width)
        // Names with dashes are copied: they stay in one piece.
        .with_word_splitter(textwrap::WordSplitter::NoHyphenation)
        .with_context_lines(0);
    let mut out = String::new();
    // Writing to a `String` cannot fail; a span outside its text prints without the source.
    let _ = handler.render_report(
        &mut out,
        &Report {
            diagnostic,
            sources,
        },
    );
    if let Some(help) = extra_places(diagnostic, sources) {
        let _ = writeln!(out, "{help}");
    }
    out
}

/// Labels that lie in other files than the first, as `file:line: text`.
fn extra_places(diagnostic: &Diagnostic, sources: &SourceMap) -> Option<String> {
    let first = diagnostic.labels.first()?.span.file;
    let others = diagnostic.labels.iter().filter(|l| l.span.file != first);
    let lines: Vec<String> = others
        .map(|l| format!("  at {}: {}", sources.describe(l.span), l.text))
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// A diagnostic as `miette` wants it.
#[derive(Debug)]
struct Report<'a> {
    diagnostic: &'a Diagnostic,
    sources: &'a SourceMap,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.title)
    }
}

impl std::error::Error for Report<'_> {}

impl miette::Diagnostic for Report<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let code = self.diagnostic.code;
        Some(Box::new(format!("{} {}", code.id(), code.name())))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Note => miette::Severity::Advice,
            Severity::Warning => miette::Severity::Warning,
            Severity::Error => miette::Severity::Error,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.diagnostic
            .help
            .as_ref()
            .map(|h| Box::new(h) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let file = self.diagnostic.labels.first()?.span.file;
        let labels = self
            .diagnostic
            .labels
            .iter()
            .filter(move |l| l.span.file == file);
        Some(Box::new(labels.enumerate().map(|(index, l)| {
            let text = (!l.text.is_empty()).then(|| l.text.clone());
            let length = l.span.end.saturating_sub(l.span.start) as usize;
            let span = (l.span.start as usize, length);
            if index == 0 {
                LabeledSpan::new_primary_with_span(text, span)
            } else {
                LabeledSpan::new_with_span(text, span)
            }
        })))
    }
}

impl SourceCode for Report<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let file = self.diagnostic.labels.first().map(|l| l.span.file);
        let source = file
            .and_then(|f| self.sources.get(f))
            .ok_or(MietteError::OutOfBounds)?;
        let text = &source.text;
        let whole = lines_around(text, span.offset()..span.offset() + span.len());
        let inner = SourceSpan::new(whole.start.into(), whole.len());
        let found = text.as_bytes().read_span(&inner, before, after)?;
        let range = found.span().offset()..found.span().offset() + found.span().len();
        let data = text.as_bytes().get(range).ok_or(MietteError::OutOfBounds)?;
        Ok(Box::new(MietteSpanContents::new_named(
            source.name.to_string(),
            data,
            *found.span(),
            found.line(),
            // The heading says where the mistake itself begins.
            text.get(whole.start..span.offset())
                .map_or(0, |head| head.chars().count()),
            found.line_count(),
        )))
    }
}

/// The lines that a range touches, without the last line's end: what is wrong is shown with what
/// stands around it.
fn lines_around(text: &str, range: Range<usize>) -> Range<usize> {
    let head = text.get(..range.start).unwrap_or("");
    let start = head.rfind('\n').map_or(0, |at| at + 1);
    let tail = text.get(range.end..).unwrap_or("");
    let end = range.end + tail.find('\n').unwrap_or(tail.len());
    start..end.min(text.len()).max(start)
}
