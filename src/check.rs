//! `polc check`

use std::path::{Path, PathBuf};

use polc_compiler::analyse::lint::{self, Fingerprints};
use polc_compiler::analyse::prove::{self, Proof};
use polc_compiler::diagnostic::{Code, Diagnostic, Severity, has_errors, sort};
use polc_compiler::inline;

use crate::exit::{Error, Outcome, Result};
use crate::paths;
use crate::progress::Progress;
use crate::report::{self, Checked, Finding, Format, Silence};
use crate::session::{CompileArgs, Session};

/// Check policies: that they compile for every target, that their tests pass and their claims hold,
/// and that lint finds no error in them.
///
/// Directories are searched for `.pol` files. The exit code is 1 when something is wrong with a
/// policy, 3 when one does not compile.
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

    /// Write the report into a file
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// From which severity on findings make the exit code 1; those of lint below it are not shown
    #[arg(long, value_enum, default_value_t = FailOn::Error)]
    fail_on: FailOn,

    #[command(flatten)]
    compile: CompileArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FailOn {
    Error,
    Warning,
    Note,
    Never,
}

impl FailOn {
    /// Whether findings of this severity make the exit code 1.
    pub(crate) fn counts(self, severity: Severity) -> bool {
        match self {
            Self::Error => severity == Severity::Error,
            Self::Warning => severity >= Severity::Warning,
            Self::Note => true,
            Self::Never => false,
        }
    }
}

/// What has been looked at.
#[derive(Clone, Copy, Default)]
struct Covered {
    rules: usize,
    tests: usize,
    claims: usize,
    /// Classes of packets that proofs looked at.
    classes: u64,
}

pub(crate) fn run(args: &Args) -> Result {
    let paths = paths::policies(&args.paths)?;
    let mut covered = Covered::default();
    let mut checked = Vec::new();
    let progress = Progress::new("checking");
    for path in &paths {
        progress.step(&format!("checking `{}`", path.display()));
        checked.push(examine(path, args, &mut covered)?);
    }
    report::drop_repeated(&mut checked);
    drop(progress);
    let outcome = judge(&checked, args.fail_on);
    report::show(args.format, args.output.as_deref(), &checked)?;
    if args.format == Format::Human && outcome != Outcome::DoesNotCompile {
        eprintln!("checked {}", covered.describe(paths.len()));
    }
    Ok(outcome)
}

/// Everything that is wrong with a policy.
fn examine(path: &Path, args: &Args, covered: &mut Covered) -> std::result::Result<Checked, Error> {
    let mut session = Session::open(path, &args.compile)?;
    let targets = match &args.target {
        Some(name) => vec![name.clone()],
        None => session.config.targets.clone(),
    };
    for target in &targets {
        session.emit(target)?;
    }
    covered.rules += session.rule_count();
    let report = lint::lint(&session.compilation, &session.config.lint);
    let mut active = report.findings;
    active.retain(|d| !matches!(d.code, Code::Lint(_)) || args.fail_on.counts(d.severity));
    active.extend(expectations(&session, covered));
    sort(&mut active);
    let silenced = report.suppressed.into_iter();
    let silenced = silenced.map(|s| (s.finding, Some(Silence::Comment(s.reason))));
    let all = active.into_iter().map(|finding| (finding, None));
    let fingerprints = Fingerprints::new(&session.compilation);
    let findings = all.chain(silenced).map(|(diagnostic, silence)| Finding {
        fingerprint: fingerprints.of(&diagnostic),
        diagnostic,
        silence,
    });
    let findings = findings.collect();
    Ok(Checked { session, findings })
}

/// Tests that fail and claims that do not hold.
fn expectations(session: &Session, covered: &mut Covered) -> Vec<Diagnostic> {
    let compilation = &session.compilation;
    let (policy, sources) = (&compilation.policy, &compilation.sources);
    let Some(ir) = &compilation.ir else {
        return Vec::new();
    };
    covered.tests += policy.tests.len();
    let mut found = inline::check(policy, ir, sources, &session.options);
    for result in prove::prove(policy, ir) {
        covered.claims += usize::from(matches!(result.proof, Proof::Proven));
        covered.classes += result.classes;
        found.extend(prove::diagnostic(&result, policy, ir, sources));
    }
    found
}

/// What the findings come to.
fn judge(checked: &[Checked], fail_on: FailOn) -> Outcome {
    if checked
        .iter()
        .any(|c| has_errors(&c.session.compilation.diagnostics))
    {
        return Outcome::DoesNotCompile;
    }
    let mut active = checked.iter().flat_map(Checked::active);
    if active.any(|d| fail_on.counts(d.severity)) {
        Outcome::Findings
    } else {
        Outcome::Clean
    }
}

impl Covered {
    /// For example `2 files: 31 rules, 2 tests, 3 claims proven over 120 classes of packets`.
    fn describe(self, files: usize) -> String {
        let plural = |count: usize, what: &str| {
            let end = if count == 1 { "" } else { "s" };
            format!("{count} {what}{end}")
        };
        format!(
            "{}: {}, {}, {} proven over {} classes of packets",
            plural(files, "file"),
            plural(self.rules, "rule"),
            plural(self.tests, "test"),
            plural(self.claims, "claim"),
            self.classes
        )
    }
}
