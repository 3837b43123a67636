//! POL115

use polc_grammar::ast::{AddrLit, Clause, End, Ends};

use super::{Context, lint};
use crate::diagnostic::{Diagnostic, Fix};
use crate::packet::Families;
use crate::policy::{Condition, Stmt};

lint! {
    /// A clause asks for nothing: it holds for every packet. `from any` is one, and so is a condition
    /// such as `ip.ttl >= 0`.
    ///
    /// It says nothing and looks as if it did. Perhaps another value was meant.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   allow https from any
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   allow https
    ///   default deny
    /// }
    /// ```
    ///
    /// ## Fix
    ///
    /// The clause is deleted from the rule. Clauses of groups are left alone.
    pub(super) static LINT: "POL115" "always-true-match" Note, Default, Exact, fix;
    "A clause asks for nothing."
}

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    for block in &cx.policy.blocks {
        visit(cx, &block.body, out);
    }
}

fn visit(cx: &Context, body: &[Stmt], out: &mut Vec<Diagnostic>) {
    for stmt in body {
        let (clauses, of_rule) = match stmt {
            Stmt::Rule(rule) | Stmt::Default(rule) => (&rule.clauses, true),
            Stmt::Group(clauses, body) => {
                visit(cx, body, out);
                (clauses, false)
            }
        };
        let idle = clauses.conditions.iter().filter(|c| asks_nothing(c));
        for condition in idle.filter(|c| is_literal(cx, c)) {
            let diagnostic = LINT
                .report("this holds for every packet", condition.span)
                .help("delete it, or say what was meant");
            out.push(if of_rule && cx.is_own(condition.span) {
                let edits = vec![cx.cut(condition.span)];
                diagnostic.fix(Fix {
                    safe: true,
                    title: "delete the clause".to_owned(),
                    edits,
                })
            } else {
                diagnostic
            });
        }
    }
}

fn asks_nothing(condition: &Condition) -> bool {
    condition.cubes.iter().any(|cube| {
        let fields = cube.fields.iter();
        let full = fields.into_iter().all(|(field, set)| {
            field.def().header == crate::field::Header::Network
                && field.def().protocols.is_empty()
                && *set == field.all()
        });
        let free = crate::ir::Cube {
            fields: std::collections::BTreeMap::new(),
            ..cube.clone()
        };
        full && free == crate::ir::Cube::any() && cube.families == Families::BOTH
    })
}

/// Whether the clause is written out: behind a name there may be something else tomorrow.
fn is_literal(cx: &Context, condition: &Condition) -> bool {
    let around = cx.around(condition.span);
    let mut clauses = around.iter().flat_map(|node| &node.clauses);
    let clause = clauses.find(|clause| clause.span.start == condition.span.start);
    let plain = |ends: &Ends| {
        let mut list = ends.list.iter();
        let written = |addr: &AddrLit| matches!(addr, AddrLit::Prefix(..) | AddrLit::Range(..));
        list.all(|end| match &end.node {
            End::Any => true,
            End::Addr(addr) => written(addr),
            _ => false,
        })
    };
    clause.is_some_and(|clause| match &clause.node {
        Clause::From(ends) | Clause::To(ends) | Clause::ToOriginal(ends) => plain(ends),
        Clause::When(_) => true,
        _ => false,
    })
}
