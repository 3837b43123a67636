//! `polc build`

use std::path::PathBuf;

use polc_compiler::ir::print::print;

use crate::exit::{Error, Outcome, Result};
use crate::out;
use crate::progress::Progress;
use crate::session::{CompileArgs, Session};

/// Compile a policy into a bundle: a directory with the target's script, its map data and a
/// manifest. The same policy gives the same bytes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The policy
    policy: PathBuf,

    /// What to compile for
    #[arg(long, value_name = "NAME", default_value = "nftables")]
    target: String,

    /// The directory to write
    #[arg(short, long, value_name = "DIR", required_unless_present = "emit")]
    output: Option<PathBuf>,

    /// Print an intermediate form on standard output instead of writing a bundle
    #[arg(long, value_enum, conflicts_with = "output")]
    emit: Option<Emit>,

    #[command(flatten)]
    compile: CompileArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Emit {
    /// The policy in normal form
    Ir,
}

pub(crate) fn run(args: &Args) -> Result {
    let progress = Progress::new("compiling");
    let mut session = Session::open(&args.policy, &args.compile)?;
    if args.emit == Some(Emit::Ir) {
        drop(progress);
        session.report();
        return Ok(match &session.compilation.ir {
            Some(ir) => {
                out::print(&print(ir))?;
                Outcome::Clean
            }
            None => Outcome::DoesNotCompile,
        });
    }
    progress.step("generating");
    let bundle = session.emit(&args.target)?;
    drop(progress);
    session.report();
    let (Some(bundle), Some(output)) = (bundle, &args.output) else {
        return Ok(Outcome::DoesNotCompile);
    };
    bundle.write(output).map_err(|e| Error::environment(&e))?;
    let manifest = bundle.manifest();
    eprintln!(
        "built `{}` for {} into `{}`: {} rules, generation {}",
        manifest.policy,
        manifest.target,
        output.display(),
        manifest.rules.len(),
        manifest.generation
    );
    Ok(Outcome::Clean)
}
