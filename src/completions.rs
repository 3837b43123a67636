//! `polc completions`

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::exit::{Outcome, Result};
use crate::out;

/// Print a completion script for a shell.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut command = crate::Cli::command();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "polc", &mut script);
    out::print(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Clean)
}
