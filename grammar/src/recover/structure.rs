//! How braces nest in a broken text.
//!
//! Each opener gets the place where its content ends: at its closer, or, when that is missing,
//! where the layout says that the content must have ended.

use crate::error::{SyntaxError, SyntaxErrorKind};
use crate::keyword::{CLAUSES, ITEMS, SHARED, VERBS};
use crate::scan::{Kind, Lexer, Token};
use crate::span::Span;

/// The tokens of a text and how they nest.
pub(crate) struct Structure {
    /// All tokens but comments and stray closers.
    pub(crate) tokens: Vec<Token>,
    /// For each token: where the content of an opener ends (the index of its closer, or of the
    /// token before which it is missing).
    ends: Vec<Option<usize>>,
    /// For each token: whether it is the closer of an opener.
    closers: Vec<bool>,
    /// For each token: whether it is the first on its line, and how deep that line is indented.
    lines: Vec<(bool, usize)>,
    /// What is wrong with the nesting, and open strings.
    pub(crate) errors: Vec<SyntaxError>,
    /// Stray closers.
    pub(crate) strays: Vec<Span>,
}

impl Structure {
    /// Reads the nesting of a text.
    pub(crate) fn new(source: &str) -> Self {
        let plain = Self::read(source, false);
        if plain.errors.is_empty() {
            return plain;
        }
        // Something is missing or too much. With the help of the layout we can tell where.
        let by_layout = Self::read(source, true);
        if by_layout.errors.is_empty() {
            plain
        } else {
            by_layout
        }
    }

    fn read(source: &str, by_layout: bool) -> Self {
        let mut this = Self {
            tokens: Vec::new(),
            ends: Vec::new(),
            closers: Vec::new(),
            lines: Vec::new(),
            errors: Vec::new(),
            strays: Vec::new(),
        };
        let mut stack: Vec<usize> = Vec::new();
        let mut line = Line::default();
        for token in Lexer::new(source, 0, source.len()) {
            if token.kind == Kind::Comment {
                continue;
            }
            let (first, indent) = line.place(source, token.span);
            if by_layout && first {
                this.close_by_layout(source, token, indent, &mut stack);
            }
            let index = this.tokens.len();
            match token.kind {
                Kind::Open(_) => stack.push(index),
                Kind::Close(byte) if !this.close(byte, index, &mut stack) => {
                    let message = format!("this `{}` closes nothing", char::from(byte));
                    let stray = SyntaxErrorKind::Stray;
                    this.errors
                        .push(SyntaxError::new(stray, token.span, message));
                    this.strays.push(token.span);
                    continue;
                }
                Kind::OpenStr => {
                    let quote = Span {
                        end: token.span.start.saturating_add(1),
                        ..token.span
                    };
                    let message = "this string is never closed";
                    let error = SyntaxError::new(SyntaxErrorKind::Unclosed, quote, message);
                    this.errors
                        .push(error.help("a string ends on the line on which it starts"));
                }
                _ => {}
            }
            this.tokens.push(token);
            this.ends.push(None);
            this.closers.push(matches!(token.kind, Kind::Close(_)));
            this.lines.push((first, indent));
        }
        let end = this.tokens.len();
        while let Some(open) = stack.pop() {
            this.missing(open, end);
        }
        this
    }

    /// Matches a closer. False when it closes nothing.
    fn close(&mut self, byte: u8, index: usize, stack: &mut Vec<usize>) -> bool {
        let wanted = match byte {
            b')' => b'(',
            b']' => b'[',
            _ => b'{',
        };
        let opens = |open: &usize| self.kind(*open) == Some(Kind::Open(wanted));
        let Some(depth) = stack.iter().rposition(opens) else {
            return false;
        };
        // A parenthesis does not reach out of its braces.
        let braces = |open: &usize| self.kind(*open) == Some(Kind::Open(b'{'));
        if byte != b'}' && stack.iter().skip(depth + 1).any(braces) {
            return false;
        }
        while stack.len() > depth + 1 {
            if let Some(open) = stack.pop() {
                self.missing(open, index);
            }
        }
        if let Some(open) = stack.pop() {
            self.set_end(open, index);
        }
        true
    }

    /// Closes what the first token of a line shows to be over: an item keyword stands no deeper
    /// than the line of an opener, or a closer is indented like the line of an outer one.
    fn close_by_layout(
        &mut self,
        source: &str,
        token: Token,
        indent: usize,
        stack: &mut Vec<usize>,
    ) {
        let deeper = |this: &Self, open: usize| this.lines.get(open).is_some_and(|l| l.1 > indent);
        let index = self.tokens.len();
        match token.kind {
            Kind::Close(b'}') => {
                let fits = |open: &usize| {
                    self.lines.get(*open).is_some_and(|line| line.1 == indent)
                        && self.kind(*open) == Some(Kind::Open(b'{'))
                };
                if !stack.iter().any(fits) {
                    return;
                }
                while let Some(open) = stack.last().copied().filter(|&open| deeper(self, open)) {
                    stack.pop();
                    self.missing(open, index);
                }
            }
            Kind::Word => {
                let word = token.text(source);
                let starts = |words: &[&str]| words.contains(&word);
                let item = starts(ITEMS) || (indent == 0 && (word == "from" || word == "to"));
                let stmt = starts(VERBS) || starts(SHARED);
                while let Some(&open) = stack.last() {
                    let over = deeper(self, open)
                        || self.lines.get(open).is_some_and(|line| line.1 == indent);
                    let brace = self.kind(open) == Some(Kind::Open(b'{'));
                    let clause = CLAUSES.contains(&word) && !brace;
                    if !(over && (item || (stmt && (!brace || indent == 0)) || clause)) {
                        return;
                    }
                    stack.pop();
                    self.missing(open, index);
                }
            }
            _ => {}
        }
    }

    /// Reports an opener without a closer; its content ends before token `end`.
    fn missing(&mut self, open: usize, end: usize) {
        self.set_end(open, end);
        if let Some(token) = self.tokens.get(open).copied()
            && let Kind::Open(byte) = token.kind
        {
            let message = format!("this `{}` is never closed", char::from(byte));
            self.errors.push(SyntaxError::new(
                SyntaxErrorKind::Unclosed,
                token.span,
                message,
            ));
        }
    }

    fn set_end(&mut self, open: usize, end: usize) {
        if let Some(slot) = self.ends.get_mut(open) {
            *slot = Some(end);
        }
    }

    fn kind(&self, index: usize) -> Option<Kind> {
        self.tokens.get(index).map(|token| token.kind)
    }

    /// Where the content of the opener at `index` ends, if it is one.
    pub(crate) fn end_of(&self, index: usize) -> Option<usize> {
        self.ends.get(index).copied().flatten()
    }

    /// Whether the content of the opener at `index` ends with a closer.
    pub(crate) fn is_closed(&self, index: usize) -> bool {
        let closer = match self.kind(index) {
            Some(Kind::Open(b'(')) => b')',
            Some(Kind::Open(b'[')) => b']',
            _ => b'}',
        };
        self.end_of(index).is_some_and(|end| {
            self.closers.get(end) == Some(&true)
                && self.kind(end) == Some(Kind::Close(closer))
                && !self.errors.iter().any(|error| {
                    error.kind == SyntaxErrorKind::Unclosed
                        && self
                            .tokens
                            .get(index)
                            .is_some_and(|token| token.span == error.span)
                })
        })
    }

    /// The token behind the token at `index`, or behind all that it encloses.
    pub(crate) fn after(&self, index: usize) -> usize {
        match self.end_of(index) {
            Some(end) if self.is_closed(index) => end + 1,
            Some(end) => end.max(index + 1),
            None => index + 1,
        }
    }

    /// Whether the token is the first on its line, and how deep that line is indented.
    pub(crate) fn line(&self, index: usize) -> (bool, usize) {
        self.lines.get(index).copied().unwrap_or_default()
    }
}

/// Follows the lines of a text while its tokens go by.
#[derive(Default)]
struct Line {
    /// Where the last token ended.
    seen: usize,
    /// How deep the current line is indented.
    indent: usize,
    /// Whether a token has been seen at all.
    started: bool,
}

impl Line {
    /// Whether the token at `span` is the first on its line, and that line's indentation.
    fn place(&mut self, source: &str, span: Span) -> (bool, usize) {
        let between = source
            .get(self.seen..span.start as usize)
            .unwrap_or_default();
        let first = !self.started || between.contains('\n');
        if first {
            let blanks = between.rsplit('\n').next().unwrap_or_default();
            self.indent = blanks.trim_start_matches('\u{feff}').len();
        }
        self.seen = span.end as usize;
        self.started = true;
        (first, self.indent)
    }
}
