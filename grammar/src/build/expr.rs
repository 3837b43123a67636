//! Conditions of `when`.

use super::{Builder, has};
use crate::ast::{CmpOp, Expr, Spanned};
use crate::error::{SyntaxError, SyntaxErrorKind};
use crate::grammar::{Pair, Rule};

/// The most operators in one condition. It bounds the depth of the tree, and with it the stack
/// of whoever walks it.
const MAX_OPERATORS: usize = 256;

impl Builder<'_> {
    /// The expression after `when`.
    pub(super) fn condition(&mut self, pair: &Pair<'_>) -> Option<Spanned<Expr>> {
        let mut operators = 0;
        for part in pair.clone().into_inner().flatten() {
            operators += usize::from(matches!(
                part.as_rule(),
                Rule::kw_and | Rule::kw_or | Rule::kw_not | Rule::open_paren
            ));
            if operators > MAX_OPERATORS {
                let message = format!("this condition has more than {MAX_OPERATORS} operators");
                let span = self.leaf_span(&part);
                let error = SyntaxError::new(SyntaxErrorKind::TooComplex, span, message)
                    .help("split it over several rules, or list values with `in { … }`");
                return self.fail(error);
            }
        }
        self.expr(pair)
    }

    fn expr(&mut self, pair: &Pair<'_>) -> Option<Spanned<Expr>> {
        let terms = self.each(pair, Rule::conj, |this, conj| {
            let terms = this.each(conj, Rule::negation, |this, pair| this.negation(pair))?;
            this.joined(conj, terms, Expr::And)
        })?;
        self.joined(pair, terms, Expr::Or)
    }

    /// Joins terms from the left.
    fn joined(
        &mut self,
        pair: &Pair<'_>,
        terms: Vec<Spanned<Expr>>,
        join: fn(Box<Spanned<Expr>>, Box<Spanned<Expr>>) -> Expr,
    ) -> Option<Spanned<Expr>> {
        let all = terms.into_iter().reduce(|left, right| {
            let span = left.span.to(right.span);
            Spanned::new(join(Box::new(left), Box::new(right)), span)
        });
        all.or_else(|| self.unknown(pair))
    }

    fn negation(&mut self, pair: &Pair<'_>) -> Option<Spanned<Expr>> {
        let mut nots = Vec::new();
        let mut term = None;
        for part in pair.clone().into_inner() {
            match part.as_rule() {
                Rule::kw_not => nots.push(self.leaf_span(&part)),
                Rule::open_paren | Rule::close_paren => {}
                Rule::expr => term = self.expr(&part),
                Rule::cmp => term = self.spanned(&part, Self::comparison),
                Rule::is => {
                    let field = self.child(&part, Rule::field)?;
                    let name = self.name(&field);
                    term = Some(Spanned::new(Expr::Is(name.clone()), name.span));
                }
                _ => return self.unknown(&part),
            }
        }
        nots.into_iter().rev().fold(term, |term, not| {
            let term = term?;
            let span = not.to(term.span);
            Some(Spanned::new(Expr::Not(Box::new(term)), span))
        })
    }

    fn comparison(&mut self, pair: &Pair<'_>) -> Option<Expr> {
        let field = self.child(pair, Rule::field)?;
        let field = self.name(&field);
        let op = if has(pair, Rule::op_in) {
            Rule::op_in
        } else {
            Rule::cmp_op
        };
        let op = self.child(pair, op)?;
        let kind = match op.as_str() {
            "==" => CmpOp::Eq,
            "!=" => CmpOp::Ne,
            "<" => CmpOp::Lt,
            "<=" => CmpOp::Le,
            ">" => CmpOp::Gt,
            ">=" => CmpOp::Ge,
            "has" => CmpOp::Has,
            "in" => CmpOp::In,
            _ => return self.unknown(&op),
        };
        let op = Spanned::new(kind, self.leaf_span(&op));
        let values = self.each(pair, Rule::cmp_value, |this, leaf| Some(this.name(leaf)))?;
        Some(Expr::Cmp { field, op, values })
    }
}
