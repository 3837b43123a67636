//! A comparison as a comment on a pull request.

use std::fmt::Write as _;

use polc_compiler::analyse::diff::{Change, Kind};

use super::report::{Report, packets, readable};

/// The longest comment that forges take is 65,536 characters; this leaves room for others' text.
const LONGEST: usize = 40_000;
/// The most boxes of a change.
const BOXES: usize = 12;

pub(super) fn render(report: &Report) -> String {
    let mut out = verdict(report);
    let kinds: Vec<Kind> = Kind::ALL
        .into_iter()
        .filter(|k| !report.of(*k).is_empty())
        .collect();
    if !kinds.is_empty() {
        out.push_str("\n| change | packets | entries |\n|---|---:|---:|\n");
        for kind in &kinds {
            let count = report.diff.count(*kind);
            let entries = report.of(*kind).len();
            let _ = writeln!(
                out,
                "| {} | {} | {entries} |",
                kind.title(),
                cell(count.as_ref())
            );
        }
    }
    for kind in kinds {
        let _ = write!(out, "\n<details>\n<summary>{}</summary>\n", kind.title());
        let mut left_out = 0;
        for change in report.of(kind) {
            let text = entry(report, change);
            if out.len() + text.len() > LONGEST {
                left_out += 1;
            } else {
                out.push_str(&text);
            }
        }
        if left_out > 0 {
            let _ = writeln!(
                out,
                "\n{left_out} more entries: see `polc diff --format json`."
            );
        }
        out.push_str("\n</details>\n");
    }
    for line in report.footer() {
        if out.len() + line.len() < LONGEST {
            let _ = write!(out, "\n{line}\n");
        }
    }
    out
}

/// One line that says it all.
fn verdict(report: &Report) -> String {
    if let Some(reason) = report.unknown() {
        return format!("**Not everything is known**: {reason}.\n");
    }
    let some = |kind| !report.of(kind).is_empty();
    let refuses = some(Kind::Denied) || some(Kind::Refused);
    match (some(Kind::Allowed), refuses) {
        _ if report.diff.changes.is_empty() => "**No packet's fate changes**: proven.\n",
        (true, true) => "**Some packets are newly allowed, others newly refused.**\n",
        (true, false) => "**Some packets are newly allowed**, none newly refused.\n",
        (false, true) => {
            "**Some packets are refused otherwise than before**, none newly allowed.\n"
        }
        (false, false) => "**No packet is newly allowed or refused**; some fare otherwise.\n",
    }
    .to_owned()
}

/// `1.2e15` as a power of ten.
fn cell(count: Option<&num_bigint::BigUint>) -> String {
    match readable(count).split_once('e') {
        Some((digits, power)) => format!("{digits} · 10<sup>{power}</sup>"),
        None => packets(count)
            .replace(" packets", "")
            .replace(" packet", ""),
    }
}

fn entry(report: &Report, change: &Change) -> String {
    let mut out = String::from("\n");
    let boxes = report.boxes(change);
    for text in boxes.iter().take(BOXES) {
        let _ = writeln!(out, "* {}", escaped(text));
    }
    if let Some(more) = boxes.len().checked_sub(BOXES).filter(|n| *n > 0) {
        let _ = writeln!(out, "* … and {more} more");
    }
    out.push_str("\n| | outcome | by |\n|---|---|---|\n");
    for (side, word) in [(0, "before"), (1, "after")] {
        let (outcome, by) = report.fate(change, side);
        let _ = writeln!(
            out,
            "| {word} | {} | {} |",
            escaped(&outcome),
            by.replace('|', "\\|")
        );
    }
    out.push_str("\n```pol\n");
    for example in &change.witnesses {
        let _ = writeln!(out, "{}", report.test_line(change, example));
    }
    out.push_str("```\n");
    out
}

/// Text in which no character means anything to Markdown.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if matches!(c, '*' | '_' | '<' | '>' | '|' | '[' | ']' | '@' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    // A backslash does not keep forges from telling people whose names are those of sets.
    out.replace("\\@", "@\u{200b}")
}
