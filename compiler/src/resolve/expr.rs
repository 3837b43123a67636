//! `when` expressions, brought into disjunctive normal form.

use polc_grammar::ast::{CmpOp, Expr, Name, Spanned};

use super::{Env, Resolver};
use crate::diagnostic::{Code, Diagnostic};
use crate::field::{self, Comparison, FieldError, Format};
use crate::ir::cube::{MOST_CUBES, both};
use crate::ir::{Cube, Stage};
use crate::policy::Condition;
use crate::source::Span;

impl Resolver<'_> {
    /// The packets for which the expression holds.
    pub(super) fn when(
        &mut self,
        expr: &Spanned<Expr>,
        stage: Stage,
        env: &Env,
    ) -> Option<Condition> {
        let span = env.span(expr.span);
        let cubes = self.expr(expr, false, stage, env)?;
        Some(Condition {
            cubes,
            empty_set: false,
            span,
        })
    }

    /// `negated` says that an odd number of `not` stands before the expression.
    fn expr(
        &mut self,
        expr: &Spanned<Expr>,
        negated: bool,
        stage: Stage,
        env: &Env,
    ) -> Option<Vec<Cube>> {
        let span = env.span(expr.span);
        match (&expr.node, negated) {
            (Expr::Not(inner), _) => self.expr(inner, !negated, stage, env),
            (Expr::And(a, b), false) | (Expr::Or(a, b), true) => {
                let (a, b) = (
                    self.expr(a, negated, stage, env),
                    self.expr(b, negated, stage, env),
                );
                let (a, b) = a.zip(b)?;
                let cubes = both(&a, &b);
                if cubes.is_none() {
                    self.too_complex(span);
                }
                cubes
            }
            (Expr::Or(a, b), false) | (Expr::And(a, b), true) => {
                let (a, b) = (
                    self.expr(a, negated, stage, env),
                    self.expr(b, negated, stage, env),
                );
                let (mut a, b) = a.zip(b)?;
                a.extend(b);
                if a.len() > MOST_CUBES {
                    self.too_complex(span);
                    return None;
                }
                Some(a)
            }
            (Expr::Is(name), _) => {
                let value = if negated { "false" } else { "true" };
                let def = self.field(name, stage, env)?;
                if !matches!(def.format, Format::Bool) {
                    let title = format!("`{}` is not a yes-or-no field", name.node);
                    let help = format!("compare it: `{} == …`", name.node);
                    let at = env.span(name.span);
                    self.report(Diagnostic::error(Code::BadField, title, at).help(help));
                    return None;
                }
                self.lower(
                    &Comparison {
                        def,
                        op: CmpOp::Eq,
                        values: vec![value],
                    },
                    &[],
                    span,
                )
            }
            (Expr::Cmp { field, op, values }, _) => {
                let def = self.field(field, stage, env)?;
                let op = if negated {
                    opposite(op.node)
                } else {
                    Some(op.node)
                };
                let Some(op) = op else {
                    return self.lacks_bits(field, values, stage, env);
                };
                let places: Vec<Span> = values.iter().map(|v| env.span(v.span)).collect();
                let values = values.iter().map(|v| v.node.as_str()).collect();
                self.lower(&Comparison { def, op, values }, &places, span)
            }
        }
    }

    /// `not (tcp.flags has syn)`: the header is there and a bit is missing.
    fn lacks_bits(
        &mut self,
        name: &Name,
        values: &[Spanned<String>],
        stage: Stage,
        env: &Env,
    ) -> Option<Vec<Cube>> {
        let def = self.field(name, stage, env)?;
        let places: Vec<Span> = values.iter().map(|v| env.span(v.span)).collect();
        let values = values.iter().map(|v| v.node.as_str()).collect();
        let has = Comparison {
            def,
            op: CmpOp::Has,
            values,
        };
        let span = env.span(name.span);
        let cubes = self.lower(&has, &places, span)?;
        let lacking = cubes.into_iter().map(|mut cube| {
            for (field, set) in &mut cube.fields {
                *set = set.complement_below(field.largest());
            }
            cube
        });
        Some(lacking.filter_map(Cube::normal).collect())
    }

    /// The field of that name, if this stage can see it.
    fn field(&mut self, name: &Name, stage: Stage, env: &Env) -> Option<&'static field::FieldDef> {
        let span = env.span(name.span);
        let Some(def) = field::find(&name.node) else {
            let title = format!("there is no field `{}`", name.node);
            let names: Vec<String> = field::names().map(str::to_owned).collect();
            let help = match super::scope::nearest(&name.node, &names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the fields are {}", names.join(", ")),
            };
            self.report(Diagnostic::error(Code::BadField, title, span).help(help));
            return None;
        };
        if !def.stages.contains(&stage) {
            let title = format!("{} does not see `{}`", stage.name(), def.name);
            let stages: Vec<&str> = def.stages.iter().map(|s| s.name()).collect();
            let help = format!("the stages that see it: {}", stages.join(", "));
            self.report(Diagnostic::error(Code::BadField, title, span).help(help));
            return None;
        }
        Some(def)
    }

    fn lower(&mut self, comparison: &Comparison, places: &[Span], span: Span) -> Option<Vec<Cube>> {
        match field::lower(comparison) {
            Ok(cubes) => Some(cubes.into_iter().filter_map(Cube::normal).collect()),
            Err(error) => {
                let at = match &error {
                    FieldError::Value { index, .. } => places.get(*index).copied(),
                    FieldError::Operator { .. } => None,
                };
                self.field_error(&error, at.unwrap_or(span));
                None
            }
        }
    }

    /// Reports a comparison that means nothing.
    pub(super) fn field_error(&mut self, error: &FieldError, span: Span) {
        let help = match error {
            FieldError::Value { expected, .. } => format!("expected {expected}"),
            FieldError::Operator { expected, .. } => format!("it can be compared with {expected}"),
        };
        self.report(Diagnostic::error(Code::BadField, error.to_string(), span).help(help));
    }

    pub(super) fn too_complex(&mut self, span: Span) {
        let title = format!("the condition has more than {MOST_CUBES} alternatives");
        let help = "split the rule: each `or` of values of one field can be one `in { … }`";
        self.report(Diagnostic::error(Code::TooComplex, title, span).help(help));
    }
}

/// The operator that holds, for packets that have the field, where `op` does not; `has` has none.
fn opposite(op: CmpOp) -> Option<CmpOp> {
    match op {
        CmpOp::Eq | CmpOp::In => Some(CmpOp::Ne),
        CmpOp::Ne => Some(CmpOp::In),
        CmpOp::Lt => Some(CmpOp::Ge),
        CmpOp::Le => Some(CmpOp::Gt),
        CmpOp::Gt => Some(CmpOp::Le),
        CmpOp::Ge => Some(CmpOp::Lt),
        CmpOp::Has => None,
    }
}
