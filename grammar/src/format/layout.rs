//! Puts nodes and comments on lines.

use super::WIDTH;
use super::body::Body;
use super::lines::{Cell, Line, indent, print, width};
use super::nodes::{Kind, Marks, Node, read};
use super::pieces::{Piece, Stop, pieces};
use crate::ast::{Comment, File, Span};
use crate::scan::{Kind as TokenKind, Lexer};

/// How much deeper a statement goes on after a line break.
const HANG: usize = 2;

pub(super) struct Layout<'t> {
    source: &'t str,
    comments: &'t [Comment],
    nodes: Vec<Node>,
    marks: Marks<'t>,
    lines: Vec<Line>,
}

impl<'t> Layout<'t> {
    pub(super) fn new(source: &'t str, file: &'t File) -> Self {
        let (nodes, marks) = read(file);
        Self {
            source,
            comments: &file.comments,
            nodes,
            marks,
            lines: Vec::new(),
        }
    }

    /// The whole file, laid out.
    pub(super) fn file(mut self) -> String {
        let nodes = std::mem::take(&mut self.nodes);
        let whole = Span::new(0, self.source.len());
        self.list(&nodes, whole, 0);
        print(self.lines)
    }

    /// The comments in `span`.
    fn comments_in(&self, span: Span) -> &'t [Comment] {
        let start = self
            .comments
            .partition_point(|c| c.text.span.start < span.start);
        let end = self
            .comments
            .partition_point(|c| c.text.span.start < span.end);
        self.comments.get(start..end).unwrap_or_default()
    }

    fn newlines(&self, start: u32, end: u32) -> usize {
        let between = self
            .source
            .get(start as usize..end as usize)
            .unwrap_or_default();
        between.bytes().filter(|&b| b == b'\n').take(2).count()
    }

    /// Nodes and the comments between them, which all stand inside `span`.
    fn list(&mut self, nodes: &[Node], span: Span, depth: usize) {
        let mut last_end = span.start;
        let mut first = true;
        for node in nodes {
            let between = Span {
                start: last_end,
                end: node.span.start,
            };
            for comment in self.comments_in(between) {
                self.comment(comment, depth, last_end, &mut first);
                last_end = comment.text.span.end;
            }
            if !first && self.newlines(last_end, node.span.start) > 1 {
                self.lines.push(Line::Blank);
            }
            self.node(node, depth);
            last_end = node.span.end;
            first = false;
        }
        for comment in self.comments_in(Span {
            start: last_end,
            end: span.end,
        }) {
            self.comment(comment, depth, last_end, &mut first);
            last_end = comment.text.span.end;
        }
    }

    /// A comment between nodes: on its own line, or behind what stands before it.
    fn comment(&mut self, comment: &Comment, depth: usize, last_end: u32, first: &mut bool) {
        let text = comment.text.node.clone();
        if !comment.own_line {
            match self.lines.last_mut() {
                Some(Line::Cells { cells, .. }) => {
                    return cells.push(Cell {
                        stop: Some(Stop::Comment),
                        text,
                    });
                }
                Some(Line::Plain {
                    comment: slot @ None,
                    ..
                }) => {
                    *slot = Some(text);
                    return;
                }
                _ => {}
            }
        }
        if !*first && self.newlines(last_end, comment.text.span.start) > 1 {
            self.lines.push(Line::Blank);
        }
        self.lines.push(Line::Plain {
            depth,
            text,
            comment: None,
        });
        *first = false;
    }

    fn node(&mut self, node: &Node, depth: usize) {
        let Some(children) = &node.children else {
            let pieces = pieces(self.source, &self.marks, node.span, node.kind);
            return self.statement(&pieces, node.kind, depth);
        };
        if let Some((head, body)) = self.one_line_block(node, depth) {
            let cells = vec![
                Cell {
                    stop: None,
                    text: head,
                },
                Cell {
                    stop: Some(Stop::Open),
                    text: body,
                },
            ];
            return self.lines.push(Line::Cells {
                depth,
                kind: Kind::Block,
                cells,
            });
        }
        let head = self.head(node);
        let pieces = pieces(self.source, &self.marks, head, Kind::Block);
        let inside = Span {
            start: head.end,
            end: node.span.end.saturating_sub(1),
        };
        let empty = children.is_empty() && self.comments_in(inside).is_empty();
        let mut text = self.broken(&pieces, depth);
        if empty {
            text.push('}');
            return self.lines.push(Line::Plain {
                depth,
                text,
                comment: None,
            });
        }
        self.lines.push(Line::Plain {
            depth,
            text,
            comment: None,
        });
        self.list(children, inside, depth + 1);
        self.lines.push(Line::Plain {
            depth,
            text: "}".to_owned(),
            comment: None,
        });
    }

    /// The head of a block, with its brace.
    fn head(&self, node: &Node) -> Span {
        let first = node.children.as_ref().and_then(|children| children.first());
        let end = first.map_or(node.span.end.saturating_sub(1), |child| child.span.start);
        let last_brace = Lexer::new(self.source, node.span.start as usize, end as usize)
            .filter(|token| token.kind == TokenKind::Open(b'{'))
            .last();
        Span {
            start: node.span.start,
            end: last_brace.map_or(end, |brace| brace.span.end),
        }
    }

    /// Head and braces of a block that was on one line and fits there.
    fn one_line_block(&self, node: &Node, depth: usize) -> Option<(String, String)> {
        let children = node
            .children
            .as_ref()
            .filter(|children| !children.is_empty())?;
        let text = self.source.get(node.span.range())?;
        // Nothing that long fits; this also keeps deep nesting from being tried at each level.
        if text.contains('\n') || text.len() > 4 * WIDTH || !self.comments_in(node.span).is_empty()
        {
            return None;
        }
        let head = self.head(node);
        let head = flat(&pieces(self.source, &self.marks, head, Kind::Block), self);
        let head = head.strip_suffix('{')?.trim_end().to_owned();
        let mut body = String::from("{");
        for (index, child) in children.iter().enumerate() {
            body.push_str(if index == 0 { " " } else { "  " });
            if child.children.is_some() {
                let (head, inner) = self.one_line_block(child, depth)?;
                body.extend([&head, " ", &inner]);
            } else {
                body.push_str(&flat(
                    &pieces(self.source, &self.marks, child.span, child.kind),
                    self,
                ));
            }
        }
        body.push_str(" }");
        let fits = 2 * depth + width(&head) + 1 + width(&body) <= WIDTH;
        fits.then_some((head, body))
    }

    /// A node without a block.
    fn statement(&mut self, pieces: &[Piece<'t>], kind: Kind, depth: usize) {
        let tall = |piece: &Piece<'t>| {
            piece.comment.is_some() || self.body(piece).is_some_and(|body| body.is_tall())
        };
        if !pieces.iter().any(tall) {
            let cells = cells(pieces, self);
            let total: usize = cells.iter().map(|cell| width(&cell.text)).sum();
            if 2 * depth + total + cells.len() <= WIDTH {
                return self.lines.push(Line::Cells { depth, kind, cells });
            }
        }
        let text = self.broken(pieces, depth);
        self.lines.push(Line::Plain {
            depth,
            text,
            comment: None,
        });
    }

    /// Pieces on as many lines as they need.
    fn broken(&self, pieces: &[Piece<'t>], depth: usize) -> String {
        let mut out = String::new();
        let mut column = 2 * depth;
        let mut fresh = true;
        for (index, piece) in pieces.iter().enumerate() {
            let rest = pieces.get(index..).unwrap_or_default();
            if piece.breakable && !fresh && column + 1 + self.chunk(rest) > WIDTH {
                out.push('\n');
                out.push_str(&indent(depth + HANG));
                column = 2 * (depth + HANG);
                fresh = true;
            }
            if let Some(own_line) = piece.comment {
                if own_line && !fresh {
                    out.push('\n');
                    out.push_str(&indent(depth + HANG));
                } else if !fresh {
                    out.push_str("  ");
                }
                out.push_str(piece.text);
                if index + 1 < pieces.len() {
                    out.push('\n');
                    out.push_str(&indent(depth + HANG));
                }
                column = 2 * (depth + HANG);
                fresh = true;
                continue;
            }
            if piece.spaced && !fresh {
                out.push(' ');
                column += 1;
            }
            fresh = false;
            let Some(body) = self.body(piece) else {
                out.push_str(piece.text);
                column += width(piece.text);
                continue;
            };
            let text = body.flat();
            if body.is_tall() || column + width(&text) > WIDTH {
                out.push_str(&body.tall(depth));
                column = 2 * depth + 1;
            } else {
                column += width(&text);
                out.push_str(&text);
            }
        }
        out
    }

    /// How wide the pieces are up to the next place where the line may be broken.
    fn chunk(&self, pieces: &[Piece<'t>]) -> usize {
        let mut total = 0;
        for (index, piece) in pieces.iter().enumerate() {
            if piece.comment.is_some() || (index > 0 && piece.breakable) {
                break;
            }
            if let Some(body) = self.body(piece) {
                if body.is_tall() {
                    break;
                }
                total += width(&body.flat());
            } else {
                total += width(piece.text);
            }
            total += usize::from(index > 0 && piece.spaced);
        }
        total
    }

    fn body(&self, piece: &Piece<'t>) -> Option<Body<'t>> {
        let elements = piece.body?;
        let comments = self.comments_in(piece.span);
        Some(Body {
            source: self.source,
            span: piece.span,
            elements,
            comments,
        })
    }
}

/// Pieces on one line.
fn flat(pieces: &[Piece<'_>], layout: &Layout<'_>) -> String {
    let mut out = String::new();
    for piece in pieces {
        if piece.spaced {
            out.push(' ');
        }
        push(&mut out, piece, layout);
    }
    out
}

/// Pieces on one line, cut where lines are aligned. Blanks before a stop are left to the
/// alignment.
fn cells(pieces: &[Piece<'_>], layout: &Layout<'_>) -> Vec<Cell> {
    let mut cells = vec![Cell {
        stop: None,
        text: String::new(),
    }];
    for piece in pieces {
        if piece.stop.is_some() {
            cells.push(Cell {
                stop: piece.stop,
                text: String::new(),
            });
        }
        if let Some(cell) = cells.last_mut() {
            if piece.spaced && piece.stop.is_none() {
                cell.text.push(' ');
            }
            push(&mut cell.text, piece, layout);
        }
    }
    cells
}

fn push(out: &mut String, piece: &Piece<'_>, layout: &Layout<'_>) {
    if piece.body.is_some() {
        let elements = piece.body.unwrap_or_default();
        let body = Body {
            source: layout.source,
            span: piece.span,
            elements,
            comments: &[],
        };
        out.push_str(&body.flat());
    } else {
        out.push_str(piece.text);
    }
}
