//! `polc completions`

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::exit::{Outcome, Result};

/// Print a completion script for a shell.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

#[expect(clippy::unnecessary_wraps, reason = "every command has this shape")]
pub(crate) fn run(args: &Args) -> Result {
    let mut command = crate::Cli::command();
    clap_complete::generate(args.shell, &mut command, "polc", &mut std::io::stdout());
    Ok(Outcome::Clean)
}
