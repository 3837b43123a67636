//! Many random policies on all backends.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use polc_generator::{Coverage, Feature, Shape};
use polc_runtime_loader::Stop;
use polc_runtime_loader::lab::stay_on_processor;

use crate::Error;
use crate::backend::Backend;
use crate::difference::{Difference, Mismatch};
use crate::subject::Subject;
use crate::totals::Totals;
use crate::trial::{Tried, draw, smaller, trial};

/// So many times more policies are drawn at most than each backend is to have: not every one can be expressed.
const MOST_DRAWS: u64 = 40;

/// What is to be tried.
#[derive(Clone, Debug)]
pub struct Settings {
    /// On what.
    pub backends: Vec<Backend>,
    /// How many policies on each of them.
    pub policies: u64,
    /// How many packets of each policy, about.
    pub packets: u64,
    /// The seed of the first policy; the others follow.
    pub seed: u64,
    /// How many smaller policies are tried where a mismatch is found; with 0 it is told as it is.
    pub calls: usize,
    /// How many policies at once, on the processors in turn.
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
    /// How many policies were drawn, from the first seed on.
    pub drawn: u64,
    /// Why it ended early, if it did: the policy of the trial that could not be made, and the error.
    pub failed: Option<(Origin, Error)>,
}

/// A mismatch.
#[derive(Debug)]
pub struct Found {
    /// Of which policy: its seed, or what it is called.
    pub of: Origin,
    /// The backend.
    pub backend: Backend,
    /// How they differ; of the smaller policy if there is one.
    pub mismatch: Mismatch,
    /// The policy, made as small as could be done, where it was a random one.
    pub smaller: Option<String>,
}

/// Where a policy comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// It was made up from this seed.
    Seed(u64),
    /// It was given, under this name.
    Given(String),
}

/// Tries given policies, by name, each once. `progress` is told how many are done. An error ends it, or `stop`, and is
/// told with what came of it until then.
pub fn campaign_of(
    subjects: &[(String, Subject)],
    settings: &Settings,
    stop: Option<&Stop>,
    progress: impl Fn(usize),
) -> Result<Report, Error> {
    stay_on_processor(0)?;
    let mut report = Report::default();
    for (done, (name, subject)) in subjects.iter().enumerate() {
        progress(done);
        let tried = trial(
            subject,
            &settings.backends,
            (settings.seed, settings.packets),
            stop,
        );
        let tried = match tried {
            Ok(tried) => tried,
            Err(error) => {
                report.failed = Some((Origin::Given(name.clone()), error));
                return Ok(report);
            }
        };
        let found = tried.iter().filter_map(|tried| {
            Some(Found {
                of: Origin::Given(name.clone()),
                backend: tried.backend,
                mismatch: tried.mismatch.clone()?,
                smaller: None,
            })
        });
        let found = found.collect();
        report.add(subject, tried, found);
    }
    Ok(report)
}

/// Tries random policies. `progress` is told how many have been drawn, and how many trials are left. An error ends it,
/// or `stop`, and is told with what came of it until then.
pub fn campaign(
    settings: &Settings,
    stop: Option<&Stop>,
    progress: impl Fn(u64, u64) + Sync,
) -> Result<Report, Error> {
    let left = Mutex::new(Left::new(settings));
    let report = Mutex::new(Report::default());
    let work = |worker: usize| -> Result<(), Error> {
        stay_on_processor(worker)?;
        loop {
            let Some((number, backends)) = lock(&left).next() else {
                return Ok(());
            };
            let seed = settings.seed.wrapping_add(number);
            let Some(subject) = draw(seed, &shape(seed)) else {
                continue;
            };
            let (tried, found) = match one(settings, &backends, (seed, &subject), stop) {
                Ok(results) => results,
                Err(error) => {
                    lock(&left).stop();
                    let mut report = lock(&report);
                    report.failed.get_or_insert((Origin::Seed(seed), error));
                    return Ok(());
                }
            };
            let mut left = lock(&left);
            for tried in &tried {
                left.had(tried);
            }
            progress(left.drawn, left.trials.values().sum());
            drop(left);
            let mut report = lock(&report);
            report.drawn = report.drawn.max(number + 1);
            report.add(&subject, tried, found);
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
        .sort_by_key(|found| (found.of.clone(), found.backend));
    Ok(report)
}

/// What is still to be done.
struct Left {
    /// How many policies have been drawn, and how many may be.
    drawn: u64,
    most: u64,
    /// How many each backend still needs.
    trials: BTreeMap<Backend, u64>,
}

impl Left {
    fn new(settings: &Settings) -> Self {
        let backends = settings.backends.iter();
        Self {
            drawn: 0,
            most: settings.policies.saturating_mul(MOST_DRAWS),
            trials: backends.map(|b| (*b, settings.policies)).collect(),
        }
    }

    /// The number of the next policy, and what it is to be tried with.
    fn next(&mut self) -> Option<(u64, Vec<Backend>)> {
        let needing = self.trials.iter().filter(|(_, left)| **left > 0);
        let needing: Vec<Backend> = needing.map(|(backend, _)| *backend).collect();
        if needing.is_empty() || self.drawn >= self.most {
            return None;
        }
        self.drawn += 1;
        Some((self.drawn - 1, needing))
    }

    /// Nothing more is tried.
    fn stop(&mut self) {
        self.trials.clear();
    }

    fn had(&mut self, tried: &Tried) {
        if let Some(left) = self.trials.get_mut(&tried.backend) {
            *left = left.saturating_sub(tried.totals.policies);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shapes in turn: of all there is; where packets are judged one by one; and twice of what all targets know, a quarter
/// of these about a part of the directions.
fn shape(seed: u64) -> Shape {
    let common = || Shape::default().without(Feature::Uncommon);
    match seed % 8 {
        0 | 4 => Shape::default(),
        1 | 5 => Shape::default().with(Feature::Stateless),
        7 => common().with(Feature::Partial),
        _ => common(),
    }
}

fn one(
    settings: &Settings,
    backends: &[Backend],
    (seed, subject): (u64, &Subject),
    stop: Option<&Stop>,
) -> Result<(Vec<Tried>, Vec<Found>), Error> {
    let size = (seed, settings.packets);
    let tried = trial(subject, backends, size, stop)?;
    let mut found = Vec::new();
    for Tried {
        backend, mismatch, ..
    } in &tried
    {
        if let Some(mismatch) = mismatch {
            if settings.calls == 0 {
                found.push(Found {
                    of: Origin::Seed(seed),
                    backend: *backend,
                    mismatch: mismatch.clone(),
                    smaller: Some(subject.text.clone()),
                });
                continue;
            }
            let policy = smaller(
                subject,
                (*backend, mismatch.difference),
                size,
                settings.calls,
                stop,
            );
            // The first mismatch counts, whatever becomes of a second try.
            let again = Subject::new(&policy).map(|small| trial(&small, &[*backend], size, stop));
            let again = again.and_then(Result::ok).into_iter().flatten();
            let of_small = again.filter_map(|tried| tried.mismatch);
            let mut alike = of_small.filter(|small| small.difference == mismatch.difference);
            let (policy, mismatch) = match alike.next() {
                Some(of_small) => (policy, of_small),
                None => (subject.text.clone(), mismatch.clone()),
            };
            found.push(Found {
                of: Origin::Seed(seed),
                backend: *backend,
                mismatch,
                smaller: Some(policy),
            });
        }
    }
    Ok((tried, found))
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seed(seed) => write!(f, "seed {seed}"),
            Self::Given(name) => f.write_str(name),
        }
    }
}

impl Report {
    fn add(&mut self, subject: &Subject, tried: Vec<Tried>, found: Vec<Found>) {
        self.coverage.add(&subject.text);
        for tried in tried {
            *self.totals.entry(tried.backend).or_default() += tried.totals;
        }
        self.found.extend(found);
    }

    /// How often a backend differs in one way.
    pub fn count(&self, backend: Backend, difference: Difference) -> usize {
        let here = |f: &&Found| f.backend == backend && f.mismatch.difference == difference;
        self.found.iter().filter(here).count()
    }
}
