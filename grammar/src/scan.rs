//! A lexer by hand: fast, and it never fails.
//!
//! The grammar has the last word on what a text means. This lexer serves what the grammar cannot
//! do: to find comments, to see how braces nest before anything recurses, to say what stands
//! where a parse failed, and to lay a text out again.

use crate::span::Span;

/// A lexical piece of a text; blanks separate them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A run of what names, numbers, addresses and patterns are made of.
    Word,
    /// `"…"`
    Str,
    /// A string without its closing quote, up to the end of the line.
    OpenStr,
    /// `# …`, without the end of the line.
    Comment,
    /// `(`, `[`, `{`
    Open(u8),
    /// `)`, `]`, `}`
    Close(u8),
    /// An operator or separator: `,`, `=>`, `==`, …
    Punct,
    /// A character that the language does not use.
    Other,
}

impl Token {
    /// The token's text.
    pub(crate) fn text(self, source: &str) -> &str {
        source.get(self.span.range()).unwrap_or_default()
    }
}

/// Iterates over the tokens of a part of a text.
#[derive(Clone)]
pub(crate) struct Lexer<'t> {
    source: &'t str,
    at: usize,
    end: usize,
}

impl<'t> Lexer<'t> {
    /// The tokens of `source[start..end]`.
    pub(crate) fn new(source: &'t str, start: usize, end: usize) -> Self {
        Self {
            source,
            at: start,
            end: end.min(source.len()),
        }
    }

    /// Goes on at `at`.
    pub(crate) fn jump(&mut self, at: usize) {
        self.at = at;
    }

    fn byte(&self, at: usize) -> u8 {
        if at >= self.end {
            return 0;
        }
        self.source.as_bytes().get(at).copied().unwrap_or(0)
    }

    /// The first offset from `at` on whose byte is refused by `keep`.
    fn run(&self, at: usize, keep: impl Fn(u8) -> bool) -> usize {
        let bytes = self.source.as_bytes().get(at..self.end).unwrap_or_default();
        at + bytes.iter().position(|&b| !keep(b)).unwrap_or(bytes.len())
    }

    /// Where the string that opens at `at` ends, and whether it is closed.
    fn string(&self, at: usize) -> (usize, bool) {
        let mut at = at + 1;
        loop {
            at = self.run(at, |b| !matches!(b, b'"' | b'\\' | b'\n'));
            match self.byte(at) {
                b'"' => return (at + 1, true),
                b'\\' if self.byte(at + 1) != b'\n' && at + 1 < self.end => {
                    at += 1 + self.char_len(at + 1);
                }
                b'\\' => return (at + 1, false),
                _ => {
                    let blank = self.source.get(..at).unwrap_or_default();
                    return (blank.trim_end().len(), false);
                }
            }
        }
    }

    /// Where the word that starts at `at` ends.
    ///
    /// Dashes and pluses belong to a word where it goes on behind them (`fd00::1-fd00::9`,
    /// `syn+fin`), so that `@a-@b` and `a->b` fall apart.
    fn word(&self, at: usize) -> usize {
        let mut at = at;
        loop {
            at = self.run(at, is_word);
            let joint = self.run(at, |b| matches!(b, b'-' | b'+'));
            if joint == at || !is_word(self.byte(joint)) || self.byte(joint) == b'@' {
                return at;
            }
            at = joint;
        }
    }

    fn char_len(&self, at: usize) -> usize {
        self.source
            .get(at..)
            .and_then(|rest| rest.chars().next())
            .map_or(1, char::len_utf8)
    }
}

/// Bytes that separate tokens, those of `WHITESPACE` in the grammar.
pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Bytes of words, besides dashes and pluses.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'*' | b'@' | b'$')
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let start = self.run(self.at, is_blank);
        if start >= self.end {
            self.at = self.end;
            return None;
        }
        let byte = self.byte(start);
        let (kind, end) = match byte {
            b'#' => {
                let end = self.run(start, |b| b != b'\n');
                let text = self.source.get(start..end).unwrap_or_default();
                (Kind::Comment, start + text.trim_end().len())
            }
            b'"' => {
                let (end, closed) = self.string(start);
                (if closed { Kind::Str } else { Kind::OpenStr }, end)
            }
            b'(' | b'[' | b'{' => (Kind::Open(byte), start + 1),
            b')' | b']' | b'}' => (Kind::Close(byte), start + 1),
            b if is_word(b) => (Kind::Word, self.word(start)),
            _ => match (byte, self.byte(start + 1)) {
                (b'=', b'=' | b'>') | (b'!' | b'<' | b'>', b'=') | (b'-', b'>') => {
                    (Kind::Punct, start + 2)
                }
                (b',' | b'=' | b'<' | b'>' | b'/' | b'+' | b'-' | b'&', _) => {
                    (Kind::Punct, start + 1)
                }
                _ => (Kind::Other, start + self.char_len(start)),
            },
        };
        self.at = end;
        Some(Token {
            kind,
            span: Span::new(start, end),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        Lexer::new(source, 0, source.len())
            .map(|token| token.text(source))
            .collect()
    }

    #[test]
    fn words_and_operators_fall_apart_where_the_grammar_says() {
        assert_eq!(texts("@a-@b + @c"), ["@a", "-", "@b", "+", "@c"]);
        assert_eq!(
            texts("fd00::1-fd00::9,syn+fin"),
            ["fd00::1-fd00::9", ",", "syn+fin"]
        );
        assert_eq!(
            texts("host:1->[::1]:22"),
            ["host:1", "->", "[", "::1", "]", ":22"]
        );
        assert_eq!(texts("a==b=>c<=d"), ["a", "==", "b", "=>", "c", "<=", "d"]);
    }

    #[test]
    fn strings_hide_comments_and_comments_hide_strings() {
        assert_eq!(
            texts("a \"x # \\\" y\" # \"z  \nb"),
            ["a", "\"x # \\\" y\"", "# \"z", "b"]
        );
    }

    #[test]
    fn an_open_string_ends_with_its_line() {
        let source = "note \"abc  \nallow";
        let tokens: Vec<_> = Lexer::new(source, 0, source.len()).collect();
        assert_eq!(tokens[1].kind, Kind::OpenStr);
        assert_eq!(tokens[1].text(source), "\"abc");
        assert_eq!(tokens[2].text(source), "allow");
    }

    #[test]
    fn foreign_characters_are_tokens_of_their_own() {
        assert_eq!(texts("a ü\u{a0}b"), ["a", "ü", "\u{a0}", "b"]);
    }
}
