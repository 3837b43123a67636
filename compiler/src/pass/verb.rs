//! Which verbs a stage has, and which clauses a verb has.

use polc_grammar::ast::Verb;

use crate::diagnostic::{Code, Diagnostic};
use crate::ir::Stage;
use crate::policy::{self, Via};
use crate::source::Span;

/// What to do about a verb that the stage does not have; `None` when it has it.
pub(super) fn wrong_stage(verb: Verb, stage: Stage) -> Option<&'static str> {
    use Stage::{Egress, Filter, Guard, Steer};
    use Verb::{
        Allow, Deny, Direct, Dnat, Masquerade, Match, Notrack, Proxy, Redirect, Reject, Route, Snat,
    };
    match (stage, verb) {
        (Guard, Allow | Deny | Match | Notrack)
        | (Steer, Direct | Redirect | Dnat | Proxy | Route | Deny | Match)
        | (Filter, Allow | Deny | Reject | Match)
        | (Egress, Masquerade | Snat | Direct | Match) => None,
        (Guard, Reject) => Some("guard does not answer: write `deny`, or reject in a section"),
        (Guard, _) => Some("guard has `allow`, `deny`, `match` and `notrack`"),
        (Steer, Allow) => {
            Some("write `direct … and allow`: the flow goes its way and skips filter")
        }
        (Steer, _) => {
            Some("steer has `direct`, `redirect`, `dnat`, `proxy`, `route`, `deny` and `match`")
        }
        (Filter, Direct | Redirect | Dnat | Proxy | Route) => {
            Some("this decides where a flow goes: write it in `steer { … }`")
        }
        (Filter, Snat | Masquerade) => Some("this rewrites the source: write it in `egress { … }`"),
        (Filter, _) => Some("a section has `allow`, `deny`, `reject` and `match`"),
        (Egress, Deny | Reject | Allow) => {
            Some("egress rewrites sources and refuses nothing: write this in a section")
        }
        (Egress, _) => Some("egress has `masquerade`, `snat`, `direct` and `match`"),
    }
}

/// Clauses that the verb does not have.
pub(super) fn check_clauses(rule: &policy::Rule) -> Result<(), Diagnostic> {
    let clauses = &rule.clauses;
    let wrong = |span: Span, title: String| Err(Diagnostic::error(Code::WrongClause, title, span));
    let verb = rule.verb.word();
    if let Some(targets) = &clauses.targets
        && !matches!(rule.verb, Verb::Redirect | Verb::Dnat | Verb::Snat)
    {
        return wrong(targets.span, format!("`{verb}` has no target"));
    }
    match (clauses.via, rule.verb) {
        (Some(Via::Proxy(_, span)), verb) if verb != Verb::Proxy => {
            return wrong(span, format!("`{}` does not go via a proxy", verb.word()));
        }
        (Some(Via::Table(_, span)), verb) if verb != Verb::Route => {
            return wrong(
                span,
                format!("`{}` does not go via a routing table", verb.word()),
            );
        }
        _ => {}
    }
    if let Some((_, span)) = clauses.reject
        && rule.verb != Verb::Reject
    {
        return wrong(span, format!("`{verb}` does not answer"));
    }
    if let Some(span) = clauses.admit
        && matches!(rule.verb, Verb::Deny | Verb::Match)
    {
        return wrong(span, format!("`{verb}` does not let anything through"));
    }
    Ok(())
}
