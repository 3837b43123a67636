//! Many random policies on all backends.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use polc_generator::{Coverage, Feature, Shape};
use polc_runtime_loader::lab::stay_on_processor;

use crate::Error;
use crate::backend::Backend;
use crate::duel::{Difference, Mismatch};
use crate::totals::Totals;
use crate::trial::{Subject, Tried, draw, smaller, trial};

/// What is to be tried.
#[derive(Clone, Debug)]
pub struct Settings {
    /// On what.
    pub backends: Vec<Backend>,
    /// How many policies.
    pub policies: u64,
    /// How many packets of each policy, at least.
    pub packets: u64,
    /// The seed of the first policy; the others follow.
    pub seed: u64,
    /// How many smaller policies are tried where a mismatch is found.
    pub calls: usize,
    /// How many policies at once, each on a processor of its own.
    pub workers: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// What each backend was tried with.
    pub totals: BTreeMap<Backend, Totals>,
    /// Where backends and the interpreter differ, by seed.
    pub found: Vec<Found>,
    /// Which words of the language the policies used.
    pub coverage: Coverage,
}

/// A mismatch, and a small policy that leads to it.
#[derive(Debug)]
pub struct Found {
    /// The policy's seed.
    pub seed: u64,
    /// The backend.
    pub backend: Backend,
    /// How they differ, of the smaller policy.
    pub mismatch: Mismatch,
    /// The smaller policy.
    pub policy: String,
}

/// Tries random policies. `progress` is told how many are done.
pub fn campaign(settings: &Settings, progress: impl Fn(u64) + Sync) -> Result<Report, Error> {
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let report = Mutex::new(Report::default());
    let work = |worker: usize| -> Result<(), Error> {
        stay_on_processor(worker)?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= settings.policies {
                return Ok(());
            }
            let seed = settings.seed.wrapping_add(number);
            if let Some(subject) = draw(seed, &shape(seed)) {
                let (tried, found) = one(settings, seed, &subject)?;
                let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                report.coverage.add(&subject.text);
                for Tried {
                    backend, totals, ..
                } in tried
                {
                    *report.totals.entry(backend).or_default() += totals;
                }
                report.found.extend(found);
            }
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        }
    };
    std::thread::scope(|scope| {
        let work = &work;
        let workers = 0..settings.workers.max(1);
        let threads: Vec<_> = workers
            .map(|number| scope.spawn(move || work(number)))
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })?;
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report
        .found
        .sort_by_key(|found| (found.seed, found.backend));
    Ok(report)
}

/// Sections whose packets are judged one by one are in a third of the policies.
fn shape(seed: u64) -> Shape {
    let shape = Shape::default();
    if seed.is_multiple_of(3) {
        shape.with(Feature::Stateless)
    } else {
        shape
    }
}

fn one(
    settings: &Settings,
    seed: u64,
    subject: &Subject,
) -> Result<(Vec<Tried>, Vec<Found>), Error> {
    let size = (seed, settings.packets);
    let tried = trial(subject, &settings.backends, size)?;
    let mut found = Vec::new();
    for Tried {
        backend, mismatch, ..
    } in &tried
    {
        if let Some(mismatch) = mismatch {
            let policy = smaller(
                subject,
                (*backend, mismatch.difference),
                size,
                settings.calls,
            );
            let again = Subject::new(&policy).map(|small| trial(&small, &[*backend], size));
            let of_small = again.transpose()?.into_iter().flatten();
            let mut of_small = of_small.filter_map(|tried| tried.mismatch);
            found.push(Found {
                seed,
                backend: *backend,
                mismatch: of_small.next().unwrap_or_else(|| mismatch.clone()),
                policy,
            });
        }
    }
    Ok((tried, found))
}

impl Report {
    /// How often a backend differs in one way.
    pub fn count(&self, backend: Backend, difference: Difference) -> usize {
        let here = |f: &&Found| f.backend == backend && f.mismatch.difference == difference;
        self.found.iter().filter(here).count()
    }
}
