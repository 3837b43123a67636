//! `polc test`

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use polc_compiler::diagnostic::Diagnostic;
use polc_compiler::inline::{self, Coverage, StepResult, TestResult};
use polc_compiler::interpret::{RuleId, explain};
use polc_compiler::ir::Ir;
use serde_json::Value;

use crate::exit::{Error, Outcome, Result};
use crate::out;
use crate::paths;
use crate::progress::Progress;
use crate::session::{CompileArgs, Session, draw};
use live::{Cell, Column};

mod junit;
mod live;

/// Run the inline tests of policies in the reference interpreter.
///
/// With `--live` they also run as real packets, in network namespaces, against every target.
///
/// Directories are searched for `.pol` files. The exit code is 1 when a test fails, 3 when a policy
/// does not compile.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Policies, or directories of policies
    #[arg(default_value = ".")]
    paths: Vec<PathBuf>,

    /// Say which rules no test reaches
    #[arg(long)]
    coverage: bool,

    /// Run only the tests whose title contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,

    /// Play the tests with real packets too, on each target, in network namespaces of their own
    #[arg(long)]
    live: bool,

    /// The targets on which to play them (default: all that can be applied)
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "live")]
    target: Vec<String>,

    /// How to print the results, on standard output
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,

    #[command(flatten)]
    compile: CompileArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Human,
    /// One JSON object
    Json,
    /// The XML of `JUnit`, for CI systems
    Junit,
}

/// A policy whose tests have been run.
struct Tested {
    path: String,
    session: Session,
    ir: Ir,
    /// Which tests have been run, by number.
    tests: Vec<usize>,
    results: Vec<TestResult>,
    /// What became of them on each target.
    columns: Vec<Column>,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut outcome = Outcome::Clean;
    let mut all = Vec::new();
    // Before any thread is started.
    let setup = args
        .live
        .then(|| live::Setup::new(&args.target))
        .transpose()?;
    let progress = Progress::new("testing");
    for path in paths::policies(&args.paths)? {
        progress.step(&format!("testing `{}`", path.display()));
        let Some(mut tested) = test(&path, args, setup.is_some())? else {
            outcome = Outcome::DoesNotCompile;
            continue;
        };
        if let Some(setup) = &setup {
            tested.columns = live::play(&tested, setup, &progress)?;
        }
        let failed = |test: &TestResult| !test.passed();
        if tested.results.iter().any(failed) || tested.columns.iter().any(Column::failed) {
            outcome = outcome.max(Outcome::Findings);
        }
        all.push(tested);
    }
    drop(progress);
    let text = match args.format {
        Format::Human => human(&all, args),
        Format::Json => json(&all, args)?,
        Format::Junit => junit::report(&all)?,
    };
    out::print(&text)?;
    Ok(outcome)
}

/// Runs the tests of a policy in the interpreter; `None` when it does not compile, which is
/// reported.
fn test(path: &Path, args: &Args, live: bool) -> std::result::Result<Option<Tested>, Error> {
    let mut session = Session::open(path, &args.compile)?;
    if live
        && let Some(ir) = &session.compilation.ir
        && live::number(ir, &mut session.options)
    {
        session.compile_again(path)?;
    }
    let Some(ir) = session.compilation.ir.take() else {
        session.report();
        return Ok(None);
    };
    let bench = inline::Bench::new(&session.compilation.policy, &ir, &session.options);
    let wanted = |title: &str| args.filter.as_ref().is_none_or(|f| title.contains(f));
    let tests = session.compilation.policy.tests.iter().enumerate();
    let (tests, results) = tests
        .filter(|(_, t)| wanted(&t.test.title.node))
        .map(|(number, t)| (number, bench.test(t)))
        .unzip();
    Ok(Some(Tested {
        path: path.display().to_string(),
        session,
        ir,
        tests,
        results,
        columns: Vec::new(),
    }))
}

impl Tested {
    /// The diagnostics of failed steps.
    fn failures<'t>(&'t self, test: &'t TestResult) -> impl Iterator<Item = Diagnostic> + 't {
        let sources = &self.session.compilation.sources;
        let steps = test.steps.iter();
        steps.filter_map(move |step| inline::diagnostic(&self.ir, sources, test, step))
    }

    /// The line of a step, from 1.
    fn line(&self, step: &StepResult) -> usize {
        self.session.compilation.sources.position(step.span).0
    }

    /// Whether a test passed everywhere where it was run.
    fn passed(&self, number: usize) -> bool {
        let here = self.results.get(number).is_some_and(TestResult::passed);
        here && self.columns.iter().all(|column| {
            let mut cells = column.tests.get(number).into_iter().flatten();
            !cells.any(|c| matches!(c, Cell::Failed(_)))
        })
    }

    fn coverage(&self) -> Coverage {
        inline::coverage(&self.ir, &self.results)
    }
}

fn human(all: &[Tested], args: &Args) -> String {
    let mut text = String::new();
    let (mut passed, mut failed) = (0, 0);
    if args.live {
        text.push_str(&live::table(all));
    }
    for tested in all {
        for (number, test) in tested.results.iter().enumerate() {
            let (word, count) = if tested.passed(number) {
                ("ok    ", &mut passed)
            } else {
                ("FAILED", &mut failed)
            };
            *count += 1;
            if !args.live {
                // Writing to a `String` cannot fail.
                let _ = writeln!(text, "{word}  {}: {}", tested.path, test.title);
            }
        }
    }
    if failed > 0 || args.live {
        text.push('\n');
    }
    for tested in all {
        let sources = &tested.session.compilation.sources;
        for test in &tested.results {
            for diagnostic in tested.failures(test) {
                text.push_str(draw(&diagnostic, sources, out::is_terminal()).trim_end());
                text.push_str("\n\n");
            }
        }
    }
    if args.coverage {
        if failed == 0 && passed > 0 {
            text.push('\n');
        }
        for tested in all {
            text.push_str(&coverage_text(tested));
            text.push('\n');
        }
    }
    let files = count(all.len(), "file");
    let tests = count(passed + failed, "test");
    let _ = writeln!(text, "{tests} in {files}: {passed} passed, {failed} failed");
    text
}

/// `1 test`, `2 tests`
fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn coverage_text(tested: &Tested) -> String {
    let coverage = tested.coverage();
    let of = |reached: &[RuleId], missed: &[RuleId], what| {
        let all = reached.len() + missed.len();
        format!("{} of {}", reached.len(), count(all, what))
    };
    let rules = of(&coverage.reached, &coverage.missed, "rule");
    let defaults = of(
        &coverage.reached_defaults,
        &coverage.missed_defaults,
        "default",
    );
    let mut text = String::new();
    let _ = writeln!(text, "{}: tests reach {rules}, {defaults}", tested.path);
    let missed = coverage.missed.iter().chain(&coverage.missed_defaults);
    let rules: Vec<_> = missed.filter_map(|id| id.of(&tested.ir)).collect();
    let wide = rules
        .iter()
        .map(|r| r.name.chars().count())
        .max()
        .unwrap_or(0);
    for rule in rules {
        let place = tested.session.compilation.sources.describe(rule.span);
        let _ = writeln!(text, "  not reached: {:wide$}  {place}", rule.name);
    }
    text
}

fn json(all: &[Tested], args: &Args) -> std::result::Result<String, Error> {
    let tests: Vec<_> = all
        .iter()
        .flat_map(|tested| {
            let numbers = 0..tested.results.len();
            numbers.filter_map(|number| json_test(tested, number))
        })
        .collect();
    let mut report = serde_json::json!({ "tests": tests });
    if args.coverage
        && let Some(object) = report.as_object_mut()
    {
        let coverage: Vec<_> = all.iter().map(json_coverage).collect();
        object.insert("coverage".to_owned(), coverage.into());
    }
    let text = serde_json::to_string_pretty(&report).map_err(|e| Error::environment(&e))?;
    Ok(format!("{text}\n"))
}

fn json_test(tested: &Tested, number: usize) -> Option<Value> {
    let test = tested.results.get(number)?;
    let sources = &tested.session.compilation.sources;
    let steps = test.steps.iter().enumerate().map(|(at, step)| {
        let failure = step.failure.as_ref();
        let by = failure.and_then(|f| f.by?.of(&tested.ir));
        let trace = failure.and_then(|f| {
            let judged = f.judged.as_ref()?;
            Some(explain(&judged.decision, &tested.ir, sources))
        });
        let mut shown = serde_json::json!({
            "line": tested.line(step),
            "passed": failure.is_none(),
            "expected": step.expected,
            "got": failure.map(|f| &f.got),
            "rule": by.map(|r| &*r.name),
            "help": failure.and_then(|f| f.help.as_ref()),
            "trace": trace,
        });
        let live = json_live(tested, number, at);
        if let (Some(object), false) = (shown.as_object_mut(), live.is_empty()) {
            object.insert("live".to_owned(), live.into());
        }
        shown
    });
    Some(serde_json::json!({
        "policy": tested.path,
        "title": test.title,
        "file": sources.get(test.span.file).map(|s| &*s.name),
        "line": sources.position(test.span).0,
        "passed": tested.passed(number),
        "steps": steps.collect::<Vec<_>>(),
    }))
}

/// What became of a step on each target.
fn json_live(tested: &Tested, test: usize, step: usize) -> serde_json::Map<String, Value> {
    let columns = tested.columns.iter();
    let cells = columns.filter_map(|column| {
        let cell = column.tests.get(test)?.get(step)?;
        Some((column.target.to_owned(), cell.json()))
    });
    cells.collect()
}

fn json_coverage(tested: &Tested) -> Value {
    let coverage = tested.coverage();
    let sources = &tested.session.compilation.sources;
    let list = |ids: &[RuleId]| -> Vec<_> {
        let rules = ids.iter().filter_map(|id| id.of(&tested.ir));
        let entry = |rule: &polc_compiler::ir::Rule| {
            serde_json::json!({
                "rule": &*rule.name,
                "file": sources.get(rule.span.file).map(|s| &*s.name),
                "line": sources.position(rule.span).0,
            })
        };
        rules.map(entry).collect()
    };
    serde_json::json!({
        "policy": tested.path,
        "rules": coverage.reached.len() + coverage.missed.len(),
        "defaults": coverage.reached_defaults.len() + coverage.missed_defaults.len(),
        "missed": list(&coverage.missed),
        "missed_defaults": list(&coverage.missed_defaults),
    })
}
