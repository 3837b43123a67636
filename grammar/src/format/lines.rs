//! Lines, and how neighbouring ones are aligned.

use super::WIDTH;
use super::nodes::Kind;
use super::pieces::Stop;

/// A line of the result.
pub(super) enum Line {
    /// An empty one.
    Blank,
    /// One that stands for itself. It may hold line ends.
    Plain {
        depth: usize,
        text: String,
        comment: Option<String>,
    },
    /// One whose cells are aligned with those of its neighbours of the same kind and depth.
    Cells {
        depth: usize,
        kind: Kind,
        cells: Vec<Cell>,
    },
}

/// A part of a line.
pub(super) struct Cell {
    /// The column it stands at; `None` for the first.
    pub(super) stop: Option<Stop>,
    /// Its text.
    pub(super) text: String,
}

/// Blanks at the start of a line.
pub(super) fn indent(depth: usize) -> String {
    "  ".repeat(depth)
}

/// Aligns and joins lines.
pub(super) fn print(mut lines: Vec<Line>) -> String {
    let mut start = 0;
    while start < lines.len() {
        let key = key(lines.get(start));
        let run = lines
            .iter()
            .skip(start)
            .take_while(|line| self::key(Some(line)) == key)
            .count();
        if let Some((depth, _)) = key {
            let mut cells: Vec<&mut Vec<Cell>> = lines
                .iter_mut()
                .skip(start)
                .take(run)
                .filter_map(|line| match line {
                    Line::Cells { cells, .. } => Some(cells),
                    _ => None,
                })
                .collect();
            align(&mut cells, WIDTH.saturating_sub(2 * depth));
        }
        start += run.max(1);
    }
    let mut out = String::new();
    for line in lines {
        match line {
            Line::Blank => {}
            Line::Plain {
                depth,
                text,
                comment,
            } => {
                out.push_str(&indent(depth));
                out.push_str(&text);
                if let Some(comment) = comment {
                    out.push_str("  ");
                    out.push_str(&comment);
                }
            }
            Line::Cells { depth, cells, .. } => {
                out.push_str(&indent(depth));
                out.extend(cells.iter().map(|cell| cell.text.as_str()));
            }
        }
        out.push('\n');
    }
    out
}

/// What lines must share to be aligned.
fn key(line: Option<&Line>) -> Option<(usize, Kind)> {
    match line {
        Some(Line::Cells { depth, kind, .. }) => Some((*depth, *kind)),
        _ => None,
    }
}

/// Pads the cells of a run of lines, on a page of the given width.
fn align(rows: &mut [&mut Vec<Cell>], page: usize) {
    for stop in [
        Stop::Verb,
        Stop::Define,
        Stop::Open,
        Stop::Name,
        Stop::Comment,
    ] {
        let mut widths: Vec<(usize, usize)> = Vec::new();
        for (row, cells) in rows.iter().enumerate() {
            if let Some(at) = cells.iter().position(|cell| cell.stop == Some(stop)) {
                widths.push((
                    row,
                    cells.iter().take(at).map(|cell| width(&cell.text)).sum(),
                ));
            }
        }
        let column = column(stop, &widths);
        for (row, before) in widths {
            let Some(cells) = rows.get_mut(row) else {
                continue;
            };
            let total: usize = cells.iter().map(|cell| width(&cell.text)).sum();
            let padding = column.saturating_sub(before).max(gap(stop, column));
            // A line that would not fit stays as it is.
            let fits = stop == Stop::Comment || total + padding <= page;
            let padding = if fits { padding } else { 1 };
            if let Some(cell) = cells.iter_mut().find(|cell| cell.stop == Some(stop)) {
                cell.text.insert_str(0, &" ".repeat(padding));
            }
        }
    }
}

/// The column at which cells of a stop stand; 0 when they are not aligned.
fn column(stop: Stop, widths: &[(usize, usize)]) -> usize {
    let all = widths.iter().map(|(_, width)| *width);
    let (Some(least), Some(most)) = (all.clone().min(), all.clone().max()) else {
        return 0;
    };
    let spread = most - least;
    match stop {
        Stop::Verb if spread <= 5 => most + 1,
        Stop::Define | Stop::Open if spread <= 12 => most + 1,
        // A few long lines do not push the names of all others out of sight.
        Stop::Name | Stop::Comment if widths.len() > 1 => {
            let reach = if stop == Stop::Name { 36 } else { 48 };
            all.filter(|width| *width <= least + reach)
                .max()
                .unwrap_or(0)
                + 2
        }
        _ => 0,
    }
}

/// The least padding before a stop.
fn gap(stop: Stop, column: usize) -> usize {
    match stop {
        Stop::Comment => 2,
        Stop::Name if column > 0 => 2,
        _ => 1,
    }
}

/// The width of a text, in characters.
pub(super) fn width(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.chars().count()
    }
}
