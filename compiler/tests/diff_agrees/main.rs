//! What the comparison of two policies says is what the interpreter says, packet by packet: every
//! packet of a reported box changes as reported, every other one keeps its fate.
//!
//! Pairs are a policy (a model policy or a random one) and the same with a few mutations. `POLC_PAIRS`
//! and `POLC_SEED` say how many and which.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test stops at the first thing that is wrong"
)]

mod mutate;
mod points;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs};

use fastrand::Rng;
use polc_compiler::analyse::diff::{self, Diff, Limits, Unknown};
use polc_compiler::analyse::model::Model;
use polc_compiler::ir::Ir;
use polc_compiler::policy::Policy;
use polc_compiler::{Compilation, Files, Options, compile};
use polc_generator::{Feature, Shape, valid_policy};

const PACKETS: usize = 10_000;

struct Disk(PathBuf);

impl Files for Disk {
    fn read(&self, path: &str) -> std::io::Result<String> {
        fs::read_to_string(self.0.join(path))
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies")
}

fn compiled(name: &str, text: &str) -> Compilation {
    let options = Options {
        users: BTreeMap::from([("postfix".to_owned(), 101)]),
        as_of: "2026-11-21".to_owned(),
        ..Options::default()
    };
    compile(name, text, &Disk(folder()), &options)
}

/// The policies that are mutated: the five of acceptance, and random ones.
fn base(number: usize, seed: u64) -> Option<(String, Compilation)> {
    const MODELS: [&str; 5] = ["host", "edge-router", "sidecar", "tproxy-gateway", "ddos"];
    if number.is_multiple_of(4) {
        let name = format!("{}.pol", MODELS[number / 4 % MODELS.len()]);
        let text = fs::read_to_string(folder().join(&name)).unwrap();
        let out = compiled(&name, &text);
        assert!(out.ir.is_some(), "{name}: {:?}", out.diagnostics);
        return Some((text, out));
    }
    let mut shape = Shape::default();
    if number % 8 == 3 {
        shape = shape.with(Feature::Stateless);
    }
    let draw = valid_policy(seed, &shape, |text| compiled("p.pol", text).ir.is_some())?;
    let out = compiled("p.pol", &draw.text);
    Some((draw.text, out))
}

/// What became of the pairs.
#[derive(Default)]
struct Totals {
    pairs: AtomicUsize,
    equal: AtomicUsize,
    blind: AtomicUsize,
    /// Why pairs were not followed.
    reasons: Mutex<BTreeMap<&'static str, usize>>,
    large: AtomicUsize,
    boxes: AtomicUsize,
    inside: AtomicUsize,
    outside: AtomicUsize,
    failed: AtomicUsize,
}

#[test]
fn every_packet_changes_as_reported() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let pairs = usize::try_from(number("POLC_PAIRS").unwrap_or(150)).unwrap();
    let seed = number("POLC_SEED").unwrap_or(1);
    let only = number("POLC_ONLY").map(|n| usize::try_from(n).unwrap());
    let totals = Totals::default();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= pairs {
                        break;
                    }
                    if only.is_none_or(|only| only == at) {
                        pair(at, seed, &totals);
                    }
                }
            });
        }
    });
    let get = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    println!(
        "{} pairs ({} equal, {} not followed, {} too large), {} boxes; {} packets inside of boxes, {} outside: \
         {} pairs disagree",
        get(&totals.pairs),
        get(&totals.equal),
        get(&totals.blind),
        get(&totals.large),
        get(&totals.boxes),
        get(&totals.inside),
        get(&totals.outside),
        get(&totals.failed),
    );
    println!("not followed: {:#?}", totals.reasons.lock().unwrap());
    assert_eq!(get(&totals.failed), 0);
    assert!(only.is_some() || get(&totals.inside) > pairs * PACKETS / 10);
}

fn pair(at: usize, seed: u64, totals: &Totals) {
    let seed = seed.wrapping_mul(1_000_003).wrapping_add(at as u64);
    let mut rng = Rng::with_seed(seed);
    let Some((text, base)) = base(at, seed) else {
        return;
    };
    let a = base.ir.as_ref().unwrap();
    let mut b = a.clone();
    let mut log = Vec::new();
    for _ in 0..rng.usize(1..=3) {
        log.push(mutate::mutate(&mut b, &mut rng));
    }
    totals.pairs.fetch_add(1, Ordering::Relaxed);
    let policy = &base.policy;
    let diff = diff::diff((policy, a), (policy, &b), Limits::default());
    if let Some(unknown) = diff.unknown {
        *totals
            .reasons
            .lock()
            .unwrap()
            .entry(unknown.reason())
            .or_default() += 1;
        let counter = match unknown {
            Unknown::Blind(_) => &totals.blind,
            Unknown::Budget => &totals.large,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        return;
    }
    if diff.is_equal() {
        totals.equal.fetch_add(1, Ordering::Relaxed);
    }
    let boxes = diff.changes.iter().map(|c| c.boxes.len()).sum();
    totals.boxes.fetch_add(boxes, Ordering::Relaxed);
    let wrong = judge((policy, a, &b), &diff, &mut rng, totals);
    if let Some(wrong) = wrong {
        totals.failed.fetch_add(1, Ordering::Relaxed);
        println!("pair {at} (seed {seed}), {log:?}: {wrong}\n{text}\n");
    } else if let Some(defect) = diff.defects.first() {
        totals.failed.fetch_add(1, Ordering::Relaxed);
        println!(
            "pair {at} (seed {seed}), {log:?}: {}\n{text}\n",
            defect.title
        );
    }
}

/// The first disagreement about packets of a pair.
fn judge(
    (policy, a, b): (&Policy, &Ir, &Ir),
    diff: &Diff,
    rng: &mut Rng,
    totals: &Totals,
) -> Option<String> {
    let (left, right) = Model::pair_in(&diff.space, (policy, a), (policy, b));
    let points = points::Points::new(&left, &right, diff);
    let none = BTreeMap::new();
    for n in 0..PACKETS {
        let target = rng.usize(..4);
        let point = match n % 2 {
            0 => points
                .inside(diff, target, rng)
                .or_else(|| points.any(target, rng)),
            _ => points.any(target, rng),
        };
        let Some(point) = point else { continue };
        let mut hits = diff
            .changes
            .iter()
            .filter(|c| c.boxes.iter().any(|r| r.contains(&point)));
        let (change, second) = (hits.next(), hits.next());
        let counter = if change.is_some() {
            &totals.inside
        } else {
            &totals.outside
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let (was, old) = diff::observe(&left, &left.witness(&point), Some(target), &none);
        let (is, new) = diff::observe(&right, &right.witness(&point), Some(target), &diff.names);
        let kind = diff::compare(&old, &new);
        let fates = change.is_none_or(|c| {
            c.fates[0].outcome() == old.outcome && c.fates[1].outcome() == new.outcome
        });
        if kind != change.map(|c| c.kind) || second.is_some() || !fates {
            return Some(format!(
                "said {:?}, is {kind:?}\n{:?}\n{old:?} by {:?} {:?}\n{new:?} by {:?} {:?}",
                change.map(|c| (c.kind, &c.fates)),
                left.witness(&point),
                was.by,
                was.steered_by,
                is.by,
                is.steered_by,
            ));
        }
    }
    None
}
