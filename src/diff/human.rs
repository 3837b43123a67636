//! A comparison for a terminal.

use std::fmt::Write as _;

use polc_compiler::analyse::diff::Kind;

use super::report::{Report, packets};

/// The most boxes shown of a change.
const BOXES: usize = 8;

pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a `String` cannot fail.
    for kind in Kind::ALL {
        let changes = report.of(kind);
        if changes.is_empty() {
            continue;
        }
        let count = report.diff.count(kind);
        let _ = writeln!(out, "{}: {}\n", kind.title(), packets(count.as_ref()));
        for change in changes {
            let boxes = report.boxes(change);
            for text in boxes.iter().take(BOXES) {
                let _ = writeln!(out, "  {text}");
            }
            if let Some(more) = boxes.len().checked_sub(BOXES).filter(|n| *n > 0) {
                let _ = writeln!(out, "  … and {more} more");
            }
            for (side, letter) in [(0, 'A'), (1, 'B')] {
                let (outcome, by) = report.fate(change, side);
                let _ = writeln!(out, "    {letter}: {outcome} by {by}");
            }
            if let Some(example) = change.witnesses.first() {
                let _ = writeln!(out, "    such as {}", report.flow(change, example));
            }
            out.push('\n');
        }
    }
    match (report.unknown(), report.diff.changes.is_empty()) {
        (Some(reason), true) => {
            let _ = writeln!(out, "unknown: {reason}");
        }
        (Some(reason), false) => {
            let _ = writeln!(out, "there may be other changes, unknown: {reason}");
        }
        (None, true) => {
            let _ = writeln!(out, "equal in this model: proven");
        }
        (None, false) => {
            let _ = writeln!(out, "every other packet keeps its fate: proven");
        }
    }
    for line in report.footer() {
        let _ = writeln!(out, "{line}");
    }
    out
}
