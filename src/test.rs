//! `polc test`

use std::fmt::Write as _;
use std::path::PathBuf;

use polc_compiler::diagnostic::Diagnostic;
use polc_compiler::inline::{self, Coverage, StepResult, TestResult};
use polc_compiler::interpret::{RuleId, explain};
use polc_compiler::ir::Ir;

use crate::exit::{Error, Outcome, Result};
use crate::out;
use crate::paths;
use crate::progress::Progress;
use crate::session::{CompileArgs, Session, draw};

mod junit;

/// Run the inline tests of policies in the reference interpreter.
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
    /// JUnit's XML, for CI systems
    Junit,
}

/// A policy whose tests have been run.
struct Tested {
    path: String,
    session: Session,
    ir: Ir,
    results: Vec<TestResult>,
}

pub(crate) fn run(args: &Args) -> Result {
    let mut outcome = Outcome::Clean;
    let mut all = Vec::new();
    let progress = Progress::new("testing");
    for path in paths::policies(&args.paths)? {
        let name = path.display().to_string();
        progress.step(&format!("testing `{name}`"));
        let mut session = Session::open(&path, &args.compile)?;
        let Some(ir) = session.compilation.ir.take() else {
            session.report();
            outcome = Outcome::DoesNotCompile;
            continue;
        };
        let bench = inline::Bench::new(&session.compilation.policy, &ir, &session.options);
        let wanted = |title: &str| args.filter.as_ref().is_none_or(|f| title.contains(f));
        let tests = session.compilation.policy.tests.iter();
        let results: Vec<TestResult> = tests
            .filter(|t| wanted(&t.test.title.node))
            .map(|t| bench.test(t))
            .collect();
        if !results.iter().all(TestResult::passed) {
            outcome = outcome.max(Outcome::Findings);
        }
        all.push(Tested {
            path: name,
            session,
            ir,
            results,
        });
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

    fn coverage(&self) -> Coverage {
        inline::coverage(&self.ir, &self.results)
    }
}

fn human(all: &[Tested], args: &Args) -> String {
    let mut text = String::new();
    let (mut passed, mut failed) = (0, 0);
    for tested in all {
        for test in &tested.results {
            let (word, count) = if test.passed() {
                ("ok    ", &mut passed)
            } else {
                ("FAILED", &mut failed)
            };
            *count += 1;
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "{word}  {}: {}", tested.path, test.title);
        }
    }
    if failed > 0 {
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
        .flat_map(|tested| tested.results.iter().map(|test| json_test(tested, test)))
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

fn json_test(tested: &Tested, test: &TestResult) -> serde_json::Value {
    let sources = &tested.session.compilation.sources;
    let steps = test.steps.iter().map(|step| {
        let failure = step.failure.as_ref();
        let by = failure.and_then(|f| f.by?.of(&tested.ir));
        let trace = failure.and_then(|f| {
            let judged = f.judged.as_ref()?;
            Some(explain(&judged.decision, &tested.ir, sources))
        });
        serde_json::json!({
            "line": tested.line(step),
            "passed": failure.is_none(),
            "expected": step.expected,
            "got": failure.map(|f| &f.got),
            "rule": by.map(|r| &*r.name),
            "help": failure.and_then(|f| f.help.as_ref()),
            "trace": trace,
        })
    });
    serde_json::json!({
        "policy": tested.path,
        "title": test.title,
        "file": sources.get(test.span.file).map(|s| &*s.name),
        "line": sources.position(test.span).0,
        "passed": test.passed(),
        "steps": steps.collect::<Vec<_>>(),
    })
}

fn json_coverage(tested: &Tested) -> serde_json::Value {
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
