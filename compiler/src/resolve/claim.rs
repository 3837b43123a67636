//! Claims.

use polc_grammar::ast;

use super::clause::Place;
use super::expr::both;
use super::{Env, Resolver};
use crate::ir::{Cube, Stage};
use crate::policy::Claim;
use crate::source::Span;

impl Resolver<'_> {
    /// Takes a claim. Its ends are those of a routed packet, as filter sees them.
    pub(super) fn claim(&mut self, claim: &ast::Claim, env: &Env, span: Span) {
        let mut cubes = if claim.services.is_empty() {
            vec![Cube::any()]
        } else {
            let Some(services) = self.service_list(&claim.services, env) else {
                return;
            };
            services
        };
        let clauses = self.clauses(&claim.clauses, Stage::Filter, Place::Claim, env);
        for condition in &clauses.conditions {
            cubes = both(&cubes, &condition.cubes);
        }
        for except in &clauses.except {
            cubes = cubes
                .iter()
                .flat_map(|cube| cube.difference(except))
                .collect();
        }
        self.policy.claims.push(Claim {
            kind: claim.kind.node,
            outcome: claim.outcome.node,
            cubes,
            span,
        });
    }
}
