//! `polc explain`

use std::fmt::Write as _;

use polc_compiler::analyse::lint;
use polc_compiler::diagnostic::Code;

use crate::exit::{Error, Outcome, Result};
use crate::out;

/// Explain a code: what it means, what is wrong about it, and what to write instead.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The code, such as `POL107`, or its name, such as `duplicate-rule`
    #[arg(required_unless_present = "list")]
    code: Option<String>,

    /// List every code with what it means
    #[arg(long, conflicts_with = "code")]
    list: bool,
}

/// Where the language's own mistakes have their examples.
const LANGUAGE: &str = include_str!("../docs/language.md");

pub(crate) fn run(args: &Args) -> Result {
    let text = match &args.code {
        Some(word) => explain(word)?,
        None => list(),
    };
    out::print(&text)?;
    Ok(Outcome::Clean)
}

fn explain(word: &str) -> std::result::Result<String, Error> {
    let upper = word.to_uppercase();
    if let Some(meta) = lint::find(&upper).or_else(|| lint::find(word)) {
        return Ok(meta.document());
    }
    let mut codes = Code::ALL.iter();
    if let Some(code) = codes.find(|code| code.id() == upper || code.name() == word) {
        return Ok(without_page(*code));
    }
    let unknown = lint::lookup(word).err().unwrap_or_default();
    let unknown = unknown.replace("there is no lint", "there is no code");
    Err(Error::Usage(format!(
        "{unknown}\n  help: `polc explain --list` lists them all"
    )))
}

/// What is known of a code without a page: its meaning, and an example of the language reference.
fn without_page(code: Code) -> String {
    let mut text = format!("# {} {}\n\n{}\n", code.id(), code.name(), code.summary());
    let fence = format!("```pol,error={}\n", code.id());
    let example = LANGUAGE.split_once(&fence);
    if let Some((example, _)) = example.and_then(|(_, rest)| rest.split_once("```")) {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "\n## Bad\n\n```pol\n{example}```\n");
    }
    text
}

fn list() -> String {
    let mut lines: Vec<(&str, &str, &str)> = lint::all()
        .map(|meta| (meta.id, meta.name, meta.summary))
        .collect();
    let others = Code::ALL
        .iter()
        .filter(|code| lint::find(code.id()).is_none());
    lines.extend(others.map(|code| (code.id(), code.name(), code.summary())));
    lines.sort_unstable();
    let widest = lines
        .iter()
        .map(|(_, name, _)| name.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (id, name, summary) in lines {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{id} {name:widest$}  {summary}");
    }
    text
}
