//! Text → tree.

use pest::Parser;

use crate::ast::{Comment, File, Span, Spanned};
use crate::build::Builder;
use crate::error::{SyntaxError, SyntaxErrorKind};
use crate::grammar::{Grammar, Rule};
use crate::scan::{Kind, Lexer};

/// What [`parse()`] found in a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// All that is well formed.
    pub file: File,
    /// All that is not, in source order.
    pub errors: Vec<SyntaxError>,
}

/// Reads a policy file.
pub fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    parsed.file.comments = comments(text);
    match Grammar::parse(Rule::file, text) {
        Ok(pairs) => {
            let mut builder = Builder::new(text, 0);
            for pair in pairs.flat_map(pest::iterators::Pair::into_inner) {
                if pair.as_rule() == Rule::item {
                    builder.item(&pair, &mut parsed.file.items);
                }
            }
            parsed.errors = builder.errors;
        }
        Err(error) => {
            let at = match error.location {
                pest::error::InputLocation::Pos(at) | pest::error::InputLocation::Span((at, _)) => {
                    at
                }
            };
            parsed.errors.push(SyntaxError::new(
                SyntaxErrorKind::Unexpected,
                Span::new(at, at + 1),
                format!("{}", error.variant.message()),
            ));
        }
    }
    parsed
}

/// All comments of a text.
fn comments(text: &str) -> Vec<Comment> {
    let mut comments = Vec::new();
    let mut line_start = 0;
    for token in Lexer::new(text, 0, text.len()) {
        let start = token.span.start as usize;
        if token.kind == Kind::Comment {
            let before = text.get(line_start..start).unwrap_or_default();
            let own_line = before
                .rsplit('\n')
                .next()
                .unwrap_or_default()
                .trim()
                .is_empty();
            let own_line = own_line && (line_start == 0 || before.contains('\n'));
            let words = token.text(text).to_owned();
            comments.push(Comment {
                text: Spanned::new(words, token.span),
                own_line,
            });
        }
        line_start = token.span.end as usize;
    }
    comments
}
