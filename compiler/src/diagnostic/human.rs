//! Diagnostics for a terminal.

use std::fmt::{self, Write as _};
use std::ops::Range;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    SourceCode, SourceSpan, SpanContents,
};

use super::{Diagnostic, Label, Severity};
use crate::source::SourceMap;

/// How to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// With colours and line-drawing characters.
    pub colour: bool,
    /// Columns of the terminal.
    pub width: usize,
}

/// The most bytes shown of a line on either side of what is wrong, and of that itself: lines can be
/// as long as a file.
const LONGEST: usize = 400;

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
    let report = Report {
        diagnostic,
        sources,
    };
    let mut out = String::new();
    // Writing to a `String` cannot fail; a span outside its text prints without the source.
    let _ = handler.render_report(&mut out, &report);
    for line in report.behind() {
        let _ = writeln!(out, "  {line}");
    }
    out
}

/// A diagnostic as `miette` wants it.
#[derive(Debug)]
struct Report<'a> {
    diagnostic: &'a Diagnostic,
    sources: &'a SourceMap,
}

impl Report<'_> {
    /// Whether a label is drawn: the first one is, and others of its file unless a line is too long
    /// to show both.
    fn drawn(&self, label: &Label) -> bool {
        let Some(first) = self.diagnostic.labels.first() else {
            return false;
        };
        let short = |l: &Label| {
            let text = self.sources.get(l.span.file).map_or("", |s| &s.text);
            let range = l.span.start as usize..l.span.end as usize;
            range.len() <= LONGEST && lines_around(text, range).len() <= LONGEST
        };
        label == first || label.span.file == first.span.file && short(first) && short(label)
    }

    /// Every place: what the mistake is about, then what else plays a part.
    fn places(&self) -> impl Iterator<Item = &Label> {
        self.diagnostic
            .labels
            .iter()
            .chain(&self.diagnostic.related)
    }

    /// What stands behind the source: labels that are not drawn, notes, the packet's way, the fix.
    fn behind(&self) -> Vec<String> {
        let at = |span, text| format!("at {}: {text}", self.sources.describe(span));
        let others = self.places().filter(|l| !self.drawn(l));
        let mut lines: Vec<String> = others.map(|l| at(l.span, &l.text)).collect();
        lines.extend(self.diagnostic.notes.iter().map(|n| format!("note: {n}")));
        if !self.diagnostic.flow.is_empty() {
            lines.push("the packet's way:".to_owned());
        }
        for (number, step) in (1..).zip(&self.diagnostic.flow) {
            lines.push(format!("  {number}. {}", at(step.span, &step.text)));
        }
        lines.extend(self.diagnostic.fix.as_ref().map(|fix| {
            let how = if fix.safe { "fix" } else { "possible fix" };
            format!("{how}: {}", fix.title)
        }));
        lines
    }
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
        let labels = self.places().filter(|l| self.drawn(l));
        Some(Box::new(labels.enumerate().map(|(index, l)| {
            let text = (!l.text.is_empty()).then(|| l.text.clone());
            let source = self.sources.get(l.span.file).map_or("", |s| &s.text);
            let end = (l.span.end as usize).min(l.span.start as usize + LONGEST);
            let end = floor(source, end);
            let length = end.saturating_sub(l.span.start as usize);
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
        let range = span.offset()..span.offset() + span.len();
        let lines = lines_around(text, range.clone());
        let whole = floor(text, lines.start.max(range.start.saturating_sub(LONGEST)))
            ..floor(text, lines.end.min(range.end + LONGEST));
        let inner = SourceSpan::new(whole.start.into(), whole.len());
        let found = text.as_bytes().read_span(&inner, before, after)?;
        let range = found.span().offset()..found.span().offset() + found.span().len();
        let data = text.as_bytes().get(range).ok_or(MietteError::OutOfBounds)?;
        let column = text.get(lines.start..span.offset());
        Ok(Box::new(MietteSpanContents::new_named(
            source.name.to_string(),
            data,
            *found.span(),
            found.line(),
            // The heading says where the mistake itself begins.
            column.map_or(0, |head| head.chars().count()),
            found.line_count(),
        )))
    }
}

/// The last place up to `at` that lies between two characters.
fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at)
        .rev()
        .find(|i| text.is_char_boundary(*i))
        .unwrap_or(0)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::tests::full;

    #[test]
    fn what_stands_behind_the_source_is_shown() {
        let (diagnostic, sources) = full();
        let style = Style {
            colour: false,
            width: 80,
        };
        insta::assert_snapshot!(render(&diagnostic, &sources, style), @"
        POL102 unmatchable-rule

          ⚠ never
           ╭─[a.pol:1:1]
         1 │ allow a
           · ──┬──
           ·   ╰── takes all of it
           ╰────
           ╭─[a.pol:2:1]
         2 │ allow b
           · ─────
           ╰────
          at b.pol:1: takes some of it
          note: b is the last letter
          the packet's way:
            1. at a.pol:1: `a` does not hold
            2. at b.pol:1: `c` denies it
          possible fix: delete it
        ");
    }
}
