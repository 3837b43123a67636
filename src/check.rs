//! `polc check`

use std::path::PathBuf;

use polc_compiler::diagnostic::{Diagnostic, Severity, json};

use crate::exit::{Error, Outcome, Result};
use crate::out;
use crate::paths;
use crate::progress::Progress;
use crate::session::{CompileArgs, Session};

/// Check policies: syntax, names, types, and that every target can express them.
///
/// Directories are searched for `.pol` files. The exit code is 3 when a policy does not compile.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Policies, or directories of policies
    #[arg(required = true)]
    paths: Vec<PathBuf>,

    /// Check for this target only, not for those of `polc.yaml`
    #[arg(long, value_name = "NAME")]
    target: Option<String>,

    /// How to print what is found
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,

    /// From which severity on findings make the exit code 1
    #[arg(long, value_enum, default_value_t = FailOn::Error)]
    fail_on: FailOn,

    #[command(flatten)]
    compile: CompileArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people, on standard error
    Human,
    /// One JSON object, on standard output
    Json,
}

/// From which severity on findings count.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FailOn {
    Error,
    Warning,
    Note,
    Never,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut outcome = Outcome::Clean;
    let mut reports = Vec::new();
    let paths = paths::policies(&args.paths)?;
    let mut rules = 0;
    let progress = Progress::new("checking");
    for path in &paths {
        progress.step(&format!("checking `{}`", path.display()));
        let mut session = Session::open(path, &args.compile)?;
        let targets = match &args.target {
            Some(name) => vec![name.clone()],
            None => session.config.targets.clone(),
        };
        for target in &targets {
            session.emit(target)?;
        }
        rules += session.rule_count();
        outcome = outcome.max(judge(&session.compilation.diagnostics, args.fail_on));
        match args.format {
            Format::Human => session.report(),
            Format::Json => reports.push(session),
        }
    }
    drop(progress);
    match args.format {
        Format::Json => print_json(&reports)?,
        Format::Human if outcome != Outcome::DoesNotCompile => {
            let files = if paths.len() == 1 {
                "1 file".into()
            } else {
                format!("{} files", paths.len())
            };
            eprintln!("checked {files}, {rules} rules");
        }
        Format::Human => {}
    }
    Ok(outcome)
}

/// What the findings of one policy come to.
fn judge(diagnostics: &[Diagnostic], fail_on: FailOn) -> Outcome {
    match diagnostics.iter().map(|d| d.severity).max() {
        Some(Severity::Error) => Outcome::DoesNotCompile,
        Some(worst) if fail_on.counts(worst) => Outcome::Findings,
        _ => Outcome::Clean,
    }
}

impl FailOn {
    /// Whether a finding of this severity counts.
    pub(crate) fn counts(self, severity: Severity) -> bool {
        match self {
            Self::Error => severity >= Severity::Error,
            Self::Warning => severity >= Severity::Warning,
            Self::Note => true,
            Self::Never => false,
        }
    }
}

fn print_json(sessions: &[Session]) -> std::result::Result<(), Error> {
    let parts = sessions
        .iter()
        .map(|s| (s.compilation.diagnostics.as_slice(), &s.compilation.sources));
    let text = json::render(parts).map_err(|e| Error::environment(&e))?;
    out::print(&format!("{text}\n"))
}
