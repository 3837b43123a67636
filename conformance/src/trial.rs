//! One policy on all backends.

use fastrand::Rng;
use polc_compiler::ir::Ir;
use polc_compiler::target::Options;
use polc_generator::{Shape, valid_policy};
use polc_runtime_loader::Stop;

use crate::Error;
use crate::backend::Backend;
use crate::difference::{Difference, Mismatch};
use crate::duel::Duel;
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
/// are met, or while time passes. What is tried when it is told to end does not count: programs that it needs may have
/// been ended too.
pub fn trial(
    subject: &Subject,
    backends: &[Backend],
    (seed, packets): (u64, u64),
    stop: Option<&Stop>,
) -> Result<Vec<Tried>, Error> {
    let scene = Scene::new(subject, seed, stop);
    let tried = scene.try_all(backends, packets);
    if stop.is_some_and(Stop::has_come) {
        return Err(Error::Stopped);
    }
    tried
}

/// What trials of a policy have in common.
struct Scene<'s> {
    subject: &'s Subject,
    net: Net,
    /// Which proxies listen.
    up: Vec<bool>,
    /// Whether interfaces run programs by links: for one policy of eight.
    linked: bool,
    options: Options,
    seed: u64,
    /// The seed of the packets.
    traffic: u64,
    stop: Option<&'s Stop>,
}

impl<'s> Scene<'s> {
    fn new(subject: &'s Subject, seed: u64, stop: Option<&'s Stop>) -> Self {
        let mut rng = Rng::with_seed(seed);
        Self {
            subject,
            net: Net::around(&subject.ir, &mut rng),
            up: subject.ir.proxies.iter().map(|_| rng.bool()).collect(),
            linked: (seed / 8).is_multiple_of(8),
            options: Options {
                flows: 65_536,
                // Where rules count, less of a policy is put together. Shapes go by the last two bits.
                count_all: seed & 4 == 0,
                ..Options::default()
            },
            seed,
            traffic: rng.u64(..),
            stop,
        }
    }

    /// Tries the policy with so many packets on each backend, and then at a pace if its seed has one.
    fn try_all(&self, backends: &[Backend], packets: u64) -> Result<Vec<Tried>, Error> {
        let mut tried = Vec::new();
        for backend in backends {
            let still = |duel: &mut Duel<'_>, rng: &mut Rng| match duel.run(rng, packets)? {
                None => duel.count(self.options.count_all),
                found => Ok(found),
            };
            tried.push(self.play(&self.subject.ir, *backend, still)?);
        }
        if let Some(pace) = Pace::of(&self.subject.ir, self.seed) {
            self.play_at(pace, &mut tried)?;
        }
        Ok(tried)
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
        let refused = |text| Mismatch {
            difference: Difference::Refused,
            text,
        };
        let bundle = match self.subject.bundle(ir, backend, &self.options) {
            Ok(Some(bundle)) => bundle,
            otherwise => {
                tried.totals.refusals = 1;
                tried.mismatch = otherwise.err().map(refused);
                return Ok(tried);
            }
        };
        tried.totals.policies = 1;
        let mut rng = Rng::with_seed(self.traffic);
        let net = self.net_on(backend, ir, rng.bool());
        match Duel::new((ir, &net), &bundle, backend, (&self.up, &self.options)) {
            Ok(mut duel) => {
                duel.stop = self.stop;
                tried.mismatch = compare(&mut duel, &mut rng)?;
                tried.totals += duel.totals;
            }
            Err(Error::Apply {
                refused: true,
                problem,
                ..
            }) => tried.mismatch = Some(refused(problem)),
            Err(error) => return Err(error),
        }
        Ok(tried)
    }

    /// What is around the machine as far as a backend is compared.
    fn net_on(&self, backend: Backend, ir: &Ir, v6: bool) -> Net {
        let mut net = self.net.clone();
        if backend == Backend::Ebpf && counts_own_answers(ir) {
            net.senders.clear();
        }
        net.linked = self.linked;
        // What a target counts for each family is compared for one.
        net.only = is_approximated(ir, backend, &self.options).then_some(v6);
        net
    }

    /// Tries the policy at a pace, on all backends at once where it has been tried without a mismatch: most of the time
    /// they wait.
    fn play_at(&self, pace: Pace, tried: &mut [Tried]) -> Result<(), Error> {
        let ir = &self.subject.at_pace(pace);
        let alike = tried.iter_mut().filter(|tried| tried.mismatch.is_none());
        std::thread::scope(|scope| {
            let start = |tried: &Tried| {
                let backend = tried.backend;
                let run = move |duel: &mut Duel<'_>, rng: &mut Rng| pace.run(duel, rng);
                scope.spawn(move || self.play(ir, backend, run))
            };
            let threads: Vec<_> = alike.map(|tried| (start(tried), tried)).collect();
            threads.into_iter().try_for_each(|(thread, tried)| {
                let paced = thread.join();
                let paced = paced.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                // It is the same policy.
                tried.totals += Totals {
                    policies: 0,
                    refusals: 0,
                    ..paced.totals
                };
                tried.mismatch = paced.mismatch;
                Ok(())
            })
        })
    }
}

/// Makes a policy on which a backend and the interpreter differ as small as that is still so. At most so many
/// policies are tried.
pub fn smaller(
    subject: &Subject,
    (backend, difference): (Backend, Difference),
    size: (u64, u64),
    calls: usize,
    stop: Option<&Stop>,
) -> String {
    minimise::policy(&subject.text, calls, |text| {
        let differs = |subject: Subject| {
            let tried = trial(&subject, &[backend], size, stop).ok()?;
            let found = tried.into_iter().find_map(|t| t.mismatch)?;
            Some(found.difference == difference)
        };
        Subject::new(text).and_then(differs).unwrap_or(false)
    })
}
