//! Sets that stand in files of their own.
//!
//! One address, prefix or range a line. Blank lines and what follows `#` or `;` are skipped; of a
//! line with several columns (separated by commas, blanks or tabs) the first counts; a first line
//! of a file with commas whose first column is a plain word is the header of a CSV file.

use std::net::{Ipv4Addr, Ipv6Addr};

use polc_grammar::ast::Spanned;

use super::set::Ranges;
use super::{Env, Resolver, load};
use crate::diagnostic::{Code, Diagnostic};
use crate::source::Span;

/// The most bad lines of one file that are reported one by one.
const REPORTED: usize = 5;

impl Resolver<'_> {
    /// Adds the addresses of a file. `false`, with errors, when something is wrong with it.
    pub(super) fn set_file(
        &mut self,
        path: &Spanned<String>,
        env: &Env,
        ranges: &mut Ranges,
    ) -> bool {
        let from = self.modules.get(env.module).map_or("", |m| &m.name);
        let name = load::join(from, &path.node);
        let span = env.span(path.span);
        let text = match self.files.read(&name) {
            Ok(text) => text,
            Err(error) => {
                let title = format!("cannot read `{name}`: {error}");
                let help = "the path is relative to the file that names it";
                self.report(Diagnostic::error(Code::FileNotFound, title, span).help(help));
                return false;
            }
        };
        let report = read(&text, ranges);
        if report.host_bits > 0 {
            let title = format!(
                "{} prefixes of `{name}` have bits set beyond their length",
                report.host_bits
            );
            let help = "they are read as the whole prefix";
            self.report(Diagnostic::warning(Code::HostBits, title, span).help(help));
        }
        self.bad_lines(&name, &text, &report.bad, span);
        report.bad.is_empty()
    }

    fn bad_lines(&mut self, name: &str, text: &str, bad: &[(usize, usize)], span: Span) {
        if bad.is_empty() {
            return;
        }
        let file = self.sources.add(name, text);
        for (start, end) in bad.iter().take(REPORTED) {
            let place = Span::new(file, polc_grammar::span::Span::new(*start, *end));
            let what = text.get(*start..*end).unwrap_or_default();
            let title = format!("`{what}` is not an address, prefix or range");
            let help = "a line of a set file begins with `192.0.2.1`, `192.0.2.0/24` or \
                        `192.0.2.1-192.0.2.9`; comments begin with `#` or `;`";
            let diagnostic = Diagnostic::error(Code::BadSetFile, title, place);
            self.report(diagnostic.and(span, "the file is read here").help(help));
        }
        if let Some(more) = bad.len().checked_sub(REPORTED).filter(|n| *n > 0) {
            let title = format!("`{name}` has {more} more lines that are no addresses");
            self.error(Code::BadSetFile, title, span);
        }
    }
}

/// What was found in a file beside addresses.
#[derive(Default)]
struct Report {
    /// How many prefixes have host bits.
    host_bits: usize,
    /// Byte ranges of what is no address.
    bad: Vec<(usize, usize)>,
}

fn read(text: &str, ranges: &mut Ranges) -> Report {
    let mut report = Report::default();
    let mut first = true;
    let mut offset = 0;
    for line in text.split('\n') {
        let start = offset;
        offset += line.len() + 1;
        let content = line
            .split(['#', ';'])
            .next()
            .unwrap_or("")
            .trim_start_matches('\u{feff}');
        if content.trim().is_empty() {
            continue;
        }
        let entry = first_column(content);
        let is_header = first && content.contains(',') && is_heading(entry);
        first = false;
        match parse(entry, ranges) {
            Some(exact) => report.host_bits += usize::from(!exact),
            None if is_header => {}
            None => {
                let at = start + (entry.as_ptr() as usize - line.as_ptr() as usize);
                report.bad.push((at, at + entry.len()));
            }
        }
    }
    report
}

/// Whether a column can be the name of one, which no misspelt address is.
fn is_heading(column: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic();
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ' ');
    column.starts_with(letter) && column.chars().all(part)
}

/// The first column of a line, without the quotes of CSV.
fn first_column(line: &str) -> &str {
    let line = line.trim();
    if let Some((quoted, _)) = line.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
        return quoted.trim();
    }
    // `1.2.3.4 - 1.2.3.9` is one range: blanks around its dash do not end the column.
    let end = line.find([',', '\t']).unwrap_or(line.len());
    let column = line.get(..end).unwrap_or(line).trim();
    if column.split_once(" - ").is_some() {
        return column;
    }
    column.split_whitespace().next().unwrap_or(column)
}

/// Adds one entry. Whether it had no bits beyond its length; `None` when it is no address.
fn parse(entry: &str, ranges: &mut Ranges) -> Option<bool> {
    if let Some((first, last)) = entry.split_once('-') {
        let (first, last) = (first.trim(), last.trim());
        if let (Ok(a), Ok(b)) = (first.parse::<Ipv4Addr>(), last.parse::<Ipv4Addr>()) {
            let range = (u32::from(a), u32::from(b));
            ranges.v4.push(range);
            return (range.0 <= range.1).then_some(true);
        }
        let range = (
            u128::from(first.parse::<Ipv6Addr>().ok()?),
            u128::from(last.parse::<Ipv6Addr>().ok()?),
        );
        ranges.v6.push(range);
        return (range.0 <= range.1).then_some(true);
    }
    let (addr, len) = match entry.split_once('/') {
        Some((addr, len)) => (addr, Some(len.parse::<u32>().ok()?)),
        None => (entry, None),
    };
    if let Ok(addr) = addr.parse::<Ipv4Addr>() {
        let len = len.unwrap_or(32);
        let host = u32::MAX.checked_shr(len).unwrap_or(0);
        let first = u32::from(addr) & !host;
        ranges.v4.push((first, first | host));
        return (len <= 32).then_some(first == u32::from(addr));
    }
    let addr = addr.parse::<Ipv6Addr>().ok()?;
    let len = len.unwrap_or(128);
    let host = u128::MAX.checked_shr(len).unwrap_or(0);
    let first = u128::from(addr) & !host;
    ranges.v6.push((first, first | host));
    (len <= 128).then_some(first == u128::from(addr))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> (String, Vec<&str>) {
        let mut ranges = Ranges::default();
        let report = read(text, &mut ranges);
        let bad = report.bad.iter().map(|(a, b)| &text[*a..*b]).collect();
        (ranges.into_set().to_string(), bad)
    }

    #[test]
    fn the_usual_shapes_are_read() {
        let text = "# list\n192.0.2.1\n 198.51.100.0/24 ; SBL1\n203.0.113.1-203.0.113.3\r\n\n\
                    2001:db8::/32\tzz\n10.0.0.0/8 ad\n203.0.113.8 - 203.0.113.9\n";
        let (set, bad) = set(text);
        assert_eq!(bad, [""; 0]);
        assert_eq!(
            set,
            "{ 10.0.0.0/8, 192.0.2.1, 198.51.100.0/24, 203.0.113.1-203.0.113.3, \
             203.0.113.8/31, 2001:db8::/32 }"
        );
    }

    #[test]
    fn the_first_column_of_csv_counts() {
        let (set, bad) = set("network,country\n192.0.2.0/24,ad\n\"198.51.100.0/24\",\"x,y\"\n");
        assert_eq!(bad, [""; 0]);
        assert_eq!(set, "{ 192.0.2.0/24, 198.51.100.0/24 }");
    }

    #[test]
    fn what_is_no_address_is_found() {
        let (_, bad) =
            set("192.0.2.1\nexample.org x\n10.0.0.0/33\n9.9.9.9-8.8.8.8\n::/129\n1.2.3\n");
        assert_eq!(
            bad,
            [
                "example.org",
                "10.0.0.0/33",
                "9.9.9.9-8.8.8.8",
                "::/129",
                "1.2.3"
            ]
        );
    }

    #[test]
    fn a_misspelt_first_line_is_no_header() {
        for line in [
            "192.0.2.1O,ad",
            "10.0.0.0/33,ad",
            "fe80::/129,ad",
            "a.example,ad",
            ",ad",
        ] {
            let text = format!("{line}\n192.0.2.2,ad\n");
            let (_, bad) = set(&text);
            assert_eq!(bad.len(), 1, "{line}");
        }
        let (_, bad) = set("\"start ip\",\"country\"\n192.0.2.2,ad\n");
        assert_eq!(bad, [""; 0]);
    }

    #[test]
    fn host_bits_are_counted() {
        let mut ranges = Ranges::default();
        assert_eq!(read("10.0.0.1/8\n10.0.0.0/8\n", &mut ranges).host_bits, 1);
    }
}
