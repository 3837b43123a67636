//! A decision as text, stage by stage.

use std::fmt::Write as _;

use super::decision::Decision;
use super::explain::{Explanation, RulePlace, Why, explain};
use crate::ir::Ir;
use crate::source::SourceMap;

/// So many rules in a row that do not hold are shown; more are counted.
const SHOWN: usize = 12;

/// The decision and how it came about: each rule asked with its place, why it does not hold, and
/// the one that decided. Of many rules in a row that do not hold only the last are shown, unless
/// `full`. Ends with a line end.
pub fn render(decision: &Decision, ir: &Ir, sources: &SourceMap, full: bool) -> String {
    let explanation = explain(decision, ir, sources);
    let mut out = headline(&explanation);
    let mut row: Vec<&Why> = Vec::new();
    for step in &explanation.steps {
        if matches!(step, Why::Rule { answer: "no", .. }) {
            row.push(step);
            continue;
        }
        flush(&mut out, &mut row, full);
        line(&mut out, step);
    }
    flush(&mut out, &mut row, full);
    out
}

fn headline(explanation: &Explanation) -> String {
    let mut out = explanation.outcome.to_owned();
    if let Some(with) = explanation.with {
        let _ = write!(out, " with {with}");
    }
    if let Some(rule) = &explanation.rule {
        let _ = write!(out, " by `{}` ({})", rule.name, rule.at);
    }
    for (word, what) in [
        ("goes", &explanation.steered),
        ("leaves from", &explanation.sourced),
    ] {
        if let Some(what) = what
            .as_ref()
            .filter(|w| !matches!(w.as_str(), "direct" | "its own"))
        {
            let _ = write!(out, ", {word} {what}");
        }
    }
    if explanation.mark != 0 {
        let _ = write!(out, ", mark {:#x}", explanation.mark);
    }
    if explanation.notrack {
        out.push_str(", untracked");
    }
    out.push('\n');
    out
}

fn flush(out: &mut String, row: &mut Vec<&Why>, full: bool) {
    let hidden = if full {
        0
    } else {
        row.len().saturating_sub(SHOWN)
    };
    if hidden > 0 {
        let _ = writeln!(out, "  … {hidden} more that do not hold");
    }
    for step in row.drain(..).skip(hidden) {
        line(out, step);
    }
}

fn line(out: &mut String, step: &Why) {
    let head = |rule: &RulePlace| format!("{} `{}` ({})", rule.verb, rule.name, rule.at);
    let _ = match step {
        Why::Stage { name } => writeln!(out, "{name}"),
        Why::Fact { text, .. } => writeln!(out, "  = {text}"),
        Why::Rule {
            rule,
            because: Some(why),
            ..
        } => writeln!(
            out,
            "  - {}: {} is {}, not {}",
            head(rule),
            why.what,
            why.got,
            why.wanted
        ),
        Why::Rule { rule, answer, .. } => {
            let sign = if *answer == "decides" { '>' } else { '+' };
            writeln!(out, "  {sign} {}", head(rule))
        }
    };
}
