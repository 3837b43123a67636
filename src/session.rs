//! What the commands that compile a policy share: options, reading, reporting.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::Path;

use polc_bundle::Bundle;
use polc_compiler::analyse::question::ask;
use polc_compiler::diagnostic::Diagnostic;
use polc_compiler::diagnostic::human::{self, Style};
use polc_compiler::source::SourceMap;
use polc_compiler::{Compilation, Files, Options, compile, target};

use crate::config::Config;
use crate::exit::Error;

/// Options of every command that compiles.
#[derive(clap::Args)]
pub(crate) struct CompileArgs {
    /// Give a parameter of the policy a value
    #[arg(long = "param", value_name = "NAME=VALUE")]
    params: Vec<String>,

    /// The date at which `expires` is judged (default: today)
    #[arg(long, value_name = "YYYY-MM-DD")]
    as_of: Option<String>,
}

/// Reads files from the disk for the compiler.
pub(crate) struct Disk;

impl Files for Disk {
    fn read(&self, path: &str) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// A policy file that has been compiled, right or not.
pub(crate) struct Session {
    pub(crate) config: Config,
    pub(crate) options: Options,
    pub(crate) compilation: Compilation,
}

impl Session {
    /// Reads and compiles the policy at `path`.
    pub(crate) fn open(path: &Path, args: &CompileArgs) -> Result<Self, Error> {
        Self::read(path, args, &Disk)
    }

    /// The same, with files from elsewhere.
    pub(crate) fn read(path: &Path, args: &CompileArgs, files: &dyn Files) -> Result<Self, Error> {
        Self::with(path, args, files, |name, text, options| {
            compile(name, text, files, options)
        })
    }

    /// As [`Session::open`], with a question, which becomes the last of the policy's claims.
    pub(crate) fn ask(path: &Path, question: &str, args: &CompileArgs) -> Result<Self, Error> {
        Self::with(path, args, &Disk, |name, text, options| {
            ask(name, text, question, &Disk, options)
        })
    }

    fn with(
        path: &Path,
        args: &CompileArgs,
        files: &dyn Files,
        compile: impl FnOnce(&str, &str, &Options) -> Compilation,
    ) -> Result<Self, Error> {
        let config = Config::of(path)?;
        let name = path.to_string_lossy();
        let text = files
            .read(&name)
            .map_err(|e| Error::Usage(format!("cannot read `{name}`: {e}")))?;
        let options = options(args, &config)?;
        let compilation = compile(&name, &text, &options);
        Ok(Self {
            config,
            options,
            compilation,
        })
    }

    /// The bundle for a target; its own findings are added to the session's.
    pub(crate) fn emit(&mut self, name: &str) -> Result<Option<Bundle>, Error> {
        let target = target::find(name).ok_or_else(|| {
            let known: Vec<&str> = target::all().iter().map(|t| t.name()).collect();
            Error::Usage(format!(
                "there is no target `{name}`: there is {}",
                known.join(", ")
            ))
        })?;
        let Some(ir) = &self.compilation.ir else {
            return Ok(None);
        };
        let options = self.target_options();
        match target.emit(ir, &self.compilation.sources, &options) {
            Ok(bundle) => {
                let remarks = target.remarks(ir, &options);
                self.compilation.diagnostics.extend(remarks);
                polc_compiler::diagnostic::sort(&mut self.compilation.diagnostics);
                Ok(Some(bundle))
            }
            Err(diagnostics) => {
                self.compilation.diagnostics.extend(diagnostics);
                polc_compiler::diagnostic::sort(&mut self.compilation.diagnostics);
                Ok(None)
            }
        }
    }

    /// What is chosen about a build beside the policy.
    pub(crate) fn target_options(&self) -> target::Options {
        target::Options {
            log_group: self.config.log_group,
            count_all: self.config.count_all,
            max_set: self.config.max_keys,
            flows: self.config.max_flows,
            ..target::Options::default()
        }
    }

    /// Compiles the policy at `path` again, with the session's options as they are now.
    pub(crate) fn compile_again(&mut self, path: &Path) -> Result<(), Error> {
        let name = path.to_string_lossy();
        let text = Disk
            .read(&name)
            .map_err(|e| Error::Usage(format!("cannot read `{name}`: {e}")))?;
        self.compilation = compile(&name, &text, &Disk, &self.options);
        Ok(())
    }

    /// How many rules the policy has.
    pub(crate) fn rule_count(&self) -> usize {
        self.compilation
            .ir
            .as_ref()
            .map_or(0, |ir| ir.rules().count())
    }

    /// Shows the findings on standard error.
    pub(crate) fn report(&self) {
        report(&self.compilation.diagnostics, &self.compilation.sources);
    }
}

/// Shows findings on standard error.
pub(crate) fn report(diagnostics: &[Diagnostic], sources: &SourceMap) {
    let terminal = std::io::stderr().is_terminal();
    for diagnostic in diagnostics {
        eprintln!("{}", draw(diagnostic, sources, terminal).trim_end());
        eprintln!();
    }
}

/// A finding as text, for a terminal or not.
pub(crate) fn draw(diagnostic: &Diagnostic, sources: &SourceMap, terminal: bool) -> String {
    let colour = terminal && std::env::var_os("NO_COLOR").is_none();
    human::render(diagnostic, sources, Style { colour, width: 100 })
}

fn options(args: &CompileArgs, config: &Config) -> Result<Options, Error> {
    let mut params: BTreeMap<String, String> = config.params.clone();
    for param in &args.params {
        let (name, value) = param
            .split_once('=')
            .ok_or_else(|| Error::Usage(format!("`--param {param}`: write NAME=VALUE")))?;
        params.insert(name.to_owned(), value.to_owned());
    }
    let as_of = match &args.as_of {
        Some(date) => date
            .parse::<jiff::civil::Date>()
            .map_err(|_| Error::Usage(format!("`--as-of {date}`: write it as 2027-03-31")))?,
        None => today(),
    };
    Ok(Options {
        params,
        users: config.users.clone(),
        groups: config.groups.clone(),
        as_of: as_of.to_string(),
    })
}

/// Today in UTC, so that builds on one day agree everywhere.
fn today() -> jiff::civil::Date {
    jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date()
}
