//! `polc diff`

mod human;
mod json;
mod markdown;
mod report;

use std::path::{Path, PathBuf};

use polc_compiler::Files;
use polc_compiler::analyse::diff::{Limits, diff};

use self::report::Report;
use crate::exit::{Error, Outcome, Result};
use crate::git::Revision;
use crate::out;
use crate::session::{self, CompileArgs, Disk, Session};

/// Show exactly the packets whose fate changes from one policy to another.
///
/// With `--rev`, the policy as it is in git at a revision is compared with the file as it is now.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The old and the new policy; with `--rev`, the new one alone
    #[arg(required = true, num_args = 1..=2, value_names = ["OLD", "NEW"])]
    policies: Vec<PathBuf>,

    /// Compare with the policy at this git revision
    #[arg(long, value_name = "REV")]
    rev: Option<String>,

    /// How to print what changes
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,

    /// Exit with 1 when something changes, or may change
    #[arg(long)]
    exit_code: bool,

    #[command(flatten)]
    compile: CompileArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Human,
    /// One JSON object with everything
    Json,
    /// For a comment on a pull request
    Markdown,
}

pub(crate) fn run(args: &Args) -> Result {
    let (old, new) = sessions(args)?;
    let errors = [&old, &new].map(|session| session.compilation.ir.is_none());
    for (session, wrong) in [&old, &new].into_iter().zip(errors) {
        if wrong {
            session.report();
        }
    }
    let (a, b) = (&old.compilation, &new.compilation);
    let (Some(from), Some(to)) = (&a.ir, &b.ir) else {
        return Ok(Outcome::DoesNotCompile);
    };
    let found = diff((&a.policy, from), (&b.policy, to), Limits::default());
    session::report(&found.defects, &b.sources);
    let report = Report {
        diff: &found,
        sides: [(a, from), (b, to)],
    };
    out::print(&match args.format {
        Format::Human => human::render(&report),
        Format::Json => json::render(&report).map_err(|e| Error::environment(&e))?,
        Format::Markdown => markdown::render(&report),
    })?;
    if !found.defects.is_empty() {
        let text = "the analysis and the interpreter disagree: this is a defect of polc";
        return Err(Error::Environment(text.to_owned()));
    }
    Ok(if args.exit_code && !found.is_equal() {
        Outcome::Findings
    } else {
        Outcome::Clean
    })
}

/// The old policy and the new one.
fn sessions(args: &Args) -> std::result::Result<(Session, Session), Error> {
    let open = |path: &Path, files: &dyn Files| Session::read(path, &args.compile, files);
    match (args.policies.as_slice(), &args.rev) {
        ([policy], Some(rev)) => {
            let old = Revision::of(policy, rev)?;
            Ok((open(policy, &old)?, open(policy, &Disk)?))
        }
        ([old, new], None) => Ok((open(old, &Disk)?, open(new, &Disk)?)),
        ([_], None) => {
            let text = "name two policies, or one and a revision to compare it with (`--rev`)";
            Err(Error::Usage(text.to_owned()))
        }
        _ => Err(Error::Usage("with `--rev`, name one policy".to_owned())),
    }
}
