//! A line as tokens with the blanks between them.

use super::nodes::{Kind as NodeKind, Marks};
use crate::ast::{Element, Span, Spanned};
use crate::scan::{Kind, Lexer, Token};

/// A token, or a set body, of a line.
#[derive(Clone, Copy)]
pub(super) struct Piece<'t> {
    /// Its text; `{…}` in full for a set body.
    pub(super) text: &'t str,
    /// Its place in the source.
    pub(super) span: Span,
    /// Whether a blank stands before it.
    pub(super) spaced: bool,
    /// Whether a line may be broken before it.
    pub(super) breakable: bool,
    /// Where neighbouring lines are aligned: before it.
    pub(super) stop: Option<Stop>,
    /// The elements, when it is a set body.
    pub(super) body: Option<&'t [Spanned<Element>]>,
    /// If it is a comment: whether it started a line.
    pub(super) comment: Option<OwnLine>,
}

/// Whether a comment started a line.
pub(super) type OwnLine = bool;

/// The columns at which neighbouring lines are aligned, from left to right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    /// What stands behind the first word.
    Verb,
    /// What stands behind the name that a definition defines.
    Define,
    /// The brace of a block on one line.
    Open,
    /// `as NAME`
    Name,
    /// A trailing comment.
    Comment,
}

/// The pieces of a node, or of its head.
pub(super) fn pieces<'t>(
    source: &'t str,
    marks: &Marks<'t>,
    span: Span,
    kind: NodeKind,
) -> Vec<Piece<'t>> {
    let mut spacer = Spacer::default();
    let mut all: Vec<Piece<'t>> = Vec::new();
    let mut lexer = Lexer::new(source, span.start as usize, span.end as usize);
    let (mut defined, mut named) = (false, false);
    while let Some(token) = lexer.next() {
        let start = token.span.start;
        let body = marks
            .bodies
            .binary_search_by_key(&start, |(span, _)| span.start)
            .ok();
        let body = body.and_then(|index| marks.bodies.get(index));
        let span = body.map_or(token.span, |(span, _)| *span);
        lexer.jump(span.end as usize);
        let text = source.get(span.range()).unwrap_or_default();
        let stop = match kind {
            NodeKind::Rule | NodeKind::Step | NodeKind::Option if all.len() == 1 => {
                // These line up with nothing.
                let alone = all
                    .first()
                    .is_some_and(|p| matches!(p.text, "default" | "send"));
                (!alone).then_some(Stop::Verb)
            }
            // Behind the name; a `dynamic` set has its key there.
            NodeKind::Definition(_) if !defined && (text == "=" || text == "as") => {
                defined = true;
                Some(Stop::Define)
            }
            _ if !named && marks.names.binary_search(&start).is_ok() => {
                named = true;
                Some(Stop::Name)
            }
            _ => None,
        };
        let typed = matches!(kind, NodeKind::Definition("param")) || is_template(&all);
        let before = all.last().map_or(span.start, |piece| piece.span.end);
        let between = source
            .get(before as usize..start as usize)
            .unwrap_or_default();
        let piece = Piece {
            text,
            span,
            spaced: !all.is_empty() && spacer.spaced(token, text, body.is_some(), typed),
            breakable: marks.breaks.binary_search(&start).is_ok(),
            stop,
            body: body.map(|(_, elements)| *elements),
            comment: (token.kind == Kind::Comment).then(|| between.contains('\n')),
        };
        match typed.then(|| declaration(&piece, spacer.before)).flatten() {
            Some((name, ty)) => all.extend([name, ty]),
            None => all.push(piece),
        }
        spacer.pass(token, text, body.is_some());
    }
    all
}

/// Takes `name:type` or `:type` apart, so that a blank stands behind the colon.
fn declaration<'t>(piece: &Piece<'t>, before: &str) -> Option<(Piece<'t>, Piece<'t>)> {
    let (name, ty) = piece.text.split_once(':')?;
    let starts = |text: &str| text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let declares = if name.is_empty() {
        !matches!(before, "=" | "," | "(")
    } else {
        starts(name) && matches!(before, "param" | "," | "(")
    };
    if !declares || !starts(ty) || ty.contains(':') {
        return None;
    }
    let colon = piece.text.get(..=name.len())?;
    let spaced = piece.spaced && !name.is_empty();
    let rest = Piece {
        text: ty,
        spaced: true,
        breakable: false,
        stop: None,
        ..*piece
    };
    Some((
        Piece {
            text: colon,
            spaced,
            ..*piece
        },
        rest,
    ))
}

fn is_template(pieces: &[Piece<'_>]) -> bool {
    pieces.first().is_some_and(|first| first.text == "template")
}

/// Decides where blanks stand between tokens.
#[derive(Default)]
struct Spacer<'t> {
    /// The token before.
    before: &'t str,
    /// Whether that was a set body.
    after_body: bool,
    /// For each open brace: whether it is tight (`tcp/{80, 443}`).
    braces: Vec<bool>,
}

impl<'t> Spacer<'t> {
    /// Whether a blank stands before `token`.
    fn spaced(&self, token: Token, text: &str, body: bool, typed: bool) -> bool {
        if body || token.kind == Kind::Comment {
            return self.before != "(";
        }
        match text {
            "," | ")" | "]" | "/" => return false,
            "}" => return self.before != "{" && self.braces.last() != Some(&true),
            "(" => {
                return matches!(self.before, "when" | "and" | "or" | "not" | "{" | "," | "=");
            }
            "{" => return self.before != "/",
            _ => {}
        }
        if self.after_body {
            return true;
        }
        match self.before {
            "(" | "[" | "/" => false,
            "{" => self.braces.last() != Some(&true),
            // `[::1]:80`, `name : type`
            "]" => !text.starts_with(':'),
            _ => !(text == ":" && typed),
        }
    }

    /// Goes on behind `token`.
    fn pass(&mut self, token: Token, text: &'t str, body: bool) {
        if !body {
            match token.kind {
                Kind::Open(b'{') => self.braces.push(self.before == "/"),
                Kind::Close(b'}') => drop(self.braces.pop()),
                _ => {}
            }
        }
        self.before = text;
        self.after_body = body;
    }
}
