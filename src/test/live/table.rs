//! All targets side by side.

use std::fmt::Write as _;

use polc_compiler::inline::StepResult;

use super::{Cell, agreed};
use crate::test::Tested;

/// The widest that the text of a step is shown.
const WIDEST: usize = 72;

const INTERPRETER: &str = "interpreter";

/// A line of the table.
struct Line {
    text: String,
    cells: Vec<String>,
}

/// The table of all policies, the reasons for what was not tried, and what failed.
pub(crate) fn table(all: &[Tested]) -> String {
    let mut reasons: Vec<String> = Vec::new();
    let mut failures = Vec::new();
    let mut lines = Vec::new();
    let targets = all.first().map_or(&[][..], |t| &t.columns);
    let head = targets.iter().map(|c| c.target.to_owned());
    lines.push(Line {
        text: String::new(),
        cells: std::iter::once(INTERPRETER.to_owned())
            .chain(head)
            .collect(),
    });
    for tested in all {
        lines.push(heading(&tested.path, ""));
        for (number, test) in tested.results.iter().enumerate() {
            lines.push(heading(&test.title, "  "));
            for (at, step) in test.steps.iter().enumerate() {
                let mut cells = vec![
                    if step.failure.is_none() {
                        "ok"
                    } else {
                        "FAILED"
                    }
                    .to_owned(),
                ];
                for column in &tested.columns {
                    let Some(cell) = column.tests.get(number).and_then(|t| t.get(at)) else {
                        continue;
                    };
                    cells.push(shown(cell, &mut reasons));
                    note(&mut failures, (tested, step), column.target, cell);
                }
                let line = tested.line(step);
                let text = format!("    {line:>4}  {}", source(tested, step));
                lines.push(Line { text, cells });
            }
        }
    }
    let mut text = laid_out(&lines);
    if !reasons.is_empty() {
        text.push('\n');
    }
    for (number, reason) in reasons.iter().enumerate() {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "[{}] not played: {reason}", number + 1);
    }
    if !failures.is_empty() {
        text.push('\n');
    }
    text.extend(failures.iter().map(Failure::text));
    text
}

fn heading(text: &str, indent: &str) -> Line {
    Line {
        text: format!("{indent}{text}"),
        cells: Vec::new(),
    }
}

fn shown(cell: &Cell, reasons: &mut Vec<String>) -> String {
    let Cell::Untried(reason) = cell else {
        return cell.word().to_owned();
    };
    let known = reasons.iter().position(|r| r == reason);
    let number = known.unwrap_or_else(|| {
        reasons.push(reason.clone());
        reasons.len() - 1
    });
    format!("{} [{}]", cell.word(), number + 1)
}

/// Steps that failed on a target for one reason.
struct Failure {
    path: String,
    target: &'static str,
    reason: String,
    /// The line of each, and what it expected.
    steps: Vec<(usize, String)>,
}

/// Notes what failed on a target, where the interpreter does not say it already.
fn note(
    failures: &mut Vec<Failure>,
    (tested, step): (&Tested, &StepResult),
    target: &'static str,
    cell: &Cell,
) {
    let Cell::Failed(reason) = cell else {
        return;
    };
    if *cell == agreed(step) {
        return;
    }
    let place = (tested.line(step), step.expected.clone());
    let same =
        |f: &&mut Failure| f.path == tested.path && f.target == target && f.reason == *reason;
    match failures.iter_mut().find(same) {
        Some(failure) => failure.steps.push(place),
        None => failures.push(Failure {
            path: tested.path.clone(),
            target,
            reason: reason.clone(),
            steps: vec![place],
        }),
    }
}

impl Failure {
    fn text(&self) -> String {
        let Self {
            path,
            target,
            reason,
            steps,
        } = self;
        if let [(line, expected)] = steps.as_slice() {
            return format!("{path}:{line}: {target}: expected {expected}: {reason}\n");
        }
        let lines: Vec<String> = steps.iter().map(|(l, _)| l.to_string()).collect();
        format!("{path}: {target}: {reason} (lines {})\n", lines.join(", "))
    }
}

/// The step as it is written, on one line.
fn source(tested: &Tested, step: &StepResult) -> String {
    let sources = &tested.session.compilation.sources;
    let text = sources.get(step.span.file).map_or("", |s| &s.text);
    let [start, end] = [step.span.start, step.span.end].map(|at| usize::try_from(at).unwrap_or(0));
    let text = text.get(start..end).unwrap_or("");
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ");
    if text.chars().count() <= WIDEST {
        return text;
    }
    let cut: String = text.chars().take(WIDEST - 1).collect();
    format!("{}…", cut.trim_end())
}

fn laid_out(lines: &[Line]) -> String {
    let length = |text: &str| text.chars().count();
    let with_cells = lines.iter().filter(|l| !l.cells.is_empty());
    let first = with_cells.map(|l| length(&l.text)).max().unwrap_or(0);
    let columns = lines.iter().map(|l| l.cells.len()).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|l| l.cells.get(column));
        cells.map(|c| length(c)).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for line in lines {
        if line.cells.is_empty() {
            out.push_str(&line.text);
        } else {
            let mut text = format!("{:first$}", line.text);
            for (cell, width) in line.cells.iter().zip(&widths) {
                // Writing to a `String` cannot fail.
                let _ = write!(text, "  {cell:width$}");
            }
            out.push_str(text.trim_end());
        }
        out.push('\n');
    }
    out
}
