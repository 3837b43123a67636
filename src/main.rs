//! The `polc` command line: arguments in, exit code out. Each command has its own file.

#![forbid(unsafe_code)]

mod apply;
mod build;
mod capture;
mod check;
mod completions;
mod config;
mod diff;
mod exit;
mod explain;
mod fmt;
mod git;
mod lint;
mod log;
mod matrix;
mod out;
mod paths;
mod progress;
mod prove;
mod query;
mod remove;
mod report;
mod session;
mod status;
mod test;
mod trace;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A declarative network-policy compiler for Linux.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 clean, 1 findings, 2 wrong usage or configuration, 3 the policy \
                  does not compile, 4 the environment does not allow it."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check(check::Args),
    Test(test::Args),
    Trace(trace::Args),
    Lint(lint::Args),
    Explain(explain::Args),
    Prove(prove::Args),
    Query(query::Args),
    Matrix(matrix::Args),
    Fmt(fmt::Args),
    Build(build::Args),
    Diff(diff::Args),
    Apply(apply::Args),
    Remove(remove::Args),
    Status(status::Args),
    Log(log::Args),
    Verify(verify::Args),
    Completions(completions::Args),
}

fn main() -> ExitCode {
    exit::code(match Cli::parse().command {
        Command::Check(args) => check::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Lint(args) => lint::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Prove(args) => prove::run(&args),
        Command::Query(args) => query::run(&args),
        Command::Matrix(args) => matrix::run(&args),
        Command::Fmt(args) => fmt::run(&args),
        Command::Build(args) => build::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Apply(args) => apply::run(&args),
        Command::Remove(args) => remove::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Log(args) => log::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Completions(args) => completions::run(&args),
    })
}
