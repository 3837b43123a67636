//! `polc fmt`

use std::io::Read as _;
use std::path::{Path, PathBuf};

use polc_compiler::diagnostic::syntax;
use polc_compiler::source::SourceMap;
use polc_grammar::FormatError;

use crate::exit::{Error, Outcome, Result};
use crate::out;
use crate::paths;
use crate::session::report;

/// Format policies in place; `-` reads standard input and writes standard output.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Policies, directories of policies, or `-`
    #[arg(required = true)]
    paths: Vec<PathBuf>,

    /// Change nothing; exit with 1 if a file is not formatted
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result {
    if args.paths == [Path::new("-")] {
        return standard_input(args.check);
    }
    let mut outcome = Outcome::Clean;
    for path in paths::policies(&args.paths)? {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path)
            .map_err(|e| Error::Usage(format!("cannot read `{name}`: {e}")))?;
        let Some(formatted) = format(&name, &text)? else {
            outcome = Outcome::DoesNotCompile;
            continue;
        };
        if formatted == text {
            continue;
        }
        if args.check {
            eprintln!("`{name}` is not formatted");
            outcome = outcome.max(Outcome::Findings);
        } else {
            std::fs::write(&path, formatted)
                .map_err(|e| Error::Environment(format!("cannot write `{name}`: {e}")))?;
            eprintln!("formatted `{name}`");
        }
    }
    Ok(outcome)
}

fn standard_input(check: bool) -> Result {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|e| Error::Environment(format!("cannot read standard input: {e}")))?;
    match format("<stdin>", &text)? {
        None => Ok(Outcome::DoesNotCompile),
        Some(formatted) if check => Ok(if formatted == text {
            Outcome::Clean
        } else {
            Outcome::Findings
        }),
        Some(formatted) => {
            out::print(&formatted)?;
            Ok(Outcome::Clean)
        }
    }
}

/// The formatted text; `None` when it has mistakes, which have been shown.
fn format(name: &str, text: &str) -> std::result::Result<Option<String>, Error> {
    match polc_grammar::format(text) {
        Ok(formatted) => Ok(Some(formatted)),
        Err(FormatError::Syntax(errors)) => {
            let mut sources = SourceMap::default();
            let file = sources.add(name, text);
            let diagnostics: Vec<_> = errors.into_iter().map(|e| syntax(e, file)).collect();
            report(&diagnostics, &sources);
            Ok(None)
        }
        Err(error) => Err(Error::Environment(format!("`{name}`: {error}"))),
    }
}
