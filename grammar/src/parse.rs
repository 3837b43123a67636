//! Text → tree.

use pest::Parser;

use crate::ast::{Comment, File, Span, Spanned};
use crate::build::Builder;
use crate::error::{SyntaxError, SyntaxErrorKind};
use crate::grammar::{Grammar, Rule};
use crate::recover::recover;
use crate::recover::structure::Structure;
use crate::scan::{Kind, Lexer, Token};

/// How deep braces, brackets and parentheses may nest. It bounds the stack of the parser and of
/// whoever walks the tree.
const MAX_DEPTH: usize = 64;

/// What [`parse()`] found in a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// All that is well formed.
    pub file: File,
    /// All that is not, in source order. Empty: the text is a policy.
    pub errors: Vec<SyntaxError>,
}

impl Parsed {
    /// A text of which nothing can be used.
    fn refused(error: SyntaxError) -> Self {
        Self {
            file: File::default(),
            errors: vec![error],
        }
    }
}

/// Reads a policy file.
///
/// Never panics, whatever the text, and reports every mistake of the text at once. Each mistake
/// is one error; what is well formed around it is in the tree.
pub fn parse(text: &str) -> Parsed {
    if u32::try_from(text.len()).is_err() {
        let message = "this text has 4 GiB or more";
        return Parsed::refused(SyntaxError::new(
            SyntaxErrorKind::TooLarge,
            Span::default(),
            message,
        ));
    }
    let comments = match survey(text) {
        Ok(comments) => comments,
        Err(error) => return Parsed::refused(error),
    };
    let mut file = File {
        items: Vec::new(),
        comments,
    };
    let errors = if let Some(errors) = items(text, &mut file) {
        errors
    } else {
        let structure = Structure::new(text);
        if let Some(error) = foreign(text, &structure.tokens) {
            return Parsed::refused(error);
        }
        file.items.clear();
        recover(text, structure, &mut file)
    };
    Parsed { file, errors }
}

/// Parses a text item by item, which is what `file` in the grammar says but keeps the parse tree
/// small. `None` when an item does not parse; otherwise, what is wrong with literals.
fn items(text: &str, file: &mut File) -> Option<Vec<SyntaxError>> {
    let mut errors = Vec::new();
    let mut at = if text.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    while let Some(start) = next_token(text, at) {
        let pair = Grammar::parse(Rule::item, text.get(start..)?)
            .ok()?
            .next()?;
        let mut builder = Builder::new(text, start, text.len());
        builder.item(&pair, &mut file.items);
        errors.append(&mut builder.errors);
        at = start + pair.as_span().end();
    }
    errors.sort_by_key(|error| error.span);
    Some(errors)
}

/// Where the next token behind `at` starts, comments aside.
fn next_token(text: &str, at: usize) -> Option<usize> {
    let mut tokens = Lexer::new(text, at, text.len());
    tokens
        .find(|token| token.kind != Kind::Comment)
        .map(|token| token.span.start as usize)
}

/// Collects the comments of a text, and refuses a text that nests too deep to be parsed.
fn survey(text: &str) -> Result<Vec<Comment>, SyntaxError> {
    let mut comments = Vec::new();
    let mut depth: usize = 0;
    let mut last_end = 0;
    for token in Lexer::new(text, 0, text.len()) {
        match token.kind {
            Kind::Comment => {
                let before = text
                    .get(last_end..token.span.start as usize)
                    .unwrap_or_default();
                let own_line = last_end == 0 || before.contains('\n');
                let words = token.text(text).to_owned();
                comments.push(Comment {
                    text: Spanned::new(words, token.span),
                    own_line,
                });
            }
            Kind::Open(_) => {
                depth += 1;
                if depth > MAX_DEPTH {
                    let message = format!("this is nested more than {MAX_DEPTH} deep");
                    return Err(SyntaxError::new(
                        SyntaxErrorKind::TooComplex,
                        token.span,
                        message,
                    ));
                }
            }
            Kind::Close(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
        last_end = token.span.end as usize;
    }
    Ok(comments)
}

/// Recognises a file of Capirca or Aerleon, whose policies have the same ending.
fn foreign(text: &str, tokens: &[Token]) -> Option<SyntaxError> {
    let word = |index: usize| tokens.get(index).map_or("", |token| token.text(text));
    let header = (0..tokens.len()).find(|&index| {
        let two = word(index) == "header" && word(index + 1) == "{";
        two || (word(index) == "term" && word(index + 2) == "{")
    })?;
    // In a policy of ours such words could only be names; they would not start the file or
    // follow a closing brace.
    if !(header == 0 || word(header - 1) == "}" || word(0).starts_with("#include")) {
        return None;
    }
    let span = tokens.get(header)?.span;
    let message = "this is a Capirca or Aerleon policy, not one of polc";
    Some(
        SyntaxError::new(SyntaxErrorKind::Foreign, span, message).help(
            "both use the ending `.pol`; their `header` and `term` blocks have to be rewritten as \
         sections such as `from wan to host { allow tcp/443 }`",
        ),
    )
}
