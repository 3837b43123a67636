//! Inline tests: what a policy says of single flows, put to the reference interpreter.
//!
//! A test names a flow by its ends. What it leaves open is either of no account and has a value
//! of its own (see [`flow`]), or is a choice: then the expectation must hold for every choice
//! between which the policy distinguishes. Each step begins with nothing in memory: no flow, full
//! buckets, dynamic sets as they are written.

mod coverage;
mod expect;
pub mod flow;
mod host;
mod iface;
mod judge;
pub mod live;
mod report;
mod step;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::interpret::{RuleId, State};
use crate::ir::Ir;
use crate::policy::{Policy, Test};
use crate::resolve::Options;
use crate::source::Span;

pub use coverage::{Coverage, coverage};
pub use expect::{deciding, describe, outcome_text};
pub use flow::{Case, Problem};
pub use judge::{Chosen, Judged};
pub use report::{check, diagnostic};

/// Noon of a Wednesday, in milliseconds since 1970: the time at which tests take place.
pub const NOON: u64 = 1_767_787_200_000;

/// Numbers of the users and groups that a policy names, as in [`Options`].
#[derive(Clone, Copy, Debug)]
struct Senders<'a> {
    users: &'a BTreeMap<String, u32>,
    groups: &'a BTreeMap<String, u32>,
}

/// A policy on the bench.
#[derive(Clone, Debug)]
pub struct Bench<'a> {
    policy: &'a Policy,
    ir: &'a Ir,
    senders: Senders<'a>,
    ingress: iface::Classes,
    egress: iface::Classes,
    host: host::Host,
    /// The memory before any packet.
    empty: State,
    /// Whether what came before can change what steer does.
    remembers: bool,
}

/// What became of a test.
#[derive(Clone, Debug)]
pub struct TestResult {
    /// What it is about.
    pub title: String,
    /// Where it is written.
    pub span: Span,
    /// Its steps, in order.
    pub steps: Vec<StepResult>,
}

impl TestResult {
    /// Whether every step came out as expected.
    pub fn passed(&self) -> bool {
        self.steps.iter().all(|s| s.failure.is_none())
    }
}

/// What became of a step of a test.
#[derive(Clone, Debug)]
pub struct StepResult {
    /// Where it is written.
    pub span: Span,
    /// What it expects.
    pub expected: String,
    /// What is wrong, if anything is.
    pub failure: Option<Failure>,
    /// The rules that took effect or decided something.
    pub reached: BTreeSet<RuleId>,
}

/// Why a step failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Where: the step, or the part of it that means nothing.
    pub span: Span,
    /// What became of the packet, or what is wrong with the step itself.
    pub got: String,
    /// The rule that decided.
    pub by: Option<RuleId>,
    /// The packet that fails, and how it was judged; `None` when the step means nothing.
    pub judged: Option<Judged>,
    /// What to do.
    pub help: Option<String>,
}

impl<'a> Bench<'a> {
    /// Puts a policy on the bench. `options` are those with which it was compiled.
    pub fn new(policy: &'a Policy, ir: &'a Ir, options: &'a Options) -> Self {
        let mut empty = State::new(ir);
        empty.trace = true;
        Self {
            policy,
            ir,
            senders: Senders {
                users: &options.users,
                groups: &options.groups,
            },
            ingress: iface::Classes::of(ir, |c| &c.ingress),
            egress: iface::Classes::of(ir, |c| &c.egress),
            host: host::Host::of(policy, ir),
            empty,
            remembers: judge::remembers(ir),
        }
    }

    /// Runs one test.
    pub fn test(&self, test: &Test) -> TestResult {
        let span = |span| Span::new(test.span.file, span);
        let steps = test.test.steps.iter();
        TestResult {
            title: test.test.title.node.clone(),
            span: test.span,
            steps: steps.map(|s| self.step(&s.node, span(s.span))).collect(),
        }
    }
}

/// Runs every test of a policy. `options` are those with which it was compiled.
pub fn run(policy: &Policy, ir: &Ir, options: &Options) -> Vec<TestResult> {
    let bench = Bench::new(policy, ir, options);
    policy.tests.iter().map(|t| bench.test(t)).collect()
}
