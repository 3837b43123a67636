//! What can be wrong with a text.

use crate::span::Span;

/// A mistake in the text of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// The words that are wrong, and no more than those.
    pub span: Span,
    /// What kind of mistake it is.
    pub kind: SyntaxErrorKind,
    /// What is wrong, in people's words.
    pub message: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
}

impl SyntaxError {
    /// An error without help.
    pub(crate) fn new(kind: SyntaxErrorKind, span: Span, message: impl Into<String>) -> Self {
        Self {
            span,
            kind,
            message: message.into(),
            help: None,
        }
    }

    /// Adds help.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The kinds of syntax error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SyntaxErrorKind {
    /// Something else was expected here.
    Unexpected,
    /// A word that looks like a misspelt keyword.
    Misspelt,
    /// Two elements of a list without a comma between them.
    MissingComma,
    /// A malformed address, prefix, range or socket.
    Address,
    /// A malformed number, duration or rate, or one that is too large.
    Number,
    /// A malformed string.
    String,
    /// A brace, bracket or string that is never closed.
    Unclosed,
    /// A closing brace or bracket that closes nothing.
    Stray,
    /// A block of which one cannot tell where its head begins.
    BlockHead,
    /// Nesting that is too deep, or a condition that is too long.
    TooComplex,
    /// A text of 4 GiB or more.
    TooLarge,
    /// A file of another tool that also uses the ending `.pol`.
    Foreign,
}

impl SyntaxErrorKind {
    /// The stable code of the kind, such as `syntax-missing-comma`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unexpected => "syntax-unexpected",
            Self::Misspelt => "syntax-misspelt",
            Self::MissingComma => "syntax-missing-comma",
            Self::Address => "syntax-address",
            Self::Number => "syntax-number",
            Self::String => "syntax-string",
            Self::Unclosed => "syntax-unclosed",
            Self::Stray => "syntax-stray",
            Self::BlockHead => "syntax-block-head",
            Self::TooComplex => "syntax-too-complex",
            Self::TooLarge => "syntax-too-large",
            Self::Foreign => "syntax-foreign",
        }
    }
}
