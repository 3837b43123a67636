//! What is known of a code that a lint reports, or that has a page of its own.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use super::{Code, Diagnostic, Severity};
use crate::source::Span;

/// Who wants to hear of it. Each persona hears what the ones before it hear.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Persona {
    /// Everyone.
    #[default]
    Default,
    /// Who wants good practice kept, too.
    Strict,
    /// Who reviews a policy and wants every hint.
    Audit,
}

impl Persona {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Strict => "strict",
            Self::Audit => "audit",
        }
    }
}

/// How sure a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Proved about all packets.
    Exact,
    /// Read off the text: what it says is so.
    Syntactic,
    /// A guess from experience.
    Heuristic,
}

impl Precision {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Syntactic => "syntactic",
            Self::Heuristic => "heuristic",
        }
    }
}

/// A code with a page: a lint, or a mistake that the compiler itself finds.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// `POL107`
    pub id: &'static str,
    /// `duplicate-rule`
    pub name: &'static str,
    /// How bad it is, unless the settings say otherwise.
    pub severity: Severity,
    /// The first persona that hears of it.
    pub persona: Persona,
    /// How sure a finding is.
    pub precision: Precision,
    /// Whether a safe fix comes with it, at least at times.
    pub fix: bool,
    /// Whether the compiler finds it, not a lint: then it is always on.
    pub compiler: bool,
    /// What it is, in a sentence.
    pub summary: &'static str,
    /// The page as it stands in the source: a line of Markdown each, behind one blank.
    pub(crate) doc: &'static str,
}

impl Meta {
    /// The page's Markdown: what it is about, `## Bad`, `## Good`, perhaps `## Fix`.
    pub fn page(&self) -> String {
        let lines = self.doc.lines().map(|l| l.strip_prefix(' ').unwrap_or(l));
        let mut page: String = lines.flat_map(|line| [line, "\n"]).collect();
        page.truncate(page.trim_end().len());
        page.push('\n');
        page
    }

    /// The page with a head: what `polc explain` prints and `docs/lints/` holds.
    pub fn document(&self) -> String {
        let found = if self.compiler {
            "found by the compiler: always on"
        } else {
            "found by `polc lint`"
        };
        let fix = if self.fix { "; has a safe fix" } else { "" };
        format!(
            "# {} {}\n\n{} · persona {} · {} · {found}{fix}\n\n{}",
            self.id,
            self.name,
            self.severity.name(),
            self.persona.name(),
            self.precision.name(),
            self.page()
        )
    }

    /// What its hundred is about.
    pub fn tag(&self) -> &'static str {
        match self.id.as_bytes().get(3) {
            Some(b'1') => "rules",
            Some(b'2') => "security",
            Some(b'3') => "steering",
            Some(b'4') => "rates",
            Some(b'5') => "families",
            Some(b'6') => "portability",
            Some(b'7') => "maintenance",
            Some(b'8') => "performance",
            _ => "language",
        }
    }

    /// A finding at `span`. The title is lower case, without a full stop.
    pub fn report(&'static self, title: impl Into<String>, span: Span) -> Diagnostic {
        Diagnostic::new(self.severity, Code::Lint(self), title.into(), span)
    }
}

impl PartialEq for Meta {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Meta {}

impl PartialOrd for Meta {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Meta {
    fn cmp(&self, other: &Self) -> Ordering {
        self.id.cmp(other.id)
    }
}

impl Hash for Meta {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}
