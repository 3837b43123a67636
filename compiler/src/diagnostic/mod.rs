//! What the compiler tells its user: a code, a title, the places it is about, and help.
//!
//! A [`Diagnostic`] is data. How it looks is the business of the renderers: [`human`] for a
//! terminal, [`json`] for programs.

pub mod code;
pub mod fix;
pub mod human;
pub mod json;
pub mod meta;

pub use code::Code;
pub use fix::{Edit, Fix};
pub use meta::{Meta, Persona, Precision};

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
    /// Wrong. Of the compiler's own codes: the policy does not compile.
    Error,
}

impl Severity {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
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
    /// What else plays a part, such as the earlier rules that leave a rule nothing. Not where the
    /// mistake is.
    pub related: Vec<Label>,
    /// The way of a packet that shows it, rule by rule.
    pub flow: Vec<FlowStep>,
    /// What else there is to know, a sentence each: lower case, no full stop.
    pub notes: Vec<String>,
    /// What to do.
    pub help: Option<String>,
    /// How the text can be mended.
    pub fix: Option<Fix>,
}

/// A step of a packet's way through a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowStep {
    /// The rule or block it comes to.
    pub span: Span,
    /// What happens to it there.
    pub text: String,
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
            related: Vec::new(),
            flow: Vec::new(),
            notes: Vec::new(),
            help: None,
            fix: None,
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

    /// Points at something else that plays a part: a blocker of the rule, say.
    #[must_use]
    pub fn related(mut self, span: Span, text: impl Into<String>) -> Self {
        self.related.push(Label {
            span,
            text: text.into(),
        });
        self
    }

    /// Adds a step to the way of a packet that shows it.
    #[must_use]
    pub fn step(mut self, span: Span, text: impl Into<String>) -> Self {
        self.flow.push(FlowStep {
            span,
            text: text.into(),
        });
        self
    }

    /// Adds something worth knowing.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Says how to mend the text.
    #[must_use]
    pub fn fix(mut self, fix: Fix) -> Self {
        self.fix = Some(fix);
        self
    }

    /// The place of the mistake; `None` when it stands in no file.
    pub fn place(&self) -> Option<Span> {
        self.labels.first().map(|label| label.span)
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
    diagnostics.sort_by(|a, b| (a.place(), a.code, &a.title).cmp(&(b.place(), b.code, &b.title)));
    diagnostics.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceMap;

    /// A finding with everything that one can have, about two files.
    pub(super) fn full() -> (Diagnostic, SourceMap) {
        let mut sources = SourceMap::default();
        let file = sources.add("a.pol", "allow a\nallow b\n");
        let other = sources.add("b.pol", "deny c\n");
        let span = |file, start| Span {
            file,
            start,
            end: start + 5,
        };
        let diagnostic = Diagnostic::warning(Code::UnmatchableRule, "never", span(file, 8))
            .related(span(file, 0), "takes all of it")
            .related(span(other, 0), "takes some of it")
            .step(span(file, 0), "`a` does not hold")
            .step(span(other, 0), "`c` denies it")
            .note("b is the last letter")
            .fix(Fix {
                safe: false,
                title: "delete it".to_owned(),
                edits: Vec::new(),
            });
        (diagnostic, sources)
    }
}
