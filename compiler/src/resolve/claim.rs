//! Claims.

use polc_grammar::ast::{self, Verb};

use super::clause::Place;
use super::{Env, Resolver};
use crate::diagnostic::{Code, Diagnostic};
use crate::ir::cube::{both, without};
use crate::ir::{Cube, Stage};
use crate::policy::Claim;
use crate::source::Span;

impl Resolver<'_> {
    /// Takes a claim. Its ends are those of a routed packet, as filter sees them.
    pub(super) fn claim(&mut self, claim: &ast::Claim, env: &Env, span: Span) {
        if matches!(claim.outcome.node, Verb::Match | Verb::Notrack) {
            let at = env.span(claim.outcome.span);
            let title = "this is no outcome: what it does decides nothing";
            let help = "a claim speaks of what becomes of packets, such as `allow` or `deny`";
            self.report(Diagnostic::error(Code::BadExpectation, title, at).help(help));
        }
        let cubes = if claim.services.is_empty() {
            vec![Cube::any()]
        } else {
            let Some(services) = self.service_list(&claim.services, env) else {
                return;
            };
            services
        };
        let clauses = self.clauses(&claim.clauses, Stage::Filter, Place::Claim, env);
        let conditions = &clauses.conditions;
        let met = conditions.iter().try_fold(cubes, |c, o| both(&c, &o.cubes));
        let met = met.and_then(|c| clauses.except.iter().try_fold(c, |c, o| without(&c, o)));
        let Some(cubes) = met else {
            self.too_complex(span);
            return;
        };
        self.policy.claims.push(Claim {
            kind: claim.kind.node,
            outcome: claim.outcome.node,
            cubes,
            span,
        });
    }
}
