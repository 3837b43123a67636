//! How lints run together.

use std::collections::BTreeSet;

use polc_generator::{Kind, family};

use super::context::Shared;
use super::testing::compiled;
use super::{Context, LINTS, Lint, Settings, check};
use crate::Compilation;
use crate::diagnostic::Diagnostic;

/// Messages of routers come to a rule of filter: no page has that.
const STATELESS: &str = "strict icmp\nstateless to host {\n  deny icmp\n  default deny\n}\n";

/// The examples of all pages, as far as they compile, and another one.
fn examples() -> Vec<Compilation> {
    let pages = LINTS.iter().map(|lint| lint.meta.page());
    let texts = pages.flat_map(|page| {
        let blocks = page.split("```pol\n").skip(1);
        let blocks = blocks.filter_map(|rest| rest.split("```").next());
        blocks.map(str::to_owned).collect::<Vec<_>>()
    });
    let examples = texts.chain([STATELESS.to_owned()]);
    let examples = examples.map(|text| compiled(&text));
    examples.filter(|example| example.ir.is_some()).collect()
}

fn context<'c>(policy: &'c Compilation, settings: &'c Settings) -> Context<'c> {
    let ir = policy.ir.as_ref().expect("it compiles");
    Context::new(&policy.sources, &policy.policy, ir, settings)
}

/// What every lint finds, before it is put in order of place.
fn found(policy: &Compilation, pool: &rayon::ThreadPool) -> Vec<Diagnostic> {
    let (settings, lints) = (Settings::default(), LINTS.iter().collect::<Vec<&Lint>>());
    let cx = context(policy, &settings);
    let found = pool.install(|| check(&cx, &lints));
    assert_eq!(cx.take_defects(), []);
    found
}

#[test]
fn findings_do_not_depend_on_who_runs_which_lint() {
    let pool = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().expect("a pool")
    };
    let (one, four) = (pool(1), pool(4));
    let mut policies = examples();
    policies.extend(Kind::ALL.map(|kind| compiled(&family(kind, 150, 1))));
    let mut most = 0;
    for policy in &policies {
        let expected = found(policy, &one);
        let codes: BTreeSet<&str> = expected.iter().map(|d| d.code.id()).collect();
        most = most.max(codes.len());
        for _ in 0..10 {
            assert_eq!(found(policy, &four), expected);
        }
    }
    assert!(most >= 10, "findings of no more than {most} lints");
}

#[test]
fn every_lint_asks_for_what_it_says_and_for_nothing_else() {
    let (settings, examples) = (Settings::default(), examples());
    let mut wrong = Vec::new();
    for lint in LINTS {
        let mut asked = BTreeSet::new();
        for example in &examples {
            let cx = context(example, &settings);
            (lint.check)(&cx, &mut Vec::new());
            let shared = [Shared::World, Shared::Reach].into_iter();
            asked.extend(shared.filter(|shared| cx.has(*shared)));
        }
        if asked != lint.asks.iter().copied().collect() {
            wrong.push((lint.meta.name, asked));
        }
    }
    assert_eq!(wrong, []);
}
