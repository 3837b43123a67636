//! `polc lint`

mod base;
mod baseline;
mod repair;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use polc_compiler::analyse::lint::{self, Fingerprints, Level, Persona, Rule, Settings};
use polc_compiler::diagnostic::has_errors;

use crate::check::FailOn;
use crate::exit::{Error, Outcome, Result};
use crate::out;
use crate::paths;
use crate::progress::Progress;
use crate::report::{self, Checked, Finding, Format, Silence};
use crate::session::{CompileArgs, Disk, Session};

/// Look for what policies had better not say: rules that do nothing, doors left open, names that
/// nobody uses.
///
/// Directories are searched for `.pol` files. The exit code is 1 when something is found, 3 when a
/// policy does not compile.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Policies, or directories of policies
    #[arg(default_value = ".")]
    paths: Vec<PathBuf>,

    /// How to print what is found
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,

    /// Write the report into a file
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// From which severity on findings make the exit code 1
    #[arg(long, value_enum, default_value_t = FailOn::Warning)]
    fail_on: FailOn,

    /// Exit with 0 whatever is found
    #[arg(long)]
    exit_zero: bool,

    #[command(flatten)]
    which: WhichArgs,

    #[command(flatten)]
    repair: RepairArgs,

    /// Leave out what this file lists
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,

    /// List what is found in a file, for `--baseline`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["baseline", "fix", "diff"])]
    write_baseline: Option<PathBuf>,

    /// Show only what is new since this revision of the git repository
    #[arg(long, value_name = "REV")]
    diff_base: Option<String>,

    #[command(flatten)]
    compile: CompileArgs,
}

#[derive(clap::Args)]
struct WhichArgs {
    /// How much to say
    #[arg(long, value_parser = persona, value_name = "default|strict|audit")]
    persona: Option<Persona>,

    /// Look for these codes only
    #[arg(long, value_delimiter = ',', value_name = "CODES", value_parser = lint::lookup)]
    select: Vec<&'static lint::Meta>,

    /// Do not look for these codes
    #[arg(long, value_delimiter = ',', value_name = "CODES", value_parser = lint::lookup)]
    ignore: Vec<&'static lint::Meta>,
}

#[derive(clap::Args)]
struct RepairArgs {
    /// Mend what can be mended without changing any packet's fate
    #[arg(long)]
    fix: bool,

    /// Print what `--fix` would change, and change nothing
    #[arg(long)]
    diff: bool,
}

fn persona(word: &str) -> std::result::Result<Persona, String> {
    let all = [Persona::Default, Persona::Strict, Persona::Audit];
    let found = all.into_iter().find(|persona| persona.name() == word);
    found.ok_or_else(|| "there are default, strict and audit".to_owned())
}

impl WhichArgs {
    /// The settings of the repository, as the command line has it.
    fn settings(&self, settings: &mut Settings) {
        settings.persona = self.persona.unwrap_or(settings.persona);
        settings.only = self.select.iter().copied().map(Rule).collect();
        for meta in &self.ignore {
            settings.only.remove(&Rule(meta));
            settings.levels.insert(Rule(meta), Level::Off);
        }
    }
}

pub(crate) fn run(args: &Args) -> Result {
    let paths = paths::policies(&args.paths)?;
    let progress = Progress::new("looking");
    if args.repair.fix || args.repair.diff {
        let mended = repair::mend(&paths, args)?;
        if args.repair.diff {
            drop(progress);
            out::print(&mended.diff())?;
            return outcome(&look(&paths, args)?, args);
        }
        mended.write()?;
    }
    let mut checked = look(&paths, args)?;
    if let Some(revision) = &args.diff_base {
        progress.step(&format!("looking at `{revision}`"));
        base::subtract(&mut checked, revision, args)?;
    }
    if let Some(path) = &args.write_baseline {
        drop(progress);
        return baseline::write(path, &checked);
    }
    if let Some(path) = &args.baseline {
        baseline::subtract(&mut checked, path)?;
    }
    drop(progress);
    report::show(args.format, args.output.as_deref(), &checked)?;
    if let (Format::Human, None) = (args.format, &args.output) {
        eprintln!("{}", count(&checked));
    }
    outcome(&checked, args)
}

/// Compiles and lints every policy.
fn look(paths: &[PathBuf], args: &Args) -> std::result::Result<Vec<Checked>, Error> {
    let each = paths.iter().map(|path| examine(path, args, &Disk));
    let mut checked = each.collect::<std::result::Result<Vec<_>, _>>()?;
    report::drop_repeated(&mut checked);
    Ok(checked)
}

/// Compiles and lints a policy, with files from the disk or elsewhere.
fn examine(
    path: &Path,
    args: &Args,
    files: &dyn polc_compiler::Files,
) -> std::result::Result<Checked, Error> {
    let mut session = Session::read(path, &args.compile, files)?;
    args.which.settings(&mut session.config.lint);
    let report = lint::lint(&session.compilation, &session.config.lint);
    let fingerprints = Fingerprints::new(&session.compilation);
    let silenced = report.suppressed.into_iter();
    let silenced = silenced.map(|s| (s.finding, Some(Silence::Comment(s.reason))));
    let active = report.findings.into_iter().map(|finding| (finding, None));
    let findings = active.chain(silenced).map(|(diagnostic, silence)| Finding {
        fingerprint: fingerprints.of(&diagnostic),
        diagnostic,
        silence,
    });
    let findings = findings.collect();
    Ok(Checked { session, findings })
}

/// How much was looked at and found.
fn count(checked: &[Checked]) -> String {
    let active: Vec<_> = checked.iter().flat_map(Checked::active).collect();
    let silent = checked.iter().flat_map(|c| &c.findings);
    let silent = silent.filter(|f| f.silence.is_some()).count();
    let safe = active.iter().filter_map(|d| d.fix.as_ref());
    let safe = safe.filter(|fix| fix.safe).count();
    let files = number(checked.len(), "file");
    let mut text = format!("looked at {files}: {}", number(active.len(), "finding"));
    // Writing to a `String` cannot fail.
    if silent > 0 {
        let _ = write!(text, ", {silent} silenced");
    }
    if safe > 0 {
        let _ = write!(text, "; `--fix` mends {safe}");
    }
    text
}

/// A number of things, in words.
fn number(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// What the findings come to.
#[expect(
    clippy::unnecessary_wraps,
    reason = "it ends the commands that return it"
)]
fn outcome(checked: &[Checked], args: &Args) -> Result {
    if checked.iter().any(|c| c.session.compilation.ir.is_none()) {
        return Ok(Outcome::DoesNotCompile);
    }
    let mut active = checked.iter().flat_map(Checked::active);
    let counts = !args.exit_zero && active.any(|d| args.fail_on.counts(d.severity));
    Ok(if counts {
        Outcome::Findings
    } else {
        Outcome::Clean
    })
}

/// Whether a policy compiles.
fn compiles(checked: &Checked) -> bool {
    !has_errors(&checked.session.compilation.diagnostics)
}
