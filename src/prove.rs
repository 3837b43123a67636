//! `polc prove`

use std::path::PathBuf;

use polc_compiler::analyse::prove::{Proof, diagnostic, prove};
use polc_compiler::diagnostic::{Diagnostic, json};

use crate::exit::{Error, Outcome, Result};
use crate::out;
use crate::paths;
use crate::progress::Progress;
use crate::session::{CompileArgs, Session, report};

/// Prove the claims of policies: about all packets, in all stages.
///
/// Directories are searched for `.pol` files. A claim that does not hold is shown with a packet that
/// breaks it. The exit code is 1 when a claim is not proven, 3 when a policy does not compile.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Policies, or directories of policies
    #[arg(default_value = ".")]
    paths: Vec<PathBuf>,

    /// How to print what is found
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,

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

pub(crate) fn run(args: &Args) -> Result {
    let mut outcome = Outcome::Clean;
    let mut reports: Vec<(Vec<Diagnostic>, Session)> = Vec::new();
    let (mut proven, mut claims) = (0, 0);
    let progress = Progress::new("proving");
    for path in paths::policies(&args.paths)? {
        progress.step(&format!("proving `{}`", path.display()));
        let session = Session::open(&path, &args.compile)?;
        let compilation = &session.compilation;
        let Some(ir) = &compilation.ir else {
            outcome = Outcome::DoesNotCompile;
            reports.push((compilation.diagnostics.clone(), session));
            continue;
        };
        let results = prove(&compilation.policy, ir);
        let findings = results
            .iter()
            .filter_map(|r| diagnostic(r, &compilation.policy, ir, &compilation.sources));
        let findings: Vec<Diagnostic> = findings.collect();
        claims += results.len();
        let holds = results.iter().filter(|r| matches!(r.proof, Proof::Proven));
        proven += holds.count();
        if !findings.is_empty() {
            outcome = outcome.max(Outcome::Findings);
        }
        reports.push((findings, session));
    }
    drop(progress);
    if args.format == Format::Json {
        let parts = reports
            .iter()
            .map(|(found, session)| (found.as_slice(), &session.compilation.sources));
        let text = json::render(parts).map_err(|e| Error::environment(&e))?;
        out::print(&format!("{text}\n"))?;
        return Ok(outcome);
    }
    for (found, session) in &reports {
        report(found, &session.compilation.sources);
    }
    eprintln!("{proven} of {claims} claims proven");
    Ok(outcome)
}
