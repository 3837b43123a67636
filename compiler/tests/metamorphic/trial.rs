//! A kind of change tried on random policies.

use std::collections::BTreeMap;
use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use fastrand::Rng;
use polc_compiler::diagnostic::{Code, Diagnostic, Severity};
use polc_compiler::ir::Ir;
use polc_compiler::target::Capability;
use polc_compiler::{Compilation, Files, Options, compile};
use polc_generator::{Feature, Shape, valid_policy};
use polc_grammar::ast::File;
use polc_grammar::parse;

use super::judge::{Judgement, compare};

/// How many packets have to be judged for each change, on average.
const PACKETS: usize = 200;

/// No file can be read.
struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _path: &str) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}

/// A text, its tree and what was made of it.
pub(crate) struct Compiled {
    pub(crate) text: String,
    pub(crate) file: File,
    pub(crate) out: Compilation,
}

impl Compiled {
    pub(crate) fn new(text: String) -> Self {
        let options = Options {
            as_of: "2026-11-21".to_owned(),
            ..Options::default()
        };
        let out = compile("p.pol", &text, &NoFiles, &options);
        Self {
            file: parse(&text).file,
            out,
            text,
        }
    }

    /// The normal form of a policy that compiles.
    pub(crate) fn ir(&self) -> &Ir {
        let problems = &self.out.diagnostics;
        self.out
            .ir
            .as_ref()
            .unwrap_or_else(|| panic!("{problems:?}\n{}", self.text))
    }

    /// The codes of its errors.
    fn errors(&self) -> Vec<Code> {
        let all = self.out.diagnostics.iter();
        all.filter(|d| d.severity == Severity::Error)
            .map(|d| d.code)
            .collect()
    }
}

fn number(name: &str) -> Option<usize> {
    env::var(name).ok().map(|text| text.parse().unwrap())
}

/// A random policy; some have stateless sections, and some are small.
fn base(at: usize, seed: u64) -> Compiled {
    let mut shape = Shape::default();
    if at % 5 == 4 {
        shape = shape.with(Feature::Stateless);
    }
    if at % 3 == 2 {
        (shape.guard, shape.steer, shape.egress, shape.filter) = (3, 3, 2, 3);
    }
    let compiles = |text: &str| Compiled::new(text.to_owned()).out.ir.is_some();
    Compiled::new(valid_policy(seed, &shape, compiles).unwrap().text)
}

/// A kind of change, and how it is judged.
pub(crate) struct Trial {
    /// How many policies it is tried on, unless `POLC_POLICIES` says.
    pub(crate) policies: usize,
    /// In how many of a hundred policies it has to be possible at least.
    pub(crate) floor: usize,
    /// Errors that the change may cause: then nothing is compared.
    pub(crate) may_cause: &'static [Code],
    /// Whether the order of rules changes. A rule that asks for a mark then may come behind one that
    /// sets it, which not every target can express.
    pub(crate) moves_marks: bool,
}

/// What became of the policies.
#[derive(Default)]
struct Totals {
    applied: AtomicUsize,
    refused: AtomicUsize,
    packets: AtomicUsize,
    blind: Mutex<BTreeMap<&'static str, usize>>,
    failed: AtomicUsize,
}

impl Trial {
    /// Tries a change, which is `None` where it is not possible.
    pub(crate) fn run(&self, change: impl Fn(&Compiled, &mut Rng) -> Option<String> + Sync) {
        self.run_with(change, compare);
    }

    /// As [`Trial::run`], with another judge.
    pub(crate) fn run_with(
        &self,
        change: impl Fn(&Compiled, &mut Rng) -> Option<String> + Sync,
        judge: impl Fn(&Compiled, &Compiled, &mut Rng) -> Judgement + Sync,
    ) {
        self.run_on(|policy, _| policy.text.clone(), change, judge);
    }

    /// As [`Trial::run_with`], on what is made of random policies, where it compiles.
    pub(crate) fn run_on(
        &self,
        prepare: impl Fn(&Compiled, &mut Rng) -> String + Sync,
        change: impl Fn(&Compiled, &mut Rng) -> Option<String> + Sync,
        judge: impl Fn(&Compiled, &Compiled, &mut Rng) -> Judgement + Sync,
    ) {
        let policies = number("POLC_POLICIES").unwrap_or(self.policies);
        let seed = number("POLC_SEED").unwrap_or(1) as u64;
        let only = number("POLC_ONLY");
        let totals = Totals::default();
        let next = AtomicUsize::new(0);
        let one = |at| {
            let seed = seed.wrapping_mul(1_000_003).wrapping_add(at as u64);
            let mut rng = Rng::with_seed(seed);
            let random = base(at, seed);
            let prepared = Compiled::new(prepare(&random, &mut rng));
            let before = if prepared.out.ir.is_some() {
                prepared
            } else {
                random
            };
            let after = Compiled::new(change(&before, &mut rng)?);
            let wrong = self.judged([&before, &after], &judge, &mut rng, &totals)?;
            totals.failed.fetch_add(1, Ordering::Relaxed);
            println!(
                "policy {at} (seed {seed}): {wrong}\n{}\n---- becomes\n{}",
                before.text, after.text
            );
            Some(())
        };
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        if at >= policies {
                            break;
                        }
                        if only.is_none_or(|only| only == at) {
                            one(at);
                        }
                    }
                });
            }
        });
        totals.check(policies, self.floor, only.is_some());
    }

    /// What speaks against the two being the same.
    fn judged(
        &self,
        [before, after]: [&Compiled; 2],
        judge: &impl Fn(&Compiled, &Compiled, &mut Rng) -> Judgement,
        rng: &mut Rng,
        totals: &Totals,
    ) -> Option<String> {
        let errors = after.errors();
        if !errors.is_empty() && errors.iter().all(|code| self.may_cause.contains(code)) {
            totals.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        totals.applied.fetch_add(1, Ordering::Relaxed);
        if !errors.is_empty() {
            return Some(format!("{:?}", after.out.diagnostics));
        }
        let mut found = judge(before, after, rng);
        totals.packets.fetch_add(found.packets, Ordering::Relaxed);
        if let Err(unknown) = found.changes {
            let mut blind = totals.blind.lock().unwrap();
            *blind.entry(unknown.reason()).or_default() += 1;
        }
        let stale = Capability::StaleMark.describe();
        let order = |why: &Diagnostic| self.moves_marks && why.title.contains(stale);
        found.targets.retain(|(_, why)| !order(why));
        found.objection()
    }
}

impl Totals {
    fn check(&self, policies: usize, floor: usize, one: bool) {
        let get = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        let (applied, failed, packets) =
            (get(&self.applied), get(&self.failed), get(&self.packets));
        let blind = self.blind.lock().unwrap();
        println!(
            "{policies} policies: {applied} changed and {packets} packets judged, {} changes refused, \
             {failed} failed; not compared: {blind:#?}",
            get(&self.refused)
        );
        assert_eq!(failed, 0);
        if !one {
            assert!(applied * 100 >= policies * floor, "{applied} are few");
            assert!(packets >= applied * PACKETS, "{packets} packets are few");
            let unknown: usize = blind.values().sum();
            assert!(unknown * 10 <= applied, "{unknown} were not compared");
        }
    }
}

/// That a change matters, to both judges.
pub(crate) fn control(before: &str, after: &str) {
    let [before, after] = [before, after].map(|text| Compiled::new(text.to_owned()));
    let found = compare(&before, &after, &mut Rng::with_seed(1));
    let (old, new) = (&before.text, &after.text);
    assert!(
        found.changes.is_ok_and(|n| n > 0),
        "the comparison sees nothing: {old}\n{new}"
    );
    assert!(
        found.packet.is_some(),
        "the interpreter sees nothing: {old}\n{new}"
    );
}
