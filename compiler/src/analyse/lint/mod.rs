//! Lint: what a policy that compiles had better not say.
//!
//! Each lint is a file of its own. [`lint!`](self) in it declares what the lint is called and how
//! it is judged; the doc comment there is the page that `polc explain` and `docs/lints/` show. The
//! lint finds things in `check`. To add one, write the file and add its line to the table below.
//!
//! [`lint`](fn@lint) runs them.

mod admitting;
mod context;
mod directive;
mod fingerprint;
mod index;
mod literals;
mod opening;
mod register;
mod rerun;
mod services;
mod settings;
mod suppress;
mod syntax;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod words;
mod world;

use rayon::prelude::*;

use context::Shared;
use register::{Lint, lint, page};

pub use crate::diagnostic::{Meta, Persona, Precision};
pub use context::Context;
pub use fingerprint::{Fingerprint, Fingerprints};
pub use index::Lines;
pub use opening::{Opening, Origin, Question};
pub use register::{all, find, lookup};
pub use settings::{Level, Rule, Settings};
pub use suppress::Suppressed;
pub use world::World;

use crate::Compilation;
use crate::diagnostic::{self, Diagnostic};

register::lints! {
    mod any_any_allow: World, Reach;
    mod default_allow: World, Reach;
    mod no_established_accept: World;
    mod source_port_trust: World, Reach;
    mod proxy_down_unstated;
    mod proxy_loop;
    mod redirect_loop;
    mod limit_huge;
    mod contradictory_match;
    mod always_true_match;
    mod plaintext_service: World, Reach;
    mod amplifier_open: World, Reach;
    mod global_limit: World, Reach;
    mod proxy_without_rate: World, Reach;
    mod proxy_includes_local: World;
    mod limit_on_established;
    mod unbounded_keys;
    mod management_not_protected;
    mod missing_owner;
    mod no_tests;
    mod silent_drop: World;
    mod accept_is_not_final;
    mod unreachable_rule: Reach;
    mod shadowed_opposite: Reach;
    mod mostly_shadowed: Reach;
    mod redundant_rule: Reach;
    mod conflicting_rules: Reach;
    mod v4_mapped_literal;
    mod magic_number;
    mod todo_allow;
    mod name_shadowing;
    mod dead_block;
    mod duplicate_rule;
    mod mergeable_rules;
    mod order_sensitive_pair: Reach;
    mod log_without_limit;
    mod unused_definition;
    mod overlapping_set_elements;
    mod kernel_floor;
    mod world_to_admin_port: World, Reach;
    mod wide_source: World, Reach;
    mod wide_port_range: World, Reach;
    mod bogon_source_accepted: World, Reach;
    mod no_antispoof: World, Reach;
    mod loopback_address_off_lo: World, Reach;
    mod invalid_state_accepted: World, Reach;
    mod egress_unrestricted: World, Reach;
    mod metadata_endpoint_open: World, Reach;
    mod fragment_bypass: World;
    mod v4_only_hole: World, Reach;
    mod v6_only_hole: World, Reach;
    mod asymmetric_families: World, Reach;
    mod nd_blocked: World, Reach;
    mod pmtud_blocked: World, Reach;
    mod echo_unlimited: World, Reach;
}

register::pages! {
    mod unused_suppression;
    mod suppression_without_reason;
    mod bad_suppression;
    mod mark_collision;
    mod unmatchable_rule;
    mod empty_set;
    mod inverted_range;
    mod host_bits_set;
    mod missing_default;
    mod proxy_protocol;
    mod route_table_collision;
    mod limit_no_effect;
    mod backend_unsupported;
    mod interface_name;
    mod limit_by_family;
    mod expired;
    mod undefined_reference;
    mod vacuous_assertion;
}

/// What lint has to say about a policy.
#[derive(Debug, Default)]
pub struct Report {
    /// What was found, with the compiler's own warnings, in order of place.
    pub findings: Vec<Diagnostic>,
    /// What comments answer for.
    pub suppressed: Vec<Suppressed>,
}

/// Looks through a policy. Of one that does not compile, the compiler's diagnostics are all there
/// is.
pub fn lint(compilation: &Compilation, settings: &Settings) -> Report {
    let mut findings = compilation.diagnostics.clone();
    let mut suppressed = Vec::new();
    if let Some(ir) = &compilation.ir {
        let cx = Context::new(&compilation.sources, &compilation.policy, ir, settings);
        let wanted = LINTS.iter().filter(|lint| settings.wants(lint.meta));
        findings.extend(check(&cx, &wanted.collect::<Vec<_>>()));
        findings.extend(cx.take_defects());
        findings.retain_mut(|finding| settings.admits(finding));
        diagnostic::sort(&mut findings);
        suppressed = suppress::suppress(&cx, &mut findings);
    }
    diagnostic::sort(&mut findings);
    Report {
        findings,
        suppressed,
    }
}

/// Runs lints on all processors. What they find is in their order, whoever comes first.
///
/// What two of them ask for, and what keeps all processors busy by itself, is made before they
/// begin; meanwhile those run that do without.
fn check(cx: &Context, lints: &[&Lint]) -> Vec<Diagnostic> {
    let shared = |what| lints.iter().filter(|l| l.asks.contains(&what)).count() > 1;
    let found = |lint: &Lint| {
        let mut found = Vec::new();
        (lint.check)(cx, &mut found);
        found
    };
    let run = |alone: bool| -> Vec<(usize, Vec<Diagnostic>)> {
        let lints = lints.par_iter().enumerate().with_max_len(1);
        let lints = lints.filter(|(_, lint)| lint.asks.is_empty() == alone);
        lints.map(|(at, lint)| (at, found(lint))).collect()
    };
    let alone = || {
        if lints.len() > 1 {
            cx.syntax(cx.policy.file);
        }
        run(true)
    };
    let prepare = || cx.prepare(shared(Shared::World), shared(Shared::Reach));
    let (mut all, ()) = rayon::join(alone, prepare);
    all.extend(run(false));
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().flat_map(|(_, found)| found).collect()
}
