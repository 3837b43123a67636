//! Cuts a broken text into pieces that can be parsed one by one: items, statements, steps of a
//! test, options of a proxy.
//!
//! A piece starts with a word that starts such a piece, or at the start of a line that is
//! indented no deeper than the piece before. This only ever decides how many mistakes are
//! reported, and where: a text without mistakes is never cut.

use std::ops::Range;

use super::structure::Structure;
use crate::keyword::{CLAIMS, CLAUSES, ITEMS, OPTIONS, PRINCIPALS, SHARED, VERBS};
use crate::scan::{Kind, Token};

/// What a list of pieces is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pieces {
    /// The items of a file.
    Items,
    /// The statements of a block.
    Stmts,
    /// The nodes of a template: items or statements.
    Nodes,
    /// The steps of a test.
    Steps,
    /// The options of a proxy.
    Options,
}

/// Cuts the tokens of `range` into pieces.
pub(crate) fn split(
    source: &str,
    structure: &Structure,
    range: Range<usize>,
    pieces: Pieces,
) -> Vec<Range<usize>> {
    let cutter = Cutter {
        source,
        structure,
        pieces,
    };
    let mut all = Vec::new();
    let mut start = range.start;
    let mut index = range.start;
    while index < range.end {
        if index > start && cutter.starts_piece(start, index, range.end) {
            all.push(start..index);
            start = index;
        }
        let block = cutter.is_block(index);
        index = structure.after(index).min(range.end);
        if block && index < range.end {
            all.push(start..index);
            start = index;
        }
    }
    if start < range.end {
        all.push(start..range.end);
    }
    all
}

/// The first opener of a block (not of a list) among the tokens of a piece.
pub(crate) fn block_of(source: &str, structure: &Structure, piece: Range<usize>) -> Option<usize> {
    let cutter = Cutter {
        source,
        structure,
        pieces: Pieces::Stmts,
    };
    let mut index = piece.start;
    while index < piece.end {
        if cutter.is_block(index) {
            return Some(index);
        }
        index = structure.after(index);
    }
    None
}

struct Cutter<'t> {
    source: &'t str,
    structure: &'t Structure,
    pieces: Pieces,
}

impl<'t> Cutter<'t> {
    fn token(&self, index: usize) -> Option<Token> {
        self.structure.tokens.get(index).copied()
    }

    fn text(&self, index: usize) -> &'t str {
        self.token(index)
            .map_or("", |token| token.text(self.source))
    }

    fn before(&self, index: usize) -> &'t str {
        index.checked_sub(1).map_or("", |before| self.text(before))
    }

    /// Whether the token at `index` opens a block, and not a list.
    fn is_block(&self, index: usize) -> bool {
        if !self
            .token(index)
            .is_some_and(|token| token.kind == Kind::Open(b'{'))
        {
            return false;
        }
        let first = self.text(index + 1);
        if [VERBS, SHARED].iter().any(|words| words.contains(&first)) {
            return true;
        }
        let list = [
            "=", "==", ",", "+", "-", "&", "/", "=>", "from", "to", "original", "not",
        ];
        let before = self.before(index);
        // `net` and `in` may be names, but hardly the last word before a block.
        !(list.contains(&before) || matches!(before, "net" | "in" | "add" | "file"))
    }

    /// Whether a new piece starts at `index`, when the current one started at `start`.
    fn starts_piece(&self, start: usize, index: usize, end: usize) -> bool {
        if !self
            .token(index)
            .is_some_and(|token| token.kind == Kind::Word)
        {
            return false;
        }
        let word = self.text(index);
        let before = self.before(index);
        let (first, indent) = self.structure.line(index);
        let outdented = first && indent <= self.structure.line(start).1;
        if outdented && self.starter(word, before) {
            return true;
        }
        if self.goes_on(start, index) {
            return false;
        }
        self.starter(word, before) || (outdented && self.new_line(start, index, end))
    }

    /// Whether `word`, behind `before`, starts a piece wherever it stands.
    fn starter(&self, word: &str, before: &str) -> bool {
        let verb = VERBS.contains(&word) || SHARED.contains(&word);
        let item = ITEMS.contains(&word);
        match self.pieces {
            Pieces::Items => (item || SHARED.contains(&word)) && !CLAUSES.contains(&before),
            Pieces::Stmts | Pieces::Nodes => verb || item,
            Pieces::Steps => verb || word == "send",
            Pieces::Options => OPTIONS.contains(&word),
        }
    }

    /// Whether the token before `index` needs one more behind it.
    fn goes_on(&self, start: usize, index: usize) -> bool {
        let word = self.text(index);
        let before = self.before(index);
        let operator = index
            .checked_sub(1)
            .and_then(|before| self.token(before))
            .is_some_and(|token| matches!(token.kind, Kind::Punct));
        if operator || before.ends_with(':') || PRINCIPALS.contains(&before) {
            return true;
        }
        let verb = VERBS.contains(&word);
        let takes_verb = CLAIMS.contains(&before) || matches!(before, "default" | "and");
        if verb && takes_verb {
            return true;
        }
        // Behind a word that starts nothing (`defualt deny`) all is unclear until the line ends.
        let first = self.text(start);
        if !self.structure.line(index).0 && !self.starter(first, "") && !CLAUSES.contains(&first) {
            return true;
        }
        // A name that should not be one: `service log = …`.
        let named = ITEMS.contains(&before) || matches!(before, "proxy" | "apply");
        index == start + 1 && named && !self.structure.line(index).0
    }

    /// Whether the word at `index`, the first of a line that is indented no deeper than the
    /// piece, starts a new piece.
    fn new_line(&self, start: usize, index: usize, end: usize) -> bool {
        if !CLAUSES.contains(&self.text(index)) {
            return true;
        }
        // A clause may go on with the rule. It starts a piece when it alone can be the head of
        // the block that follows (see `rule_stmt` in the grammar).
        let head = |at: usize| {
            let (first, indent) = self.structure.line(at);
            first && indent <= self.structure.line(start).1 && CLAUSES.contains(&self.text(at))
        };
        if (start..index).any(head) {
            return false;
        }
        let mut at = index;
        while at < end {
            if self.is_block(at) {
                return true;
            }
            let word = self.text(at);
            let other = VERBS.contains(&word) || SHARED.contains(&word) || ITEMS.contains(&word);
            if at > index && (head(at) || (other && !self.goes_on(index, at))) {
                return false;
            }
            at = self.structure.after(at);
        }
        false
    }
}
