//! Set bodies.

use super::WIDTH;
use super::lines::{indent, width};
use crate::ast::{Comment, Element, Span, Spanned};

/// A set body to be laid out.
pub(super) struct Body<'t> {
    pub(super) source: &'t str,
    /// From brace to brace.
    pub(super) span: Span,
    pub(super) elements: &'t [Spanned<Element>],
    /// The comments inside.
    pub(super) comments: &'t [Comment],
}

impl<'t> Body<'t> {
    fn text(&self, span: Span) -> &'t str {
        self.source.get(span.range()).unwrap_or_default()
    }

    /// How many line ends stand between two offsets; more than two count as two.
    fn newlines(&self, start: u32, end: u32) -> usize {
        let between = self
            .source
            .get(start as usize..end as usize)
            .unwrap_or_default();
        between.bytes().filter(|&b| b == b'\n').take(2).count()
    }

    /// Whether each element has a line of its own.
    fn one_per_line(&self) -> bool {
        if let [only] = self.elements {
            return self.newlines(self.span.start, only.span.start) > 0;
        }
        let mut pairs = self.elements.iter().zip(self.elements.iter().skip(1));
        !self.elements.is_empty()
            && pairs.all(|(left, right)| self.newlines(left.span.end, right.span.start) > 0)
    }

    /// Whether it cannot stand on one line.
    pub(super) fn is_tall(&self) -> bool {
        !self.comments.is_empty() || self.one_per_line()
    }

    /// The body on one line.
    pub(super) fn flat(&self) -> String {
        if self.elements.is_empty() {
            return "{}".to_owned();
        }
        let mut out = String::with_capacity(self.span.len());
        out.push_str("{ ");
        for (index, element) in self.elements.iter().enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            out.push_str(self.text(element.span));
        }
        out.push_str(" }");
        out
    }

    /// The body on several lines, for a line of the given depth; without the indentation of the
    /// first line.
    pub(super) fn tall(&self, depth: usize) -> String {
        let mut out = String::with_capacity(self.span.len() + self.span.len() / 4);
        out.push('{');
        let mut writer = Writer {
            indent: indent(depth + 1),
            out,
            column: 0,
            commented: false,
            one_per_line: self.one_per_line(),
        };
        let mut comments = self.comments.iter().peekable();
        let mut last_end = self.span.start + 1;
        let mut first = true;
        for element in self.elements {
            while let Some(comment) =
                comments.next_if(|comment| comment.text.span.start < element.span.start)
            {
                self.comment(comment, &mut writer, last_end, first);
                last_end = comment.text.span.end;
                first = false;
            }
            let blank = !first && self.newlines(last_end, element.span.start) > 1;
            writer.element(self.text(element.span), blank);
            last_end = element.span.end;
            first = false;
        }
        for comment in comments {
            self.comment(comment, &mut writer, last_end, first);
            last_end = comment.text.span.end;
            first = false;
        }
        let mut out = writer.out;
        out.push('\n');
        out.push_str(&indent(depth));
        out.push('}');
        out
    }

    fn comment(&self, comment: &Comment, writer: &mut Writer, last_end: u32, first: bool) {
        // `a # one` + line end + `, # two`: the comma goes to `a`, the comments to lines.
        if comment.own_line || writer.commented {
            let blank = !first && self.newlines(last_end, comment.text.span.start) > 1;
            writer.line(blank);
            writer.out.push_str(&comment.text.node);
        } else {
            writer.out.push_str("  ");
            writer.out.push_str(&comment.text.node);
        }
        writer.commented = true;
    }
}

/// Puts elements on lines.
struct Writer {
    indent: String,
    out: String,
    /// How wide the current line is; 0 before the first one.
    column: usize,
    /// Whether the current line ends with a comment, which nothing can follow.
    commented: bool,
    one_per_line: bool,
}

impl Writer {
    fn line(&mut self, blank: bool) {
        if blank {
            self.out.push('\n');
        }
        self.out.push('\n');
        self.out.push_str(&self.indent);
        self.column = self.indent.len();
        self.commented = false;
    }

    fn element(&mut self, text: &str, blank: bool) {
        let width = width(text);
        let full = self.column == 0 || self.commented || self.column + width + 2 > WIDTH;
        if full || self.one_per_line || blank {
            self.line(blank);
        } else {
            self.out.push(' ');
            self.column += 1;
        }
        self.out.push_str(text);
        self.out.push(',');
        self.column += width + 1;
    }
}
