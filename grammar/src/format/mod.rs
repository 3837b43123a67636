//! Lays a policy out.
//!
//! The layout is made from the tokens of the text, put on lines as the tree says; no token is
//! ever made up, but for a comma at the end of a set body that spans lines. At the end the result
//! is parsed and compared with the original, so that formatting cannot change what a policy means.

mod body;
mod layout;
mod lines;
mod nodes;
mod pieces;

use self::layout::Layout;
use crate::ast::File;
use crate::error::SyntaxError;
use crate::parse::{Parsed, parse};

/// The width of the page, in characters.
const WIDTH: usize = 120;

/// How often a layout is laid out again until it stays what it is. A set body that had to be
/// broken may then have one element per line, which the next round takes for the author's wish;
/// more than one such step has not been seen.
const ROUNDS: usize = 4;

/// Why a text cannot be formatted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// It has mistakes, these.
    #[error("the text has syntax errors")]
    Syntax(Vec<SyntaxError>),
    /// The formatted text would mean something else. This is a defect of the formatter; the text
    /// is best left as it is.
    #[error("formatting would change the meaning of the text")]
    Unsound,
}

/// Formats a policy file.
///
/// The result has the same tree and the same comments, and formatting it again changes nothing.
pub fn format(text: &str) -> Result<String, FormatError> {
    let Parsed { file, errors } = parse(text);
    if !errors.is_empty() {
        return Err(FormatError::Syntax(errors));
    }
    let mut formatted = Layout::new(text, &file).file();
    let mut rounds = 0;
    loop {
        let again = parse(&formatted);
        if !again.errors.is_empty() || !same(&file, &again.file) {
            return Err(FormatError::Unsound);
        }
        let settled = Layout::new(&formatted, &again.file).file();
        if settled == formatted || rounds == ROUNDS {
            return Ok(formatted);
        }
        formatted = settled;
        rounds += 1;
    }
}

/// Whether two files say the same, comments included.
fn same(left: &File, right: &File) -> bool {
    let texts = |file: &'_ File| -> Vec<String> {
        file.comments
            .iter()
            .map(|comment| comment.text.node.clone())
            .collect()
    };
    left.items == right.items && texts(left) == texts(right)
}
