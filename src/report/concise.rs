//! A line for each finding: `file:line:column: severity CODE name: title`.

use std::fmt::Write as _;

use super::{Checked, Place};

pub(super) fn render(checked: &[Checked]) -> String {
    let mut out = String::new();
    for checked in checked {
        for d in checked.active() {
            let place = d.place().map(|span| Place::of(span, checked.sources()));
            let place = place.map(|p| format!("{}:{}:{}: ", p.file, p.line, p.column));
            // Writing to a `String` cannot fail.
            let _ = writeln!(
                out,
                "{}{} {} {}: {}",
                place.unwrap_or_default(),
                d.severity.name(),
                d.code.id(),
                d.code.name(),
                d.title
            );
        }
    }
    out
}
