//! POL111

use super::{Context, lint};
use crate::diagnostic::Diagnostic;
use crate::field::{ICMP, ICMPV6};
use crate::ir::Cube;
use crate::ir::cube::both;
use crate::packet::IntervalSet;
use crate::policy::{Condition, Rule, Stmt};

lint! {
    /// One of the services of a rule, or of the alternatives of a condition, excludes what the rest of
    /// the rule asks for. The others work, so the rule looks as if all did.
    ///
    /// What is asked of TCP is false for UDP, an IPv4 address is never that of an IPv6 packet, and an
    /// interface of another zone than the section's is not met. A rule of which nothing can match is
    /// POL102.
    ///
    /// Rules of templates are not looked at: an argument may suit one part of a template only.
    ///
    /// ## Bad
    ///
    /// ```pol
    /// to host {
    ///   deny tcp/80, udp/53 when tcp.flags has fin
    ///   default reject
    /// }
    /// ```
    ///
    /// ## Good
    ///
    /// ```pol
    /// to host {
    ///   deny tcp/80 when tcp.flags has fin
    ///   deny udp/53
    ///   default reject
    /// }
    /// ```
    pub(super) static LINT: "POL111" "contradictory-match" Error, Default, Exact;
    "A part of a rule excludes the rest of it."
}

/// More alternatives than this have not been written one by one.
const MOST: usize = 256;

pub(super) fn check(cx: &Context, out: &mut Vec<Diagnostic>) {
    for block in &cx.policy.blocks {
        let mut around: Vec<&Condition> = block.clauses.conditions.iter().collect();
        visit(cx, &block.body, &mut around, out);
    }
}

fn visit<'p>(
    cx: &Context,
    body: &'p [Stmt],
    around: &mut Vec<&'p Condition>,
    out: &mut Vec<Diagnostic>,
) {
    for stmt in body {
        match stmt {
            Stmt::Rule(rule) | Stmt::Default(rule) => {
                if has_alternatives(rule) {
                    out.extend(judge(cx, rule, around));
                }
            }
            Stmt::Group(clauses, body) => {
                let before = around.len();
                around.extend(&clauses.conditions);
                visit(cx, body, around, out);
                around.truncate(before);
            }
        }
    }
}

fn has_alternatives(rule: &Rule) -> bool {
    let some = |cubes: &[Cube]| (2..=MOST).contains(&cubes.len());
    rule.services.as_deref().is_some_and(some)
        || rule.clauses.conditions.iter().any(|c| some(&c.cubes))
}

fn judge(cx: &Context, rule: &Rule, around: &[&Condition]) -> Option<Diagnostic> {
    let own = &rule.clauses.conditions;
    // Each part of the rule with the others, and where it stands.
    let parts = own.iter().map(|c| (c.cubes.as_slice(), c.span));
    let services = rule.services.as_deref().map(|cubes| (cubes, rule.span));
    let parts: Vec<_> = parts.chain(services).collect();
    for (at, (cubes, span)) in parts.iter().enumerate() {
        if !(2..=MOST).contains(&cubes.len()) || is_negative(cx.text_of(*span), *span == rule.span)
        {
            continue;
        }
        let others = parts.iter().enumerate().filter(|(other, _)| *other != at);
        let others = others.map(|(_, (cubes, _))| *cubes);
        let outer = around.iter().map(|c| c.cubes.as_slice());
        let rest = others
            .chain(outer)
            .try_fold(vec![Cube::any()], |rest, cubes| both(&rest, cubes))?;
        let holds = |cube: &Cube| rest.iter().any(|r| r.intersection(cube).is_some());
        let live: Vec<&Cube> = cubes.iter().filter(|cube| holds(cube)).collect();
        // ICMP is one alternative of two families.
        let icmp = live.iter().any(|cube| is_icmp(cube));
        let mut dead = cubes.iter().filter(|cube| !holds(cube));
        let dead = dead.find(|cube| !(icmp && is_icmp(cube)));
        if let (Some(dead), false) = (dead, live.is_empty() || is_shared(cx, rule)) {
            let title = format!(
                "a part of this can never hold: `{}`",
                crate::ir::print::print_cube(dead)
            );
            let help = "the rest of the rule, or what stands around it, excludes it: take it out, \
                        or give it a rule of its own";
            return Some(LINT.report(title, *span).help(help));
        }
    }
    None
}

fn is_shared(cx: &Context, rule: &Rule) -> bool {
    let in_template =
        |item: &polc_grammar::ast::Item| matches!(item, polc_grammar::ast::Item::Template(_));
    let syntax = cx.syntax(rule.span.file);
    let mut items = syntax.items.iter();
    items.any(|item| {
        let inside = item.span.start <= rule.span.start && rule.span.start < item.span.end;
        inside && in_template(&item.node)
    })
}

/// Whether a condition says what must not be: its alternatives are not those that were written.
fn is_negative(text: &str, is_service: bool) -> bool {
    let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    !is_service && (text.contains("!=") || words.any(|word| word == "not"))
}

fn is_icmp(cube: &Cube) -> bool {
    let icmp: IntervalSet<u64> = [(ICMP, ICMP), (ICMPV6, ICMPV6)].into_iter().collect();
    cube.proto.is_subset(&icmp)
}
