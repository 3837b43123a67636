//! What the compiler tells its user: a code, a title, the places it is about, and help.
//!
//! A [`Diagnostic`] is data. How it looks is the business of the renderers: [`human`] for a
//! terminal, [`json`] for programs.

pub mod code;
pub mod human;
pub mod json;

pub use code::Code;

use polc_grammar::{SyntaxError, SyntaxErrorKind};

use crate::source::{FileId, Span};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Probably not what was meant.
    Warning,
    /// The policy does not compile.
    Error,
}

/// A place, and what is to be said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What is there; empty where the title says it all.
    pub text: String,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its stable code.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one clause: lower case, no full stop.
    pub title: String,
    /// The places, the mistake first.
    pub labels: Vec<Label>,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at `span`.
    pub fn error(code: Code, title: impl Into<String>, span: Span) -> Self {
        Self::new(Severity::Error, code, title.into(), span)
    }

    /// A warning at `span`.
    pub fn warning(code: Code, title: impl Into<String>, span: Span) -> Self {
        Self::new(Severity::Warning, code, title.into(), span)
    }

    fn new(severity: Severity, code: Code, title: String, span: Span) -> Self {
        let labels = vec![Label {
            span,
            text: String::new(),
        }];
        Self {
            code,
            severity,
            title,
            labels,
            help: None,
        }
    }

    /// Says something about the place of the mistake.
    #[must_use]
    pub fn at(mut self, text: impl Into<String>) -> Self {
        if let Some(first) = self.labels.first_mut() {
            first.text = text.into();
        }
        self
    }

    /// Points at another place.
    #[must_use]
    pub fn and(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label {
            span,
            text: text.into(),
        });
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A mistake in the text of `file`.
pub fn syntax(error: SyntaxError, file: FileId) -> Diagnostic {
    let code = match error.kind {
        SyntaxErrorKind::Foreign => Code::ForeignLanguage,
        _ => Code::Syntax,
    };
    let diagnostic = Diagnostic::error(code, error.message, Span::new(file, error.span));
    Diagnostic {
        help: error.help,
        ..diagnostic
    }
}

/// Whether one of them is an error.
pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|d| d.severity == Severity::Error)
}

/// Orders by place, then code, and drops repetitions.
pub fn sort(diagnostics: &mut Vec<Diagnostic>) {
    let place = |d: &Diagnostic| d.labels.first().map(|l| l.span);
    diagnostics.sort_by(|a, b| (place(a), a.code, &a.title).cmp(&(place(b), b.code, &b.title)));
    diagnostics.dedup();
}
