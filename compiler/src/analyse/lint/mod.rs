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
mod words;
mod world;

use register::{lint, page};

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
    mod any_any_allow;
    mod default_allow;
    mod no_established_accept;
    mod source_port_trust;
    mod proxy_down_unstated;
    mod proxy_loop;
    mod redirect_loop;
    mod limit_huge;
    mod contradictory_match;
    mod always_true_match;
    mod plaintext_service;
    mod amplifier_open;
    mod global_limit;
    mod proxy_without_rate;
    mod proxy_includes_local;
    mod limit_on_established;
    mod unbounded_keys;
    mod management_not_protected;
    mod missing_owner;
    mod no_tests;
    mod silent_drop;
    mod accept_is_not_final;
    mod unreachable_rule;
    mod shadowed_opposite;
    mod mostly_shadowed;
    mod redundant_rule;
    mod conflicting_rules;
    mod v4_mapped_literal;
    mod magic_number;
    mod todo_allow;
    mod name_shadowing;
    mod dead_block;
    mod duplicate_rule;
    mod mergeable_rules;
    mod order_sensitive_pair;
    mod log_without_limit;
    mod unused_definition;
    mod overlapping_set_elements;
    mod kernel_floor;
    mod world_to_admin_port;
    mod wide_source;
    mod wide_port_range;
    mod bogon_source_accepted;
    mod no_antispoof;
    mod loopback_address_off_lo;
    mod invalid_state_accepted;
    mod egress_unrestricted;
    mod metadata_endpoint_open;
    mod fragment_bypass;
    mod v4_only_hole;
    mod v6_only_hole;
    mod asymmetric_families;
    mod nd_blocked;
    mod pmtud_blocked;
    mod echo_unlimited;
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
        for lint in LINTS {
            if settings.wants(lint.meta) {
                (lint.check)(&cx, &mut findings);
            }
        }
        findings.extend(cx.defects.take());
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
