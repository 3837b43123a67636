//! One policy on all backends.

use fastrand::Rng;
use polc_compiler::ir::Ir;
use polc_compiler::target::Options;
use polc_generator::{Shape, valid_policy};

use crate::Error;
use crate::backend::Backend;
use crate::duel::{Difference, Duel, Mismatch};
use crate::minimise;
use crate::net::Net;
use crate::pace::Pace;
use crate::subject::{Subject, counts_own_answers, is_approximated};
use crate::totals::Totals;

/// What a trial came to.
#[derive(Debug)]
pub struct Tried {
    /// The backend.
    pub backend: Backend,
    /// What was compared.
    pub totals: Totals,
    /// Where they differ, if they do.
    pub mismatch: Option<Mismatch>,
}

/// A random policy that can be tried.
pub fn draw(seed: u64, shape: &Shape) -> Option<Subject> {
    let draw = valid_policy(seed, shape, |text| Subject::new(text).is_some())?;
    Subject::new(&draw.text)
}

/// Tries a policy with so many packets on each of the backends; for some seeds, also with limits of live flows that
/// are met, or while time passes.
pub fn trial(
    subject: &Subject,
    backends: &[Backend],
    (seed, packets): (u64, u64),
) -> Result<Vec<Tried>, Error> {
    let scene = Scene::new(subject, seed);
    let mut tried = Vec::new();
    for backend in backends {
        let still = |duel: &mut Duel<'_>, rng: &mut Rng| {
            let mismatch = duel.run(rng, packets)?;
            match mismatch {
                None if scene.options.count_all => duel.count(),
                found => Ok(found),
            }
        };
        tried.push(scene.play(&subject.ir, *backend, still)?);
    }
    if let Some(pace) = Pace::of(&subject.ir, seed) {
        let ir = &subject.at_pace(pace);
        let alike = tried
            .iter_mut()
            .filter(|tried| tried.mismatch.is_none() && pace.is_compared(ir, tried.backend));
        // Most of the time they wait.
        std::thread::scope(|scope| {
            let threads: Vec<_> = alike
                .map(|tried| {
                    let scene = &scene;
                    let run = |duel: &mut Duel<'_>, rng: &mut Rng| pace.run(duel, rng);
                    let backend = tried.backend;
                    let thread = scope.spawn(move || scene.play(ir, backend, run));
                    (tried, thread)
                })
                .collect();
            threads.into_iter().try_for_each(|(tried, thread)| {
                let paced = thread.join();
                let paced = paced.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                // It is the same policy.
                tried.totals += Totals {
                    policies: 0,
                    refusals: 0,
                    ..paced.totals
                };
                tried.mismatch = paced.mismatch;
                Ok::<(), Error>(())
            })
        })?;
    }
    Ok(tried)
}

/// What trials of a policy have in common.
struct Scene<'s> {
    subject: &'s Subject,
    net: Net,
    /// Which proxies listen.
    up: Vec<bool>,
    options: Options,
    /// The seed of the packets.
    traffic: u64,
}

impl<'s> Scene<'s> {
    fn new(subject: &'s Subject, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut net = Net::around(&subject.ir, &mut rng);
        if counts_own_answers(&subject.ir) {
            net.senders.clear();
        }
        Self {
            subject,
            net,
            up: subject.ir.proxies.iter().map(|_| rng.bool()).collect(),
            options: Options {
                flows: 65_536,
                // Where rules count, less of a policy is put together.
                count_all: seed % 2 == 0,
                ..Options::default()
            },
            traffic: rng.u64(..),
        }
    }

    /// Puts a form of the policy in force and compares.
    fn play(
        &self,
        ir: &Ir,
        backend: Backend,
        compare: impl FnOnce(&mut Duel<'_>, &mut Rng) -> Result<Option<Mismatch>, Error>,
    ) -> Result<Tried, Error> {
        let mut tried = Tried {
            backend,
            totals: Totals::default(),
            mismatch: None,
        };
        let options = &self.options;
        let Some(bundle) = self.subject.bundle(ir, backend, options) else {
            tried.totals.refusals = 1;
            return Ok(tried);
        };
        tried.totals.policies = 1;
        let mut rng = Rng::with_seed(self.traffic);
        // What a target counts for each family is compared for one.
        let v6 = rng.bool();
        let mut net = self.net.clone();
        net.only = is_approximated(ir, backend, options).then_some(v6);
        match Duel::new((ir, &net), &bundle, backend, (&self.up, options)) {
            Ok(mut duel) => {
                tried.mismatch = compare(&mut duel, &mut rng)?;
                tried.totals += duel.totals;
            }
            Err(Error::Apply { problem, .. }) => {
                tried.mismatch = Some(Mismatch {
                    difference: Difference::Refused,
                    text: problem,
                });
            }
            Err(error) => return Err(error),
        }
        Ok(tried)
    }
}

/// Makes a policy on which a backend and the interpreter differ as small as that is still so. At most so many
/// policies are tried.
pub fn smaller(
    subject: &Subject,
    (backend, difference): (Backend, Difference),
    (seed, packets): (u64, u64),
    calls: usize,
) -> String {
    minimise::policy(&subject.text, calls, |text| {
        let differs = |subject: Subject| {
            let tried = trial(&subject, &[backend], (seed, packets)).ok()?;
            let found = tried.into_iter().find_map(|t| t.mismatch)?;
            Some(found.difference == difference)
        };
        Subject::new(text).and_then(differs).unwrap_or(false)
    })
}
