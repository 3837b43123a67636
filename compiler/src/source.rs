//! Source texts and places in them.

use std::sync::Arc;

/// Identifies a text of a [`SourceMap`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(u32);

/// A place in a text of a [`SourceMap`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Which text.
    pub file: FileId,
    /// Byte offset of the first byte.
    pub start: u32,
    /// Byte offset just past the last byte.
    pub end: u32,
}

impl Span {
    /// A place in `file`.
    pub fn new(file: FileId, span: polc_grammar::span::Span) -> Self {
        Self {
            file,
            start: span.start,
            end: span.end,
        }
    }
}

/// One text and its name.
#[derive(Clone, Debug)]
pub struct Source {
    /// The name that diagnostics show: the path as the user gave it, or below it.
    pub name: Arc<str>,
    /// The text.
    pub text: Arc<str>,
    line_starts: Vec<u32>,
}

/// The texts of one compilation.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    sources: Vec<Source>,
    /// The directory of the policy's own file.
    home: String,
}

impl SourceMap {
    /// No texts yet, of a policy whose file has this name.
    pub fn of(policy: &str) -> Self {
        let home = policy.rsplit_once('/').map_or("", |(dir, _)| dir);
        Self {
            sources: Vec::new(),
            home: home.to_owned(),
        }
    }

    /// Adds a text.
    pub fn add(&mut self, name: &str, text: &str) -> FileId {
        let id = FileId(u32::try_from(self.sources.len()).unwrap_or(u32::MAX));
        let newlines = text.bytes().enumerate().filter(|(_, b)| *b == b'\n');
        let line_starts = std::iter::once(0)
            .chain(newlines.map(|(i, _)| u32::try_from(i + 1).unwrap_or(u32::MAX)))
            .collect();
        self.sources.push(Source {
            name: name.into(),
            text: text.into(),
            line_starts,
        });
        id
    }

    /// The text of `file`.
    pub fn get(&self, file: FileId) -> Option<&Source> {
        self.sources.get(file.0 as usize)
    }

    /// Line and column of the start of `span`, both from 1; the column counts characters.
    pub fn position(&self, span: Span) -> (usize, usize) {
        let Some(source) = self.get(span.file) else {
            return (1, 1);
        };
        let line = source
            .line_starts
            .partition_point(|s| *s <= span.start)
            .max(1);
        let start = source.line_starts.get(line - 1).copied().unwrap_or(0) as usize;
        let before = source.text.get(start..span.start as usize).unwrap_or("");
        (line, before.chars().count() + 1)
    }

    /// `name:line` of the start of `span`.
    pub fn describe(&self, span: Span) -> String {
        let name = self.get(span.file).map_or("", |s| &s.name);
        format!("{name}:{}", self.position(span).0)
    }

    /// As [`Self::describe`], with the path as seen from the policy's own directory: the same
    /// wherever the policy is compiled from.
    pub fn describe_from_home(&self, span: Span) -> String {
        let name = self.get(span.file).map_or("", |s| &s.name);
        format!("{}:{}", seen_from(&self.home, name), self.position(span).0)
    }
}

/// The path `name` as seen from the directory `home`, both without `.` and inner `..`.
fn seen_from(home: &str, name: &str) -> String {
    let parts = |path| -> Vec<&str> { str::split(path, '/').filter(|p| !p.is_empty()).collect() };
    let (dir, file) = (parts(home), parts(name));
    let shared = dir.iter().zip(&file).take_while(|(a, b)| a == b).count();
    let rest = dir.get(shared..).unwrap_or_default();
    // What an absolute path, or one out of unnamed directories, is from here cannot be said.
    if home.starts_with('/') != name.starts_with('/') || rest.contains(&"..") {
        return name.to_owned();
    }
    let mut path = vec![".."; rest.len()];
    path.extend(file.get(shared..).unwrap_or_default());
    path.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_seen_from_the_policy() {
        assert_eq!(seen_from("", "a.pol"), "a.pol");
        assert_eq!(seen_from("p", "p/a.pol"), "a.pol");
        assert_eq!(seen_from("/x/p", "/x/p/lib/a.pol"), "lib/a.pol");
        assert_eq!(seen_from("/x/p", "/x/lib/a.pol"), "../lib/a.pol");
        assert_eq!(seen_from("p", "../lib/a.pol"), "../../lib/a.pol");
        assert_eq!(seen_from("../p", "../lib/a.pol"), "../lib/a.pol");
        assert_eq!(seen_from("../p", "a.pol"), "a.pol");
        assert_eq!(seen_from("p", "/etc/a.pol"), "/etc/a.pol");
    }

    #[test]
    fn positions_count_lines_and_characters() {
        let mut map = SourceMap::default();
        let file = map.add("a.pol", "ab\nçd\n");
        let at = |start| Span {
            file,
            start,
            end: start,
        };
        assert_eq!(map.position(at(0)), (1, 1));
        assert_eq!(map.position(at(3)), (2, 1));
        assert_eq!(map.position(at(5)), (2, 2));
        assert_eq!(map.describe(at(5)), "a.pol:2");
    }
}
