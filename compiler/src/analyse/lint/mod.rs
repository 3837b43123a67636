//! Lint: what a policy that compiles had better not say.
//!
//! Each lint is a file of its own. [`lint!`](self) in it declares what the lint is called and how
//! it is judged; the doc comment there is the page that `polc explain` and `docs/lints/` show. The
//! lint finds things in `check`. To add one, write the file and add its line to the table below.
//!
//! [`lint`](fn@lint) runs them.

mod context;
mod index;
mod register;
mod settings;
mod syntax;
mod world;

use register::{lint, page};

pub use crate::diagnostic::{Meta, Persona, Precision};
pub use context::Context;
pub use index::Lines;
pub use register::{all, find, lookup};
pub use settings::{Level, Rule, Settings};
pub use world::{Opening, World};

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
    mod duplicate_rule;
    mod log_without_limit;
    mod unused_definition;
    mod overlapping_set_elements;
    mod kernel_floor;
}

register::pages! {
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
}

/// What lint has to say about a policy.
#[derive(Debug, Default)]
pub struct Report {
    /// What was found, with the compiler's own warnings, in order of place.
    pub findings: Vec<Diagnostic>,
}

/// Looks through a policy. Of one that does not compile, the compiler's diagnostics are all there
/// is.
pub fn lint(compilation: &Compilation, settings: &Settings) -> Report {
    let mut findings = compilation.diagnostics.clone();
    if let Some(ir) = &compilation.ir {
        let cx = Context::new(&compilation.sources, &compilation.policy, ir, settings);
        for lint in LINTS {
            if settings.wants(lint.meta) {
                (lint.check)(&cx, &mut findings);
            }
        }
        findings.retain_mut(|finding| settings.judge(finding));
    }
    diagnostic::sort(&mut findings);
    Report { findings }
}
