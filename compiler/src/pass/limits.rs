//! Finds rates without effect: `allow X within R` whose overflow later rules allow all the same.

use crate::diagnostic::{Code, Diagnostic};
use crate::ir::{Cube, Ir, Rule, Sense, Stage, Verdict};

/// Past so many parts of what is left of a rule, nothing is claimed about it.
const MOST_PARTS: usize = 256;

/// Reports every `allow … within` of guard and filter whose overflow is allowed entirely.
pub fn check(ir: &Ir, diagnostics: &mut Vec<Diagnostic>) {
    for stage in [Stage::Guard, Stage::Filter] {
        let rules = ir.stage(stage);
        for (at, rule) in rules.iter().enumerate() {
            let limited = rule.limits.iter().any(|l| l.sense == Sense::Within);
            if !limited || rule.verdict != Some(Verdict::Allow) {
                continue;
            }
            if let Some(later) = allowed_by(rule, rules.get(at + 1..).unwrap_or_default()) {
                let title = format!("the rate of `{}` has no effect", rule.name);
                let help = "what exceeds it must reach a `deny` or `reject`: put one behind it, \
                            or narrow the later rule";
                diagnostics.push(
                    Diagnostic::error(Code::LimitNoEffect, title, rule.span)
                        .and(later.span, "what exceeds it is allowed here")
                        .help(help),
                );
            }
        }
    }
}

/// The rule that allows the last of what exceeds the rate of `rule`; `None` when some of it is
/// refused, stays undecided, or is too much to follow.
fn allowed_by<'r>(rule: &Rule, later: &'r [Rule]) -> Option<&'r Rule> {
    let mut rest: Vec<Cube> = rule.cubes.clone();
    for other in later.iter().filter(|r| r.limits.is_empty()) {
        let touches = other
            .cubes
            .iter()
            .any(|c| rest.iter().any(|r| r.intersection(c).is_some()));
        match other.verdict {
            Some(Verdict::Allow | Verdict::Notrack) if touches => {
                for cube in &other.cubes {
                    rest = rest.iter().flat_map(|r| r.difference(cube)).collect();
                }
                if rest.is_empty() {
                    return Some(other);
                }
                if rest.len() > MOST_PARTS {
                    return None;
                }
            }
            Some(_) if touches => return None,
            _ => {}
        }
    }
    None
}
