//! Reports of what was found in some policies, in the formats that people and services read.

mod concise;
mod github;
mod gitlab;
mod junit;
mod sarif;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use polc_compiler::analyse::lint::Fingerprint;
use polc_compiler::diagnostic::{Diagnostic, human, json};
use polc_compiler::source::{SourceMap, Span};

use crate::exit::Error;
use crate::out;
use crate::session::{self, Session};

/// How findings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people, on standard error
    Human,
    /// One line each
    Concise,
    /// One JSON object
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// Annotations of a GitHub workflow
    Github,
    /// A GitLab code quality report
    Gitlab,
    /// `JUnit` XML
    Junit,
}

/// A policy, and what was found in it.
pub(crate) struct Checked {
    pub(crate) session: Session,
    pub(crate) findings: Vec<Finding>,
}

/// A finding that somebody may have answered for.
pub(crate) struct Finding {
    pub(crate) diagnostic: Diagnostic,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) silence: Option<Silence>,
}

/// Why a finding does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// A comment answers for it, for this reason.
    Comment(Option<String>),
    /// The baseline has it.
    Baseline,
}

impl Checked {
    pub(crate) fn sources(&self) -> &SourceMap {
        &self.session.compilation.sources
    }

    /// The policy's own file, as reports name it.
    fn file(&self) -> String {
        let file = self.session.compilation.policy.file;
        self.sources()
            .get(file)
            .map_or_else(String::new, |s| relative(&s.name))
    }

    /// Findings that count.
    pub(crate) fn active(&self) -> impl Iterator<Item = &Diagnostic> {
        let active = self.findings.iter().filter(|f| f.silence.is_none());
        active.map(|f| &f.diagnostic)
    }
}

/// Shows the report: in a file, to people on standard error, to programs on standard output.
pub(crate) fn show(format: Format, file: Option<&Path>, checked: &[Checked]) -> Result<(), Error> {
    if let (Format::Human, None) = (format, file) {
        for checked in checked {
            let active: Vec<_> = checked.active().cloned().collect();
            session::report(&active, checked.sources());
        }
        return Ok(());
    }
    let text = render(format, checked)?;
    match file {
        Some(path) => std::fs::write(path, text)
            .map_err(|e| Error::Environment(format!("cannot write `{}`: {e}", path.display()))),
        None => out::print(&text),
    }
}

/// The report. Silenced findings are in SARIF only, which can say so.
fn render(format: Format, checked: &[Checked]) -> Result<String, Error> {
    match format {
        Format::Human => Ok(human(checked)),
        Format::Concise => Ok(concise::render(checked)),
        Format::Json => {
            let active = checked
                .iter()
                .flat_map(|c| c.active().map(|d| (d, c.sources())));
            let parts = active.map(|(d, sources)| (std::slice::from_ref(d), sources));
            let text = json::render(parts).map_err(|e| Error::environment(&e))?;
            Ok(format!("{text}\n"))
        }
        Format::Sarif => sarif::render(checked).map_err(|e| Error::environment(&e)),
        Format::Github => github::render(checked),
        Format::Gitlab => gitlab::render(checked).map_err(|e| Error::environment(&e)),
        Format::Junit => junit::render(checked).map_err(|e| Error::environment(&e)),
    }
}

/// For people, without colours.
fn human(checked: &[Checked]) -> String {
    let style = human::Style {
        colour: false,
        width: 100,
    };
    let mut out = String::new();
    for checked in checked {
        for diagnostic in checked.active() {
            let text = human::render(diagnostic, checked.sources(), style);
            // Writing to a `String` cannot fail.
            let _ = writeln!(out, "{}\n", text.trim_end());
        }
    }
    out
}

/// Takes out findings that several policies share, in a file that they use: the first keeps them.
pub(crate) fn drop_repeated(checked: &mut [Checked]) {
    let mut seen = BTreeSet::new();
    for checked in checked {
        let sources = &checked.session.compilation.sources;
        checked.findings.retain(|finding| {
            let d = &finding.diagnostic;
            let Some(place) = d.place() else { return true };
            let file = sources.get(place.file).map(|s| relative(&s.name));
            seen.insert((file, place.start, place.end, d.code.id(), d.title.clone()))
        });
    }
}

/// A file's name as seen from the working directory, if it is below it.
fn relative(name: &str) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let path = Path::new(name);
    let path = path.strip_prefix(&here).unwrap_or(path);
    path.to_string_lossy().into_owned()
}

/// Where something begins and ends, as lines and columns from 1; the end is just behind it.
#[derive(Clone, Debug)]
struct Place {
    file: String,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
}

impl Place {
    fn of(span: Span, sources: &SourceMap) -> Self {
        let (line, column) = sources.position(span);
        let (end_line, end_column) = sources.position(Span {
            start: span.end,
            ..span
        });
        Self {
            file: sources
                .get(span.file)
                .map_or_else(String::new, |s| relative(&s.name)),
            line,
            column,
            end_line,
            end_column,
        }
    }
}

/// Title and help in one text.
fn message(diagnostic: &Diagnostic) -> String {
    let help = diagnostic.help.iter().map(|help| format!("help: {help}"));
    let notes = diagnostic.notes.iter().map(|note| format!("note: {note}"));
    let lines = [diagnostic.title.clone()]
        .into_iter()
        .chain(notes)
        .chain(help);
    lines.collect::<Vec<_>>().join("\n")
}

/// Counts equal fingerprints, so that each finding has an identity of its own.
#[derive(Default)]
struct Identities(std::collections::BTreeMap<Fingerprint, usize>);

impl Identities {
    fn id(&mut self, fingerprint: &Fingerprint) -> String {
        let count = self.0.entry(fingerprint.clone()).or_default();
        *count += 1;
        fingerprint.id(*count - 1)
    }
}
