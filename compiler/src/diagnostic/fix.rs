//! Changes to a text that mend what a diagnostic is about.

use crate::source::{FileId, Span};

/// A way to mend it: all of its edits together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// Whether no packet's fate changes, so that nobody needs to look at it first.
    pub safe: bool,
    /// What it does, in the imperative: `delete the second rule`.
    pub title: String,
    /// What is put in place of what.
    pub edits: Vec<Edit>,
}

/// One piece of text in place of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What goes.
    pub span: Span,
    /// What comes.
    pub text: String,
}

/// The edits of the fixes that can be made at once in `file`: of fixes that touch the same place,
/// the first. A fix that also edits other files is left for later.
pub fn compatible<'f>(fixes: impl Iterator<Item = &'f Fix>, file: FileId) -> Vec<&'f Edit> {
    let mut taken: Vec<&Edit> = Vec::new();
    for fix in fixes {
        let clashes = |edit: &Edit| {
            edit.span.file != file
                || taken
                    .iter()
                    .any(|t| edit.span.start <= t.span.end && t.span.start <= edit.span.end)
        };
        if !fix.edits.iter().any(clashes) {
            taken.extend(&fix.edits);
        }
    }
    taken.sort_by_key(|edit| edit.span);
    taken
}

/// The text with `edits` made, which are in order and do not overlap. An edit outside of the text
/// is left out.
pub fn apply(text: &str, edits: &[&Edit]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for edit in edits {
        let (start, end) = (edit.span.start as usize, edit.span.end as usize);
        if let (Some(kept), true) = (text.get(at..start), text.is_char_boundary(end)) {
            out.push_str(kept);
            out.push_str(&edit.text);
            at = end;
        }
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fix(places: &[(u32, u32, &str)]) -> Fix {
        let edit = |(start, end, text): &(u32, u32, &str)| Edit {
            span: Span {
                file: FileId::default(),
                start: *start,
                end: *end,
            },
            text: (*text).to_owned(),
        };
        Fix {
            safe: true,
            title: String::new(),
            edits: places.iter().map(edit).collect(),
        }
    }

    #[test]
    fn fixes_of_one_place_are_made_one_after_another() {
        let fixes = [
            fix(&[(6, 7, "X")]),
            fix(&[(0, 1, "Y"), (6, 8, "")]),
            fix(&[(2, 3, "")]),
        ];
        let edits = compatible(fixes.iter(), FileId::default());
        assert_eq!(apply("abcdefgh", &edits), "abdefXh");
    }

    #[test]
    fn nonsense_changes_nothing() {
        let far = fix(&[(5, 9, "X")]);
        let edits: Vec<&Edit> = far.edits.iter().collect();
        assert_eq!(apply("abc", &edits), "abc");
    }
}
